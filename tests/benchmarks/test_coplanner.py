"""The comparison of COPlanner's arms: what each runs, what is skipped, and the figure."""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mbrl.training.commands.parsed import parsed
from tests.benchmarks.test_learning import load

PLANS = {
    "mbpo": (False, False),
    "rollouts-only": (True, False),
    "exploration-only": (False, True),
    "coplanner": (True, True),
}


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", list(sys.path))  # the script adds its folder
    return load("coplanner")


@pytest.mark.parametrize("task", ["mountain_car", "hopper"])
@pytest.mark.parametrize("arm", list(PLANS))
def test_each_arm_plans_where_it_says(comparison: ModuleType, task: str, arm: str, tmp_path: Path) -> None:
    made = comparison.arm_of(task, arm)
    _, options = comparison.arms.learning.options_of("x", 3, made.configs, made.overrides, tmp_path)
    settings: Any = parsed(["fit", *options])["model"]["init_args"]
    for place, plans, sign in zip(("rollout", "explore"), PLANS[arm], (-1, 1), strict=True):
        selector = settings[f"{place}_selector"]
        if not plans:
            assert selector is None
            continue
        assert selector["class_path"].endswith("UPMPC")
        assert selector["init_args"]["rate"] * sign > 0
        assert selector["init_args"]["normalize"] is (task == "mountain_car")


@pytest.fixture
def fitted(comparison: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that were trained, instead of training."""
    folders: list[str] = []
    monkeypatch.setattr(comparison.arms.learning, "RESULTS", tmp_path)
    monkeypatch.setattr(comparison.arms.learning, "fit", lambda folder, options: folders.append(folder.parent.name) or {})
    monkeypatch.setattr(
        comparison.arms.learning,
        "record",
        lambda arm, seed, folder, options, about, file, metrics: comparison.arms.learning.append(
            tmp_path / f"{file}.test.csv", [{"name": arm, "seed": seed}]
        ),
    )
    return folders


def run(comparison: ModuleType, arms: list[str], runs: Path) -> None:
    chosen = {arm: comparison.arm_of("hopper", arm) for arm in arms}
    comparison.arms.run("coplanner-hopper", chosen, [0], runs, 1, comparison.SPREADS)


def test_a_recorded_arm_is_not_run_again(comparison: ModuleType, fitted: list[str], tmp_path: Path) -> None:
    comparison.arms.learning.append(tmp_path / "coplanner-hopper.test.csv", [{"name": "mbpo", "seed": 0}])
    for _ in range(2):
        run(comparison, ["mbpo", "coplanner"], tmp_path)
    assert fitted == ["coplanner-hopper-coplanner"]
    assert comparison.arms.recorded("coplanner-hopper") == {("mbpo", 0), ("coplanner", 0)}


def test_a_run_of_another_process_is_left_alone(
    comparison: ModuleType, fitted: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "coplanner-hopper-mbpo"
    folder.mkdir()
    with (folder / "seed0.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(comparison, ["mbpo"], tmp_path)
    assert fitted == []
    assert "another process runs it" in capsys.readouterr().out


def test_the_figure_and_the_table_come_from_the_files(
    comparison: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(comparison.arms.learning, "RESULTS", tmp_path)
    curve = [
        {"name": arm, "seed": seed, "env_steps": step, "return": step * (arm == "coplanner")}
        for arm in PLANS
        for seed in (0, 1)
        for step in (500, 1000)
    ]
    comparison.arms.learning.append(tmp_path / "coplanner-hopper.curve.csv", curve)
    tests = [{"name": arm, "seed": seed, "test_return": 7 + seed, "cpu_s": 90} for arm in PLANS for seed in (0, 1)]
    comparison.arms.learning.append(tmp_path / "coplanner-hopper.test.csv", tests)
    comparison.draw("hopper", "mean")
    assert (tmp_path / "coplanner-hopper.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "test coplanner: 7, 8 (1.5 to 1.5 core minutes a run)" in said
    (line,) = [line for line in said.splitlines() if line.startswith("coplanner ")]
    assert line.split()[:3] == ["coplanner", "2", "1000"]
