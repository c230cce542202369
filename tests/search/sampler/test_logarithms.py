"""Objectives whose logarithms are modelled: rows, noise, what is told in own units, and values without a logarithm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import TrialState, create_trial

from mbrl.errors import ConfigError, MbrlWarning
from mbrl.search.report import model_check, parameter_effects, search_history
from mbrl.search.sampler import BOSampler, pareto, predictions, recommend

LINE: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
XS = np.linspace(0, 1, 8).tolist()


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def cost(x: float) -> float:
    """Over four orders of magnitude, least at 0.4."""
    return 0.01 * math.exp(25 * (x - 0.4) ** 2)


def study_of(values: list[list[float]], xs: list[float], directions: list[str], **more: Any) -> Study:
    study = optuna.create_study(directions=directions)
    study.add_trials(
        [
            create_trial(values=value, params={"x": x}, distributions=LINE, **more)
            for value, x in zip(values, xs, strict=True)
        ]
    )
    return study


def test_rows_are_logarithms_and_come_back() -> None:
    study = study_of([[1.0, 100.0], [2.0, 10.0], [3.0, 0.0], [4.0, -1.0]], XS[:4], ["maximize", "minimize"])
    rows = BOSampler(LINE, log_objectives=(1,)).rows(study)
    assert rows.y[:2].tolist() == [[1.0, pytest.approx(-math.log(100))], [2.0, pytest.approx(-math.log(10))]]
    assert rows.failed.tolist() == [False, False, True, True]
    assert rows.y[2].tolist() == [1.0, pytest.approx(-math.log(100))]  # the worst of each
    assert rows.own(rows.y)[:2].tolist() == [[1.0, pytest.approx(100.0)], [2.0, pytest.approx(10.0)]]
    plain = BOSampler(LINE).rows(study)
    assert plain.y.tolist() == [[1.0, -100.0], [2.0, -10.0], [3.0, 0.0], [4.0, 1.0]] and not plain.failed.any()


def test_noise_of_a_logarithm_is_relative() -> None:
    study = optuna.create_study(direction="minimize")
    for value in (10.0, 100.0):
        attrs = {"yvar": (0.1 * value) ** 2, "seeds": [0, 1]}
        study.add_trial(create_trial(value=value, params={"x": 0.5}, distributions=LINE, user_attrs=attrs))
    noise = BOSampler(LINE, log_objectives=(0,)).rows(study).noise
    assert noise is not None and noise[:, 0].tolist() == pytest.approx([0.01, 0.01])


def test_what_is_told_is_in_own_units() -> None:
    study = study_of([[cost(x)] for x in XS], XS, ["minimize"])
    sampler = BOSampler(LINE, log_objectives=(0,))
    best = recommend(study, sampler)
    assert best.trial.params["x"] == XS[3] and best.mean == pytest.approx(cost(XS[3]), rel=0.1) and best.log == (True,)
    told = predictions(study, sampler, points=5)
    assert told.leave_one_out.observed == pytest.approx([cost(x) for x in XS])
    inner = list(zip(told.leave_one_out.mean, XS, strict=True))[1:-1]
    assert all(mean == pytest.approx(cost(x), rel=0.5) for mean, x in inner)
    assert told.effects[0].mean[4] == pytest.approx(cost(1.0), rel=0.2) and told.effects[0].log
    effects = parameter_effects(study, told, LINE)
    assert min(effects.table()["low"]) > 0
    check, went = model_check(told), search_history(study, sampler, points=1)
    assert check.within[1] > 0.5
    for part in (effects, check, went):
        part.plot().canvas.draw()

    ten = study_of([[cost(x)] for x in np.linspace(0, 1, 10)], np.linspace(0, 1, 10).tolist(), ["minimize"])
    ten.sampler = sampler
    asked = ten.ask()
    assert abs(asked.suggest_float("x", 0, 1) - 0.4) < 0.1
    assert ten.trials[-1].user_attrs["acq"]["mean"][0] == pytest.approx(0.01, rel=0.3)


def test_only_the_named_objective_is() -> None:
    study = study_of([[-x, cost(x)] for x in XS], XS, ["maximize", "minimize"])
    front = pareto(study, BOSampler(LINE, log_objectives=(1,)))
    for entry in front:
        assert entry.log == (False, True)
        assert entry.mean[0] == pytest.approx(-entry.params["x"], abs=0.05)  # type: ignore[index]
        assert entry.mean[1] == pytest.approx(cost(entry.params["x"]), rel=0.3)  # type: ignore[index]


def test_a_value_without_a_logarithm_is_warned_of_and_fails() -> None:
    sampler = BOSampler(LINE, log_objectives=(0,))
    study = optuna.create_study(sampler=sampler)
    for value in (0.0, -2.0):
        asked = study.ask()
        asked.suggest_float("x", 0, 1)
        with pytest.warns(MbrlWarning, match=rf"above 0 of objective 0, got {value:g} in trial {asked.number}, .* failed"):
            study.tell(asked, value)
    asked = study.ask()
    asked.suggest_float("x", 0, 1)
    study.tell(asked, 3.0)
    assert sampler.rows(study).failed.tolist() == [True, True, False]


def test_reports_are_logarithms_too() -> None:
    study = optuna.create_study(direction="minimize")
    curve = {1: 100.0, 2: -1.0, 3: 10.0, 4: 1.0}
    study.add_trial(create_trial(value=1.0, params={"x": 0.5}, distributions=LINE, intermediate_values=curve))
    study.add_trial(
        create_trial(state=TrialState.PRUNED, params={"x": 0.1}, distributions=LINE, intermediate_values={2: 0.0, 1: 4.0})
    )
    rows = BOSampler(LINE, fidelity=True, log_objectives=(0,)).rows(study)
    _, y, _, left = rows.observed()
    assert left is not None and left.tolist() == [0.0, 0.75, 0.25, 0.75]
    assert y[:, 0].tolist() == pytest.approx([0.0, -math.log(100), -math.log(10), -math.log(4)])


def test_an_objective_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected indices of objectives below 1, got \[1\]"):
        BOSampler(LINE, log_objectives=(1,)).read([], [StudyDirection.MINIMIZE])
    with pytest.raises(ConfigError, match="log_objectives"):
        BOSampler(LINE, log_objectives=(-1,))
