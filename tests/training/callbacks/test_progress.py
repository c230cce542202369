from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from mbrl.training.callbacks.progress import summary_text
from tests.training.toy import ToyPlanner, data, trainer


def test_what_a_line_says() -> None:
    shown = {"eval/return": 12.34, "train/return": -5.0, "model/loss": 0.01234, "time/steps_per_second": 99.9, "other": 1.0}
    assert summary_text(shown) == "eval return 12.3, return -5.0, model loss 0.0123, steps/s 99.9"
    assert summary_text({}) == ""


def shown(folder: Path, console: Console) -> str:
    chosen = trainer(folder, progress=True)
    assert chosen.progress is not None
    chosen.progress.console = console
    chosen.fit(ToyPlanner(), data(40))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_plain_lines_without_a_terminal(tmp_path: Path) -> None:
    text = shown(tmp_path, Console(file=io.StringIO(), width=200))
    assert "step 20/40  eval return" in text
    assert "step 40/40  eval return" in text
    assert "\x1b" not in text


def test_a_bar_of_real_steps_on_a_terminal(tmp_path: Path) -> None:
    text = shown(tmp_path, Console(file=io.StringIO(), width=200, force_terminal=True))
    assert "40/40" in text
    assert "eval return" in text


def test_no_progress_says_nothing(tmp_path: Path, capfd: object) -> None:
    chosen = trainer(tmp_path)
    assert chosen.progress is None
    chosen.fit(ToyPlanner(), data(20))
    out = capfd.readouterr()  # type: ignore[attr-defined]
    assert out.out == ""
    assert "step" not in out.err
