"""Labels from files are shown in a terminal, never obeyed by it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from mbrl.cli import main
from mbrl.envs import collect, make_task
from mbrl.errors import DataError, MbrlWarning, shown
from mbrl.search.commands.workers import show_run
from mbrl.training.callbacks.progress import ProgressCallback
from mbrl.training.output import drawn, plain_warnings, say, show_metrics, tell
from tests.training.toy import trainer

CLEAR, TITLE, TURNED = "\x1b[2J", "\x1b]0;title\x07", "\u202eabc"
LABEL = f"run{CLEAR}{TITLE}{TURNED}\r\x9b1m"


def obeyed(text: str) -> bool:
    return any(sign in text for sign in ("\x1b", "\x07", "\r", "\x9b", "\u202e"))


def test_signs_of_a_terminal_are_shown() -> None:
    assert shown("a\x1b[1mb\r\x9b\u202e") == r"a\x1b[1mb\r\x9b\u202e"
    assert shown("\udcff\uffff") == r"\udcff\uffff", "which no stdout takes, such as of a file's name"
    assert drawn("a\x1b$") == r"a\x1b\$"
    plain = "größe = 1\n\t日本 ± … “x”"
    assert shown(plain) == plain


def test_everything_that_is_written_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    say(LABEL)
    tell(LABEL)
    show_run(LABEL, "ok")
    show_metrics("test", {LABEL: 1.0}, Path(LABEL))
    with plain_warnings():
        warnings.warn(LABEL, MbrlWarning, stacklevel=1)
    out, err = capsys.readouterr()
    assert not obeyed(out + err) and out.count(r"\x1b[2J") == 3 and err.count(r"\x1b[2J") == 3
    assert not obeyed(str(DataError(LABEL)))


def test_a_runs_lines_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = trainer(tmp_path)
    made.progress = ProgressCallback()
    made.say(LABEL)
    assert not obeyed(capsys.readouterr().err)


def test_labels_in_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.npz"
    collect(make_task("Pendulum-v1"), str(path), steps=20)
    with np.load(path) as file:
        arrays = dict(file)
    note = json.loads(str(arrays["task"]))
    arrays["task"] = np.array(json.dumps({**note, "env_id": LABEL}))
    np.savez(tmp_path / "theirs.npz", **arrays)  # type: ignore[arg-type]
    assert main(["check", "--dataset", str(tmp_path / "theirs.npz"), "--reward", "learned", "--terminated", "learned"]) == 0
    text = capsys.readouterr()
    assert not obeyed(text.out + text.err) and r"\x1b[2J" in text.out
    del arrays["obs"]
    arrays[f"odd{CLEAR}"] = np.zeros(1)
    np.savez(tmp_path / "broken.npz", **arrays)  # type: ignore[arg-type]
    assert main(["check", "--dataset", str(tmp_path / "broken.npz")]) == 2
    assert not obeyed(capsys.readouterr().err)
