"""The planning benchmark: its settings, its clock and its rows, and what the committed rows have to show."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch

from benchmarks.learning import planning, planning_pages, planning_settings, run
from mbrl.data import make_generator
from mbrl.envs import VectorExperience, make_task
from mbrl.models import Pendulum
from mbrl.planners import CEM, PETS

TASKS = sorted(planning_settings.TASKS)
EXACT, LEARNED = run.RESULTS / "planning-exact.csv", run.RESULTS / "planning-learned.csv"
SMALL = {"optimizer": planning_settings.optimizer("CEM", candidates=4, elites=2, iterations=1), "horizon": 2}


def small_planner() -> PETS:
    planner = PETS(Pendulum(), CEM(candidates=4, elites=2, iterations=1), horizon=2, warmup_steps=0)
    planner.build(make_task("Pendulum-v1"))
    return planner


def test_a_cold_start_forgets_the_plan_and_draws_on() -> None:
    planner = small_planner()
    cold = planning.ColdStart(planner)
    obs = torch.tensor([[0.0, 1.0, 0.5]])
    memory = cold.memory(1, make_generator("cpu", 0))
    warm = planner.memory(1, make_generator("cpu", 0))
    actions = []
    for decision in range(3):
        action, memory = cold.act(obs, memory, explore=False, snapshot=None)
        actions.append(action)
        fresh = planner.memory(1, make_generator("cpu", 0))
        fresh.decisions = decision  # its noise, and no plan
        assert torch.equal(action, planner.act(obs, fresh, explore=False)[0])
        kept, warm = planner.act(obs, warm, explore=False)
    assert not torch.equal(actions[0], actions[1])  # other noise
    assert not torch.equal(actions[2], kept)


def test_the_time_of_an_action_is_the_median_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    took = [9.0] * planning.WARM_UP + [0.001, 0.002, 0.003] * (planning.TIMED // 3)
    clock = itertools.accumulate(itertools.chain.from_iterable((1.0, seconds) for seconds in took))
    monkeypatch.setattr(planning.time, "process_time", lambda: next(clock))
    experience = VectorExperience(make_task("Pendulum-v1"), 1)
    assert planning.milliseconds(small_planner(), experience) == pytest.approx(2.0)
    assert planning.TIMED >= 50


def test_rows_that_are_there_are_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def measure(planner: PETS, setting: planning_settings.Setting, seed: int) -> dict[str, int]:
        measured.append(setting.label)
        return {"starts": setting.starts, "seed": seed}

    monkeypatch.setattr(planning, "measure", measure)
    path, about = tmp_path / "x.csv", {"task": "t", "model": "m"}
    settings = [planning_settings.Setting("a", SMALL), planning_settings.Setting("b", SMALL, warm_start=False)]

    def add(seed: int, most: int | None = None, of: dict[str, str] = about) -> list[str]:
        measured.clear()
        rows = planning.add_rows(path, of, settings, seed, lambda setting: small_planner(), most)
        assert all(row["commit"] and row["hardware"] and row["versions"] for row in rows)
        return list(measured)

    assert add(0) == ["a", "b"]
    assert add(0) == []
    assert add(1) == ["a", "b"]
    assert add(0, most=3) == ["a", "b"]
    assert add(0, of={"task": "t", "model": "another"}) == ["a", "b"]
    settings.append(planning_settings.Setting("c", {**SMALL, "horizon": 3}))
    assert add(0) == ["c"]


def test_rows_are_timed_again_in_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, about = tmp_path / "x.csv", {"task": "t", "model": "m"}
    settings = [planning_settings.Setting("a", SMALL), planning_settings.Setting("b", SMALL, warm_start=False)]
    rows = [
        {**about, "label": label, "setting": text, "return": number, "seed": 0, "ms": 99.0, "timed_rounds": 1}
        for number, (label, text) in enumerate([("b", settings[1].text), ("a", settings[0].text), ("other", "{}")])
    ]
    run.append(path, rows)
    times = iter([10.0, 1.0, 20.0, 2.0, 30.0, 3.0, 50.0, 5.0, 40.0, 4.0])
    asked: list[str] = []

    def milliseconds(planner: object, experience: object) -> float:
        asked.append(type(planner).__name__)
        return next(times)

    monkeypatch.setattr(planning, "milliseconds", milliseconds)
    planning.time_again(path, about, settings, lambda setting: small_planner())
    assert asked == ["PETS", "ColdStart"] * planning.ROUNDS
    found = {row["label"]: (row["ms"], row["timed_rounds"], row["return"]) for row in run.read(path)}
    assert found == {"a": ("30.0", "5", "1"), "b": ("3.0", "5", "0"), "other": ("99.0", "1", "2")}
    assert [row["label"] for row in run.read(path)] == ["b", "a", "other"]
    assert [file.name for file in tmp_path.iterdir()] == ["x.csv"]


def test_a_setting_is_measured_on_its_starts() -> None:
    setting = planning_settings.Setting("a", SMALL, starts=2)
    planner = planning.exact_planner("pendulum", setting)
    row = planning.measure(planner, setting, 3)
    assert (row["horizon"], row["particles"], row["starts"], row["seed"], row["decisions"]) == (2, 1, 2, 3, 400)
    assert row["return_min"] < row["return"] < row["return_max"]
    assert row["return"] == pytest.approx((row["return_min"] + row["return_max"]) / 2, abs=0.02)


@pytest.mark.parametrize("task", TASKS)
def test_settings_make_planners(task: str) -> None:
    for setting in planning_settings.exact_settings(task):
        planner = planning.exact_planner(task, setting)
        assert planner.horizon == setting.planner["horizon"]
    labels = [setting.label for setting in planning_settings.exact_settings(task)]
    assert {"reference", "iCEM", "cem", "mppi", "gradient_shooting", "random_shooting", "20 Hz preset"} == set(labels)
    learned = [setting.label for setting in planning_settings.learned_settings(task)]
    assert len(set(learned)) == len(learned)


def test_a_learned_planner_holds_the_trained_model() -> None:
    from mbrl.models import GaussianEnsemble

    trained = PETS(GaussianEnsemble(members=2, elites=None, hidden=[8]), CEM(), propagation="ts1")
    trained.build(make_task("Pendulum-v1"), seed=4)
    for parameter in trained.parameters():
        torch.nn.init.normal_(parameter, generator=make_generator("cpu", 0))
    setting = planning_settings.Setting("a", {**SMALL, "particles": 3})
    planner = planning.learned_planner(trained, setting)
    assert (planner.horizon, planner.objective.particles, planner.propagation) == (2, 3, "ts_inf")
    assert planner.optimizer.spec["init_args"]["candidates"] == 4
    for ours, theirs in zip(planner.parameters(), trained.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert trained.horizon == 25 and trained.spec["init_args"]["horizon"] == 25


def test_the_table_shows_each_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    row = {"task": "T", "model": "m", "label": "a", "horizon": 2, "particles": 5, "starts": 10, "seed": 20, "return": -150.4}
    row |= {"return_low": -200.0, "return_high": -100.0, "return_min": -321.0, "ms": 20.04}
    run.append(tmp_path / "planning-learned.csv", [row, {**row, "label": "b", "return": 150.0}])
    lines = list(planning_pages.table())
    assert [line for line in lines if line.startswith("T")] == ["T, m, starts of seed 20"]
    assert lines[-2:] == [
        "| a | 2 | 5 | 10 | −150 (−200 to −100) | −321 | 20 |",
        "| b | 2 | 5 | 10 | 150 (−200 to −100) | −321 | 20 |",
    ]


def test_the_figure_is_drawn_from_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    row = {"task": planning_settings.TASKS["pendulum"], "model": "m", "label": "a", "return": -150.0, "seed": 20}
    row |= {"return_low": -200.0, "return_high": -100.0, "ms": 20.0, "setting": planning_settings.Setting("a", SMALL).text}
    run.append(tmp_path / "planning-learned.csv", [row])
    run.append(tmp_path / "planning-exact.csv", [{**row, "label": "20 Hz preset"}])
    planning_pages.draw("pendulum", tmp_path / "figures" / "x.png")
    assert (tmp_path / "figures" / "x.png").read_bytes().startswith(b"\x89PNG")


# what was committed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [EXACT, LEARNED], ids=lambda path: path.stem)
def test_committed_rows_say_what_ran_where(path: Path) -> None:
    rows = run.read(path)
    keys = [(row["task"], row["model"], row["setting"], row["starts"], row["seed"]) for row in rows]
    assert len(set(keys)) == len(keys)
    for row in rows:
        assert row["commit"] and row["hardware"] and row["versions"]
        assert float(row["return_low"]) <= float(row["return"]) <= float(row["return_high"])
        assert float(row["return_min"]) <= float(row["return"]) <= float(row["return_max"])
        assert float(row["ms"]) > 0 and int(row["timed_decisions"]) >= 50


def exact_returns(task: str) -> dict[str, float]:
    """Mean return on the ten starts that are reported, of the settings as the presets have them now."""
    now = {setting.text for setting in planning_settings.exact_settings(task)}
    return {
        row["label"]: float(row["return"])
        for row in run.read(EXACT)
        if row["task"] == planning_settings.TASKS[task]
        and row["seed"] == str(planning_settings.SEEDS["exact"])
        and row["setting"] in now
    }


def test_exact_planning_on_the_pendulum_is_as_good_as_the_reference() -> None:
    returns = exact_returns("pendulum")
    for label in ("cem", "iCEM", "mppi"):
        assert returns[label] >= 1.1 * returns["reference"]  # at most 10 % worse; returns are negative
    assert {"gradient_shooting", "random_shooting"} <= set(returns)


def test_exact_planning_swings_up_the_cart_pole() -> None:
    returns = exact_returns("cartpole_swingup")
    for label in ("cem", "iCEM", "mppi"):
        assert returns[label] >= 600


@pytest.mark.parametrize("task", TASKS)
def test_the_presets_at_20_hz_act_at_20_hz(task: str) -> None:
    preset = planning_settings.fast_preset(task)
    rows = [row for row in run.read(LEARNED) if row["task"] == planning_settings.TASKS[task]]
    (row,) = (row for row in rows if json.loads(row["setting"]) == {**preset, "warm_start": True})
    assert float(row["ms"]) <= 50
