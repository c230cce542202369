"""The comparison over decision frequencies: what each arm runs, what is measured once, and the figure."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mbrl.analysis.frequencies.fas import STANDARD_LENGTHS
from mbrl.training.commands.parsed import parsed
from tests.benchmarks.test_learning import load


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.setattr(sys, "path", list(sys.path))  # the script adds its folder
    made = load("frequencies")
    monkeypatch.setattr(made.learning, "RESULTS", tmp_path)
    return made


@pytest.mark.parametrize("name", ["sac-1", "sac-16"])
def test_sac_has_the_same_primitive_steps_at_every_repeat(comparison: ModuleType, name: str, tmp_path: Path) -> None:
    task, repeat = comparison.TASKS["published"], int(name.removeprefix("sac-"))
    arm = comparison.arms_of(task)[name]
    _, options = comparison.learning.options_of("x", 3, arm.configs, arm.overrides, tmp_path)
    settings: Any = parsed(["fit", *options])
    model, data = settings["model"]["init_args"], settings["data"]["init_args"]
    assert model["dynamics"] is None and model["updates_per_step"] == 1 and model["warmup_steps"] == 1000 // repeat
    assert data["action_repeat"] == repeat and data["steps"] == 30_000 // repeat
    assert model["learner"]["init_args"]["hidden"] == [256, 256] and settings["trainer"]["keep_best"] is True


@pytest.mark.parametrize("task", ["pendulum", "published", "inverted_pendulum"])
def test_srl_has_the_preset_of_the_same_steps_and_units(comparison: ModuleType, task: str, tmp_path: Path) -> None:
    setting = comparison.TASKS[task]
    arm = comparison.arms_of(setting)["srl-16"]
    _, options = comparison.learning.options_of("x", 3, arm.configs, arm.overrides, tmp_path)
    settings: Any = parsed(["fit", *options])
    learner, data = settings["model"]["init_args"]["learner"]["init_args"], settings["data"]["init_args"]
    assert learner["length"] == 16 and learner["hidden"] == [setting.units] * 2
    assert data["env_id"] == setting.env_id and data["steps"] == setting.steps


def test_runs_are_measured_once_and_drawn(
    comparison: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[list[str]] = []

    def mbrl(arguments: list[str], log: Path) -> float:
        called.append(arguments)
        folder = Path(arguments[arguments.index("--folder") + 1])
        lengths = [*STANDARD_LENGTHS, "1:16"]
        rows = [{"steps_per_decision": n, "return": -200.0 - 10 * place} for place, n in enumerate(lengths)]
        (folder / "frequencies.csv").unlink(missing_ok=True)
        comparison.learning.append(folder / "frequencies.csv", rows)
        return 0.0

    monkeypatch.setattr(comparison.learning, "mbrl", mbrl)
    task, names = comparison.TASKS["published"], ["sac-1", "srl-4"]
    for name in names:
        for seed in (0, 1):
            (tmp_path / f"x-{name}" / f"seed{seed}").mkdir(parents=True)
    for _ in range(2):
        comparison.measure("x", task, names, [0, 1, 2], tmp_path)
    assert len(called) == 4 and called[0][1].endswith("seed0/best")
    assert len(comparison.learning.read(tmp_path / "x.frequencies.csv")) == 4 * 17
    comparison.draw("x", task, names)
    said = capsys.readouterr().out
    assert "srl-4: FAS 0.911 ± 0.000 (0.911, 0.911); returns at 1:16 steps -360, -360" in said
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
