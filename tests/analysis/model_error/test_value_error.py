"""The value-aware error of models whose faults are known, under values that are."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from mbrl.analysis.model_error.value_error import value_error
from mbrl.data import Prediction, Transitions, make_generator
from mbrl.errors import ConfigError, DataError, UnsupportedError
from mbrl.models import Differentiable, DynamicsModel, GaussianEnsemble, LinearQuadratic
from mbrl.networks import SpectralClip
from mbrl.policies import SAC
from mbrl.testing import linear_task
from mbrl.testing.linear import ACTION_MATRIX, STATE_MATRIX
from tests.analysis.faulty_model import F, G, exact_model, faulty, linear_episodes

W = torch.tensor([1.0, -2.0])
ROWS = Transitions.cat(linear_episodes())


class LinearValue:
    """V = w·s of the lesser of two critics."""

    def __init__(self, weights: Tensor = W, above: float = 5.0) -> None:
        self.weights, self.above = weights, above

    def value(self, obs: Tensor) -> Tensor:
        value = obs @ self.weights.to(obs)
        return torch.stack((value + self.above, value))


class Biased(DynamicsModel, Differentiable):
    """The true system, off by a bias in each dim and with a variance in each."""

    def __init__(self, bias: list[float], var: list[float]) -> None:
        super().__init__()
        self.bias, self.var = bias, var

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        mean = obs @ F.to(obs).T + action @ G.to(obs).T + torch.tensor(self.bias, dtype=obs.dtype)
        var = torch.tensor(self.var, dtype=obs.dtype).expand_as(mean)
        return Prediction(mean, var) if member is not None else Prediction(mean[None], var[None])


def biased(bias=(0.3, 0.1), var=(0.0, 0.0)) -> Biased:
    model = Biased(list(bias), list(var))
    model.build(linear_task(ends=False))
    return model


def look(model, value=None, rows=ROWS, **options):
    options = {"samples": 4, **options}
    return value_error(model, value or LinearValue(), rows, generator=make_generator("cpu", 0), **options)


def noisy_rows(number: int, var: tuple[float, float]) -> Transitions:
    generator = make_generator("cpu", "noisy rows")
    rows = Transitions.from_obs(torch.randn(number, 2, generator=generator), 1)
    noise = torch.randn(number, 2, generator=generator) * torch.tensor(var).sqrt()
    rows.next_obs = rows.obs @ F.T + rows.action @ G.T + noise
    return rows


@pytest.mark.check("lipschitz-D6")
def test_the_value_aware_error_of_a_biased_noisy_model() -> None:
    """V = w·s, w = (1, −2), bias (.3, .1), true variance (.2, .1), the model's (.05, .4), γ = .99."""
    exact = look(biased())
    assert exact.vame_sampled == pytest.approx(0.009801, rel=1e-4)
    assert exact.vame_mean == pytest.approx(0.009801, rel=1e-4)
    assert exact.summary()["bias"] == pytest.approx(0.3 - 2 * 0.1, abs=1e-5)
    number, samples = 40_000, 4
    rows = noisy_rows(number, (0.2, 0.1))
    found = look(biased(var=(0.05, 0.4)), rows=rows, most=number, samples=samples)
    # V(ŝ) − V(s') is normal with variance σ² = 2.25, so that its square's relative error is 0.7 % at 40,000 rows
    assert found.vame_sampled == pytest.approx(2.2150, rel=0.03)
    assert found.vame_mean == pytest.approx(0.9801 * (0.01 + 0.6 + 1.65 / samples), rel=0.03)


@pytest.mark.check("lipschitz-D7")
def test_the_slope_bounds_the_value_aware_error() -> None:
    """γ² L² mean |ŝ − s'|² in standardised coordinates, reached where the model is off along the value's gradient."""
    sd = ROWS.obs.double().std(0, correction=0)

    def both(bias: Tensor) -> tuple[float, float]:
        found = look(biased(bias.tolist()))
        steepest = found.lipschitz["value"].rows()["gradient"]["max"]
        return found.vame_sampled, found.discount**2 * steepest**2 * found.squared_distance

    error, bound = both(torch.tensor([0.3, 0.1]))
    assert error < 0.9 * bound
    error, bound = both((0.1 * W * sd**2).float())  # along (w sd) in standardised coordinates
    assert error == pytest.approx(bound, rel=1e-4)


@pytest.mark.check("lipschitz-D8")
def test_the_value_of_a_stable_line_is_as_steep_as_it_has_to_be() -> None:
    """s' = .8 s, reward 2 s, γ = .9: V = 7.142857 s, which solves the Bellman equation at 1.7."""
    slope = 2 / (1 - 0.9 * 0.8)
    assert slope == pytest.approx(7.142857, abs=1e-6)
    assert slope * 1.7 == pytest.approx(12.142857, abs=1e-6) == 2 * 1.7 + 0.9 * slope * (0.8 * 1.7)
    task = linear_task(ends=False)
    model = LinearQuadratic([[0.8, 0.0], [0.0, 0.0]], [[0.0], [0.0]])
    model.build(task)
    obs = torch.randn(200, 2, generator=make_generator("cpu", "line"))
    rows = Transitions.from_obs(obs, 1)
    rows.next_obs = torch.stack((0.8 * obs[:, 0], torch.zeros(200)), -1)
    found = look(model, LinearValue(torch.tensor([slope, 0.0])), rows, discount=0.9)
    sd = float(obs[:, 0].double().std(correction=0))
    for estimate in (found.lipschitz["value"].gradient, found.lipschitz["value"].pgd):
        assert torch.allclose(estimate / sd, torch.tensor(slope), rtol=1e-3)
    assert found.exact and found.vame_mean < 1e-9
    model_slope = found.lipschitz["model"]
    assert torch.allclose(model_slope.gradient, torch.tensor(0.8), rtol=1e-4)


def test_slopes_of_a_linear_model_are_known() -> None:
    """D⁻¹ F D in standardised coordinates, the action held."""
    sd = ROWS.obs.double().std(0, correction=0)
    length = float(torch.linalg.matrix_norm(F.double() * sd / sd[:, None], 2))
    for model in (exact_model(), biased()):
        found = look(model).lipschitz["model"]
        assert torch.allclose(found.gradient.double(), torch.tensor(length).double(), rtol=1e-4)
        assert found.rows()["pgd"]["mean"] == pytest.approx(length, rel=1e-3)
        assert found.rows()["ball"]["max"] <= length * 1.001 and found.pairs <= length * 1.001


def test_an_exact_model_moves_no_value() -> None:
    found = look(exact_model())
    assert found.exact and found.vame_sampled < 1e-12 and found.squared_distance < 1e-10
    assert found.summary()["log_vame_sampled"] is None
    assert any("undefined" in note for note in found.notes)
    assert not look(faulty()).exact


def test_logarithms_are_natural_and_the_least_critic_counts() -> None:
    found = look(biased())
    assert found.summary()["log_vame_mean"] == pytest.approx(math.log(0.009801), abs=1e-3)
    assert torch.allclose(found.real, (ROWS.next_obs @ W).double(), atol=1e-5)
    lower = look(biased(), LinearValue(above=-5.0))
    assert torch.allclose(lower.real, found.real - 5.0, atol=1e-5)


def test_the_share_of_the_values_variance() -> None:
    found = look(biased())
    variance = float((ROWS.next_obs @ W).double().var(correction=0))
    assert found.summary()["mean_error_per_value_variance"] == pytest.approx(0.01 / variance, rel=1e-3)


def test_rows_that_ended_are_left_out() -> None:
    episodes = linear_episodes(60, 40, ends=True)
    rows = Transitions.cat(episodes)
    ended = int(rows.terminated.sum())
    found = look(biased(), rows=rows, most=10_000)
    assert ended > 0 and len(found.real) == len(rows) - ended
    assert any(note.startswith(f"{ended} of {len(rows)} rows ended") for note in found.notes)
    over = rows.select(rows.terminated)
    with pytest.raises(DataError, match="all end"):
        look(biased(), rows=over)


def test_what_is_not_finite_is_counted_with_its_place() -> None:
    found = look(faulty(nan_above=0.45))
    wrong = (ROWS.obs[:, 0].abs() > 0.45).nonzero()[:, 0]
    assert len(found.real) == len(ROWS) - len(wrong)
    assert any(note.startswith(f"{len(wrong)} of") and f"row {int(wrong[0])}" in note for note in found.notes)
    assert found.lipschitz["model"].rows()["gradient"]["max"] is not None
    with pytest.raises(DataError, match="diverged"):
        look(faulty(nan_above=0.0))


class Stubborn(LinearQuadratic):
    """Can't be asked at observations that never were."""

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        if not torch.isin(obs, ROWS.obs).all():
            raise UnsupportedError("observations don't determine the state.")
        return super().predict(obs, action, member)


class NoGradients(DynamicsModel):
    def __init__(self, bias: list[float], var: list[float]) -> None:
        super().__init__()
        self.bias, self.var = bias, var

    predict = Biased.predict


def test_models_without_gradients_or_neighbours_are_named() -> None:
    stubborn = Stubborn(STATE_MATRIX, ACTION_MATRIX)
    stubborn.build(linear_task(ends=False))
    found = look(stubborn)
    assert found.lipschitz["model"] is None and found.exact
    assert any("can't be asked around" in note for note in found.notes)
    assert found.summary()["lipschitz"]["model"] is None
    found.plot_slopes().draw_without_rendering()
    model = NoGradients([0.3, 0.1], [0.0, 0.0])
    model.build(linear_task(ends=False))
    found = look(model)
    assert found.lipschitz["model"].gradient is None and found.lipschitz["model"].pairs is not None
    assert any("NoGradients has no gradients" in note for note in found.notes)


def test_a_learners_value_works_and_leaves_no_gradient() -> None:
    learner = SAC(hidden=(16,))
    learner.build(linear_task(ends=False))
    found = look(biased(var=(0.01, 0.01)), learner, most=100, samples=2)
    assert len(found.real) == 100 and any("100 rows were drawn from 500" in note for note in found.notes)
    assert found.lipschitz["value"].rows()["gradient"]["mean"] > 0
    assert all(parameter.grad is None for parameter in learner.parameters())
    again = look(biased(var=(0.01, 0.01)), learner, most=100, samples=2)
    assert torch.equal(again.drawn, found.drawn) and torch.equal(
        again.lipschitz["model"].ball, found.lipschitz["model"].ball
    )


def test_a_dim_that_never_varies_is_left_as_it_is() -> None:
    rows = ROWS.map(lambda x: x)
    rows.obs = torch.cat((ROWS.obs[:, :1], torch.full_like(ROWS.obs[:, :1], 0.3)), -1)
    found = look(biased(), rows=rows, names=["x", "v"])
    sd = float(ROWS.obs[:, 0].double().std(correction=0))
    assert torch.allclose(found.lipschitz["value"].gradient, torch.tensor(sd), rtol=1e-4)  # |w_0| a standard deviation
    assert any("v" in note and "doesn't vary" in note for note in found.notes)


def test_bad_arguments_table_plot_and_json() -> None:
    with pytest.raises(ConfigError, match="samples"):
        look(biased(), samples=0)
    with pytest.raises(ConfigError, match="discount"):
        look(biased(), discount=1.5)
    found = look(biased(var=(0.01, 0.01)))
    assert {len(column) for column in found.table().values()} == {10}
    json.dumps(found.to_json(), allow_nan=False)
    found.plot().draw_without_rendering()
    found.plot_slopes().draw_without_rendering()


@pytest.mark.parametrize("constraint", [None, SpectralClip()], ids=["free", "clipped"])
def test_a_bound_that_the_model_knows_stands_beside_the_slopes(constraint) -> None:
    model = GaussianEnsemble(members=2, elites=2, hidden=[8], max_epochs=20, constraint=constraint)
    model.build(linear_task(ends=False))
    model.refit(ROWS, make_generator("cpu", 0))
    scaled = ROWS.map(lambda x: x)
    found = look(model, rows=scaled)
    steepest = found.lipschitz["model"].rows()["gradient"]["max"]
    assert found.bound is not None and steepest <= found.bound < 100 * steepest
    table = found.table()
    assert (
        table["estimate"][-1] == "bound" and table["max"][-1] == found.bound == found.summary()["lipschitz_bound_of_model"]
    )
    assert "bound" not in look(biased()).table()["estimate"]
