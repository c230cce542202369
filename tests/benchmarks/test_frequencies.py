"""The comparison over decision frequencies: what each arm runs, what is measured once, and the figure."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mbrl.analysis import decision_frequencies
from mbrl.analysis.frequencies.fas import STANDARD_LENGTHS
from mbrl.analysis.frequencies.frequencies_result import DecisionFrequencies
from mbrl.envs import make_task
from mbrl.models import NextObsNetwork
from mbrl.planners import SRL
from mbrl.policies import SequenceSAC
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


def test_other_planners_are_compared_in_the_runs_own_model(
    comparison: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planner = SRL(NextObsNetwork(hidden=[4]), SequenceSAC(length=3, hidden=[8, 8]), warmup_steps=5)
    planner.build(make_task("Pendulum-v1"), seed=2)
    asked: list[Any] = []

    def frequencies(made: Any, random: list[int], episodes: int) -> Any:
        asked.append(made)
        return decision_frequencies(made, [1, 2], random=random, episodes=2)

    monkeypatch.setattr(comparison, "load", lambda path: planner)
    monkeypatch.setattr(comparison, "COMPARED", {"rolled": None, "planned": 2, "planned-30": 3})
    monkeypatch.setattr(comparison, "decision_frequencies", frequencies)
    monkeypatch.setattr(DecisionFrequencies, "score", lambda self: 0.5)
    for name in ("srl-4", "sac-1"):
        (tmp_path / f"x-{name}" / "seed2").mkdir(parents=True)
    for _ in range(2):
        comparison.compare("x", comparison.TASKS["pendulum"], ["srl-4", "sac-1"], [1, 2], tmp_path)
    rows = comparison.learning.read(tmp_path / "x.frequencies.csv")
    assert [(row["name"], row["steps_per_decision"]) for row in rows] == [
        (f"srl-4-{kind}", n) for kind in ("rolled", "planned", "planned-30") for n in ("1", "2", "1:16")
    ]
    rolled, short, long = asked
    assert (short.horizon, long.horizon) == (2, 3)
    for made in asked:
        assert made.dynamics is not planner.dynamics
        weights = made.dynamics.state_dict()
        own = {name: value for name, value in planner.dynamics.state_dict().items() if isinstance(value, torch.Tensor)}
        assert own and all(torch.equal(value, weights[name]) for name, value in own.items())
    assert rolled.policy is planner.learner
