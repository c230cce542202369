"""Every command of docs/own_environment.md runs as it stands, with smaller numbers, in a folder with the example alone."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from mbrl.cli import COMMANDS, main
from tests.imported_anew import imported_anew

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "own_environment.md").read_text()

# What is added to a command to make it small.
SMALLER = {
    "check": ["--steps", "150"],
    "init": [],
    "fit": ["--data.init_args.steps=60", "--model.init_args.warmup_steps=40", "--model.init_args.updates_per_step=1",
            "--model.init_args.dynamics.init_args.max_updates=3", "--data.init_args.eval_episodes=1",
            "--data.init_args.test_episodes=2", "--trainer.eval_every=60", "--trainer.progress=false",
            "--trainer.tensorboard=false"],
    "collect": [],
    "report": ["--quick", "--decisions", "1", "--horizon", "5", "--measures", "MeanDisagreement", "--truth", "none"],
    "test": ["--episodes", "1"],
}  # fmt: skip


def commands() -> list[list[str]]:
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for line in block.strip().splitlines()]


def name_of(words: list[str]) -> str:
    return next(word for word in words if word in COMMANDS)


def test_there_are_at_most_six_commands_of_all_kinds() -> None:
    assert [name_of(words) for words in commands()] == list(SMALLER) and len(SMALLER) <= 6


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    with imported_anew():
        yield


def test_the_page_from_the_file_to_an_action(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **options: file.write(b"drawn"))  # most of the time
    (file,) = re.findall(r"```python\n# lift.py\n(.*?)```", PAGE, re.DOTALL)
    assert file == (ROOT / "examples" / "lift.py").read_text()
    (tmp_path / "lift.py").write_text(file)
    for words in commands():
        assert main([*words, *SMALLER[name_of(words)]]) == 0, (words, capsys.readouterr().err)
    assert (tmp_path / "runs/mbpo-lift/seed0/report/report.html").is_file()
    assert (tmp_path / "runs/mbpo-lift/seed0/test.json").is_file()
    monkeypatch.delitem(sys.modules, "lift")  # the policy needs neither the environment nor its file
    (tmp_path / "lift.py").unlink()
    (code,) = re.findall(r"```python\n(import.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "own_environment.md", "exec"), names)
    assert np.shape(names["force"]) == (1,) and abs(float(names["force"][0])) <= 10


def test_other_commands_and_links_of_the_page_hold() -> None:
    for option in re.findall(r"--\w+", "\n".join(re.findall(r"```\nmbrl init (.*?)```", PAGE, re.DOTALL))):
        assert option in (ROOT / "mbrl/options/init.py").read_text().replace("OPTION, metavar", '"--preset"'), option
    for link in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
