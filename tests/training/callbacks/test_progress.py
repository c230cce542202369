from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mbrl.activity import listen
from mbrl.data import Task
from mbrl.models import GaussianEnsemble, SimulatorModel
from mbrl.planners import Dyna
from mbrl.policies import SAC
from mbrl.testing import LinearModel
from mbrl.training.callbacks.opening import _environment, _known
from mbrl.training.callbacks.progress import ProgressCallback, _Bar, summary_text
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


def test_at_80_columns_count_and_time_stay_whole_and_text_is_below() -> None:
    """Before, the text took the room of both."""
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    bar = _Bar(console)
    text = "eval return -1337.5, return -1652.7, model loss -19.2, steps/s 29.0"
    bar.add_task("updates", total=1_000_000, completed=123_456, text=text, doing="fitting, epoch 133")
    console.print(bar.get_renderable())
    first, *rest = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert first.startswith("updates ") and "123456/1000000 -:--:--" in first and len(first.rstrip()) <= 80
    assert [line.strip() for line in rest] == [f"{text}; fitting,", "epoch 133"], "broken between words"


def test_an_opening_says_what_is_trained(tmp_path: Path) -> None:
    for console in (Console(file=io.StringIO(), width=200), Console(file=io.StringIO(), width=200, force_terminal=True)):
        text = shown(tmp_path / str(console.is_terminal), console)
        assert "Pendulum-v1: 3 observations, 1 action, 25 steps an episode; no model, so that reward" in text
        assert f"ToyPlanner on cpu, in {tmp_path / str(console.is_terminal)}" in text


def test_an_opening_says_what_bf16_brings(tmp_path: Path) -> None:
    chosen, console = trainer(tmp_path, progress=True), Console(file=(text := io.StringIO()), width=200)
    assert chosen.progress is not None
    chosen.progress.console = console
    chosen.fit(Dyna(None, SAC(hidden=[8], precision="bf16"), updates_per_step=1, real_ratio=1.0, warmup_steps=10), data(20))
    assert "bf16: times as fast as float32, by its products: SAC" in text.getvalue()


@pytest.mark.parametrize(
    ("known", "exact", "expected"),
    [
        ((None, None), False, "reward and termination learned"),
        (("mbrl.envs.rewards.one", None), False, "reward known, termination learned"),
        (("mbrl.envs.rewards.one", "mbrl.envs.terminations.never"), False, "reward and termination known"),
        ((None, None), True, "reward and termination the exact model's"),
    ],
)
def test_it_says_what_is_known_and_what_is_learned(known: Any, exact: bool, expected: str) -> None:
    task = Task("", 2, 1, (-1.0,), (1.0,), known_reward=known[0], known_terminated=known[1])
    assert _known(task, SimulatorModel() if exact else LinearModel()) == expected
    assert _environment(task) == "a dataset that names no environment: 2 observations, 1 action, no time limit"


def test_evaluations_leave_a_line_on_a_terminal(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    text = shown(tmp_path, console)
    assert len(re.findall(r"step (?:20|40)/40  eval return -\d+\.\d over 1 episode", text)) == 2


def test_without_a_terminal_nothing_is_said_per_step(tmp_path: Path) -> None:
    text = shown(tmp_path, Console(file=io.StringIO(), width=80))
    assert len([line for line in text.splitlines() if line.startswith("step ")]) <= 3  # the first and the evaluations


def test_what_takes_long_is_shown_once_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.4, 0.6, 0.7, 5.0, 5.1])
    monkeypatch.setattr("mbrl.training.callbacks.progress.time.monotonic", lambda: next(clock))
    callback = ProgressCallback(Console(file=io.StringIO(), width=80, force_terminal=True))
    callback._bar = _Bar(callback.console)
    callback._bar.add_task("steps", total=10, text="")
    seen = []
    for text in ("fitting, epoch 1", "fitting, epoch 2", "fitting, epoch 3", "", "rolling out, step 1 of 2", ""):
        callback._doing(text)
        seen.append(callback._bar.tasks[0].fields.get("doing", ""))
    assert seen == ["", "", "fitting, epoch 3", "", "", ""]


def test_fits_rollouts_and_evaluations_say_what_they_are_at(tmp_path: Path) -> None:
    planner = Dyna(
        GaussianEnsemble(members=2, elites=2, hidden=[4], max_epochs=3), SAC(hidden=[4]), warmup_steps=20, refit_every=20
    )
    said: list[str] = []
    listen(said.append)
    try:
        trainer(tmp_path / "a").fit(planner, data(40))
    finally:
        listen(None)
    for text in ("fitting, epoch 1", "fitting, epoch 3", "rolling out, step 1 of 1", "evaluating, episode 1 of 1", ""):
        assert text in said, text
    assert said[-1] == ""


def test_no_progress_says_nothing(tmp_path: Path, capfd: object) -> None:
    chosen = trainer(tmp_path)
    assert chosen.progress is None
    chosen.fit(ToyPlanner(), data(20))
    out = capfd.readouterr()  # type: ignore[attr-defined]
    assert out.out == ""
    assert "step" not in out.err
