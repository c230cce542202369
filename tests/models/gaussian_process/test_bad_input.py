"""What `GaussianProcess` refuses, warns of or counts."""

from __future__ import annotations

import pytest
import torch

from mbrl.data import Task, Transitions
from mbrl.errors import ConfigError, DataError, DivergedError, MbrlWarning
from mbrl.models import GaussianProcess
from mbrl.models.gaussian_process.posterior import factorised
from mbrl.models.gaussian_process.row_choice import different_rows
from tests.models.gaussian_process.test_gaussian_process import SPARSE, built, exact, fitted, noise
from tests.models.linear_task import linear_rows


@pytest.mark.parametrize("column", ["obs", "action", "next_obs", "reward"])
def test_rows_that_are_not_finite_are_refused(column: str) -> None:
    rows = linear_rows(20)
    getattr(rows, column)[4] = torch.nan
    with pytest.raises(DataError, match="expected finite rows, got 1 with NaN or infinity, first at 4; remove them"):
        fitted(rows)


def test_rows_that_are_all_equal_are_refused() -> None:
    rows = linear_rows(1).select(torch.zeros(20, dtype=torch.int64))
    with pytest.raises(DataError, match="expected at least 2 rows that differ, got 20 of which 1 does; collect more"):
        fitted(rows)


def test_of_equal_rows_one_is_used_and_the_others_are_counted() -> None:
    rows = linear_rows(40)
    twice = Transitions.cat([rows, rows.select(slice(0, 15))])
    model, report = fitted(twice, updates=0)
    assert (report["rows"], report["equal_rows"], report["jitter_retries"]) == (40, 15, 0)
    assert torch.isfinite(exact(model, rows)).all()
    assert different_rows(torch.tensor([[1.0], [2.0], [1.0], [3.0]])).tolist() == [1, 2, 3]


def test_constant_columns_stay_constant() -> None:
    rows = linear_rows(60)
    rows.obs[:, 1] = 7.0
    rows.action[:, 0] = 0.3
    rows.next_obs = rows.obs + torch.tensor([0.2, 0.0, -0.1]) * rows.action[:, 1:]
    model, report = fitted(rows, updates=60)
    said = model.predict(rows.obs, rows.action)
    assert report["jitter_retries"] == 0 and report["explained"] > 0.9
    assert torch.isfinite(said.mean).all()
    assert (said.mean[..., 1] - 7).abs().max() < 1e-5
    assert said.var[..., 1].max() < 1e-10


def test_more_inducing_points_than_rows_are_refused() -> None:
    sentence = r"inducing_points=20\): expected at least as many rows that differ, got 12; lower it, or collect more"
    with pytest.raises(DataError, match=sentence):
        fitted(linear_rows(12), **SPARSE)


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"inducing_points=…\): expected None beside inference='exact', got 10; leave"):
        GaussianProcess(inducing_points=10)
    with pytest.raises(ConfigError, match=r"inducing_points=…\): expected a whole number from 1 to 30, got 40"):
        GaussianProcess(inference="sparse", max_rows=30, newest=5, inducing_points=40)
    with pytest.raises(ConfigError, match=r"newest=…\): expected a whole number from 0 to 30, got 31"):
        GaussianProcess(max_rows=30, newest=31)


def test_many_observations_are_warned_of() -> None:
    task = Task("", 13, 1, (-1.0,), (1.0,), known_terminated="mbrl.envs.terminations.never")
    with pytest.warns(MbrlWarning, match="expected at most 12 observations, which few rows can cover, got 13; compare it"):
        built(task=task)


def test_jitter_is_added_where_it_is_needed_and_counted() -> None:
    one = torch.ones(2, dtype=torch.float64)
    singular = torch.ones(2, 5, 5, dtype=torch.float64)
    singular[0] += torch.eye(5)
    singular[1, 0, 0] -= 1e-12
    root, tries = factorised(singular, 0 * one, one)
    assert tries > 0 and torch.isfinite(root).all()
    with pytest.raises(DivergedError, match="expected a positive definite covariance matrix, got none with a jitter of"):
        factorised(-singular, 0 * one, one)


def test_near_equal_rows_without_noise_need_jitter_and_the_fit_says_so() -> None:
    rows = linear_rows(30).map(lambda x: x.double() if x.is_floating_point() else x)
    near = rows.map(lambda x: x + 1e-9 if x.is_floating_point() else x)
    model = built(noise_floor=1e-18, updates=0)
    model.process.noise.fill_(0.0)
    report = model.refit(Transitions.cat([rows, near]), noise())
    assert float(report["jitter_retries"]) > 0
    assert torch.isfinite(exact(model, rows)).all()
