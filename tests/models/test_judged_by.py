"""Ensembles judged by the likelihood of held-out rows: what is computed, what it chooses, and when a fit ends."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Transitions, make_generator
from mbrl.errors import ConfigError
from mbrl.models import GaussianEnsemble, VaGraM
from tests.models.fitting.test_lightning_fit import Rows, trainer, weights
from tests.models.linear_task import TASK, linear_rows


def ensemble(**options: Any) -> GaussianEnsemble:
    sizes = {"members": 3, "elites": 2, "hidden": [16], "batch_size": 32, "lr": 1e-2}
    model = GaussianEnsemble(**{**sizes, "judged_by": "likelihood", **options})
    model.build(TASK, 0)
    return model


def noisy(n: int, seed: int) -> Transitions:
    """Rows whose changes are noise: whatever a network finds in them holds for them alone."""
    rows = linear_rows(n, seed)
    noise = torch.randn(rows.obs.shape, generator=torch.Generator().manual_seed(seed))
    return replace(rows, next_obs=rows.obs + noise)


def densities(model: GaussianEnsemble, rows: Transitions) -> Tensor:
    """Negative log-density of each member's prediction in environment units, mean over rows and dims, `E`."""
    found = model.predict(rows.obs, rows.action)
    assert found.reward_mean is not None and found.reward_var is not None
    normal = torch.distributions.Normal
    obs = -normal(found.mean, found.var.sqrt()).log_prob(rows.next_obs)  # E x B x S
    reward = -normal(found.reward_mean, found.reward_var.sqrt()).log_prob(rows.reward).unsqueeze(-1)
    return torch.cat((obs, reward), -1).double().mean((1, 2))


@pytest.mark.parametrize("normalize", [True, False])
def test_the_likelihood_is_that_of_the_predictions(normalize: bool) -> None:
    model, rows = ensemble(normalize_targets=normalize, max_updates=20), linear_rows(200)
    model.refit(rows, make_generator("cpu", 0, "fit"))
    shift = model.target_normalizer.sd.double().log().mean() if normalize else 0.0
    torch.testing.assert_close(model.negative_log_likelihood(rows), densities(model, rows) - shift, rtol=1e-4, atol=1e-4)


def test_units_of_raw_targets_are_no_part_of_the_verdict() -> None:
    """A member of exact means and variances, in metres or micrometres, is judged alike."""
    judged = []
    for unit in (1.0, 1e6):
        model = ensemble(normalize_targets=False, learn_reward=False, members=1, elites=1, log_var_min=-60, log_var_max=60)
        rows = noisy(500, 0)
        rows = replace(rows, next_obs=rows.obs + (rows.next_obs - rows.obs) * unit)
        with torch.no_grad():
            for parameter in model.network.parameters():
                parameter.zero_()
            model.network.biases[-1][..., TASK.obs_size :] = 2 * math.log(unit)
        judged.append(model.judge(model.score(rows), rows).item())
    assert judged[0] == pytest.approx(judged[1], rel=1e-3)
    assert judged[0] == pytest.approx(math.exp(0.5 * (1 + math.log(2 * math.pi))), rel=0.1)  # of a Gaussian's own noise


def test_a_wild_likelihood_stays_a_number_below_no_score() -> None:
    model, rows = ensemble(), linear_rows(50)
    with torch.no_grad():
        model.network.biases[-1][..., model.outputs :] = -1e3
    far = replace(rows, next_obs=rows.next_obs + 1e3)
    assert (model.judge(model.score(far), far) == math.exp(20.0)).all()


def test_a_target_that_stands_still_is_no_part_of_it() -> None:
    """Its variance can fall for ever, and would keep a fit going."""
    model, rows = ensemble(normalize_targets=False, log_var_min=-60, log_var_max=60), linear_rows(50)
    rows = replace(rows, reward=torch.zeros_like(rows.reward))
    judged = []
    for log_var in (0.0, -30.0):
        with torch.no_grad():
            for parameter in model.network.parameters():
                parameter.zero_()
            model.network.biases[-1][..., 2 * model.outputs - 1] = log_var  # the reward's
        judged.append(model.judge(model.score(rows), rows))
    assert torch.equal(*judged)


@pytest.mark.parametrize("normalize", [True, False])
def test_rows_in_which_nothing_moves_are_judged_too(normalize: bool) -> None:
    model, rows = ensemble(normalize_targets=normalize, max_epochs=3), linear_rows(50)
    rows = replace(rows, next_obs=rows.obs.clone(), reward=torch.zeros_like(rows.reward))
    report = model.refit(rows, make_generator("cpu", 0, "fit"))
    assert math.isfinite(report["holdout_nll"])


def test_elites_are_those_whose_variances_are_right_too() -> None:
    """Members of equal means: by error they tie, by likelihood the one that is sure of nothing is last."""
    model = ensemble(learn_reward=False, log_var_min=-10.0, log_var_max=10.0)
    rows = noisy(400, 0)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.zero_()
        model.network.biases[-1][0, ..., TASK.obs_size :] = -6.0  # far too sure
    scores = model.score(rows)
    assert scores[0] == scores[1]
    model.rank_members(model.judge(scores, rows))
    assert 0 not in model.drawn_members.tolist()


def test_a_fit_to_noise_ends_before_its_variances_are_too_small() -> None:
    rows, others = noisy(150, 0), noisy(500, 1)
    found = {}
    for judged_by in ("error", "likelihood"):
        model = ensemble(judged_by=judged_by, hidden=[64, 64], patience=3, lr=3e-3, max_epochs=200, threshold=0.0)
        report = model.refit(rows, make_generator("cpu", 0, "fit"))
        found[judged_by] = densities(model, others).mean().item()
        assert ("holdout_nll" in report) == (judged_by == "likelihood")
    assert found["likelihood"] < found["error"]


def test_lightning_fits_what_a_planner_fits(tmp_path: Path) -> None:
    alone, rows = ensemble(patience=1, threshold=0.2, max_epochs=100), linear_rows(300)
    report = alone.refit(rows, make_generator("cpu", Rows.seed, "dynamics", "fit"))
    under = ensemble(patience=1, threshold=0.2)
    fit = trainer(tmp_path, max_epochs=100)
    fit.fit(under, datamodule=Rows(rows))
    assert fit.current_epoch == report["epochs"] < 100
    torch.testing.assert_close(weights(under), weights(alone))
    assert fit.callback_metrics["model/holdout_nll"].isfinite()


@pytest.mark.parametrize("loss", [None, VaGraM()])
def test_it_is_refused_where_there_is_no_likelihood(loss: VaGraM | None) -> None:
    with pytest.raises(ConfigError, match=r"judged_by=….*expected 'error' beside (deterministic|a loss)"):
        GaussianEnsemble(judged_by="likelihood", deterministic=loss is None, loss=loss)


def test_it_is_refused_without_rows_to_judge_by() -> None:
    with pytest.raises(ConfigError, match=r"judged_by=….*expected 'error' beside a holdout of 0.*got 'likelihood'"):
        GaussianEnsemble(judged_by="likelihood", holdout=0.0, best_weights="never", elites=None)


def test_without_a_holdout_each_cap_ends_a_fit() -> None:
    with pytest.raises(ConfigError, match=r"max_epochs, max_updates or max_updates_per_root_row beside 0"):
        GaussianEnsemble(holdout=0.0, best_weights="never", elites=None, max_epochs=None)


def test_updates_are_capped_by_the_root_of_the_rows(tmp_path: Path) -> None:
    options = {"judged_by": "error", "max_updates_per_root_row": 0.5, "patience": 1000}
    for n, updates in ((100, 5), (400, 10), (401, 11)):
        assert ensemble(**options).refit(linear_rows(n), make_generator("cpu", 0, "fit"))["updates"] == updates
    assert ensemble(**options, max_updates=7).refit(linear_rows(400), make_generator("cpu", 0, "fit"))["updates"] == 7
    model, fit = ensemble(**options), trainer(tmp_path, max_epochs=20)
    fit.fit(model, datamodule=Rows(linear_rows(400)))
    assert fit.global_step == 10
    unlimited = ensemble(holdout=0.0, best_weights="never", elites=None, max_epochs=None, **options)
    assert unlimited.refit(linear_rows(100), make_generator("cpu", 0, "fit"))["updates"] == 5
