"""What an ensemble learns doesn't depend on units: of observations, of rewards, of one dimension beside others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Task, Transitions, make_generator
from mbrl.models import GaussianEnsemble

TASK = Task("", 3, 1, (-1.0,), (1.0,), known_terminated="mbrl.envs.terminations.never")


def rows(n: int, seed: int, unit: float | list[float] = 1.0, reward_unit: float = 1.0) -> Transitions:
    """A turning, pushed, slightly bent system of three dimensions in `unit`s, with a quadratic reward."""
    noise = make_generator("cpu", seed, "units")
    obs, action = (torch.rand(n, k, generator=noise, dtype=torch.float64) * 2 - 1 for k in (3, 1))
    turn = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.9, 0.1], [0.1, 0.0, 0.9]], dtype=torch.float64)
    led_to = obs @ turn.T + action @ torch.tensor([[0.0, 0.2, 0.5]], dtype=torch.float64) + 0.2 * torch.sin(3 * obs)
    scale = torch.as_tensor(unit, dtype=torch.float64)
    never = torch.zeros(n, dtype=torch.bool)
    reward = -led_to.square().sum(-1) * reward_unit
    return Transitions((obs * scale).float(), action.float(), reward.float(), (led_to * scale).float(), never, never.clone())


def fitted(data: Transitions, **options: Any) -> tuple[GaussianEnsemble, dict[str, Any]]:
    model = GaussianEnsemble(
        **{"members": 3, "elites": 2, "hidden": [32, 32], "weight_decay": 1e-5, "max_epochs": 100, "lr": 3e-3, **options}
    )
    model.build(TASK, 0)
    return model, model.refit(data, make_generator("cpu", 0, "fit"))


def told(model: GaussianEnsemble, test: Transitions) -> tuple[Tensor, Tensor]:
    """R² of the change of each dimension and of the reward, and predicted sd over root mean squared error."""
    with torch.no_grad():
        said = model.predict(test.obs, test.action)
    assert said.reward_mean is not None and said.reward_var is not None
    error = torch.cat((said.mean.mean(0) - test.next_obs, (said.reward_mean.mean(0) - test.reward)[:, None]), -1)
    target = torch.cat((test.next_obs - test.obs, test.reward[:, None]), -1)
    sd = torch.cat((said.var, said.reward_var[..., None]), -1).sqrt().mean((0, 1))
    return 1 - error.square().mean(0) / target.var(0), sd / error.square().mean(0).sqrt()


@pytest.mark.parametrize(
    ("unit", "reward_unit"),
    [
        (2.0**10, 1.0),
        (2.0**-8, 2.0**13),
        ([1.0, 2.0**12, 2.0**-9], 2.0**-20),  # what counts is each dimension by itself
    ],
)
def test_powers_of_two_change_no_bit_of_what_is_learned(unit: Any, reward_unit: float) -> None:
    (one, said), (other, again) = fitted(rows(600, 0), max_epochs=3), fitted(rows(600, 0, unit, reward_unit), max_epochs=3)
    for name, value in one.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name]), name
    assert said["holdout_mse"] == again["holdout_mse"] and said["explained"] == again["explained"]
    assert torch.equal(one.elite_members, other.elite_members)
    scale = torch.as_tensor(unit)
    first, second = (
        model.predict(test.obs, test.action) for model, test in ((one, rows(50, 1)), (other, rows(50, 1, unit)))
    )
    assert torch.equal(first.mean * scale, second.mean)
    assert torch.equal(first.var * scale.square(), second.var)


@pytest.mark.parametrize(
    ("unit", "reward_unit"), [(57.0, 1.0), (300.0, 1.0), (0.01, 1.0), (1.0, 1e4), ([1.0, 1e3, 1e-3], 1e-6)]
)
def test_other_units_are_learned_as_well(unit: Any, reward_unit: float) -> None:
    r2, calibration = told(fitted(rows(1500, 0))[0], rows(500, 1))
    assert float(r2.min()) > 0.9
    there, likewise = told(fitted(rows(1500, 0, unit, reward_unit))[0], rows(500, 1, unit, reward_unit))
    assert torch.allclose(there, r2, atol=0.06)
    assert torch.allclose(likewise, calibration, rtol=0.5)


def test_without_normalised_targets_units_decide() -> None:
    """The switch changes what it names: so the authors' code would learn such rows."""
    r2, _ = told(fitted(rows(1500, 0, 300.0), normalize_targets=False)[0], rows(500, 1, 300.0))
    assert float(r2[:3].max()) < 0.9


def test_the_loss_is_told_in_environment_units() -> None:
    model, _ = fitted(rows(600, 0, [1.0, 1e3, 1e-3], 1e4), max_epochs=2)
    test = rows(64, 1, [1.0, 1e3, 1e-3], 1e4)
    loss, metrics = model.loss(test)
    said = model.predict(test.obs, test.action)
    assert said.reward_mean is not None and said.reward_var is not None
    mean = torch.cat((said.mean - test.obs, said.reward_mean[..., None]), -1)
    var = torch.cat((said.var, said.reward_var[..., None]), -1)
    square = (mean - torch.cat((test.next_obs - test.obs, test.reward[:, None]), -1)).square()
    expected = (square / var + var.log()).mean((1, 2)).sum() + model.bound_penalty * model.log_var_bounds.width()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)
    assert metrics["mse"].item() == pytest.approx(square.mean().item(), rel=1e-3)


def test_a_dimension_that_only_rounding_moves_stays_where_it_is() -> None:
    """cos² + sin² − 1 of a turning rotor is 0 but for 1e-8; imagined rollouts left it by orders of magnitude."""
    data = rows(800, 0)
    rounding = 3e-8 * torch.randn(2, 800, generator=make_generator("cpu", 3))
    data.obs[:, 2], data.next_obs[:, 2] = rounding[0], rounding[1]
    model, _ = fitted(data, max_epochs=10)
    state = model.start(data.select(slice(0, 100)), make_generator("cpu", 4))
    with torch.no_grad():
        for _ in range(3):
            state = model.step(state, torch.zeros(100, 1)).state
    assert float(state.obs[:, 2].abs().max()) < 1e-5
    assert float(state.obs[:, :2].abs().max()) < 10


def test_a_fit_that_explains_nothing_says_so() -> None:
    data = rows(400, 0)
    assert fitted(rows(1500, 0))[1]["explained"] > 0.9
    data.next_obs = data.obs + torch.randn(400, 3, generator=make_generator("cpu", 5)) * 1e-3
    assert fitted(data, max_epochs=5)[1]["explained"] < 0.2


@pytest.mark.parametrize("seed", range(4))
def test_an_event_that_only_the_holdout_saw_does_not_end_a_fit(seed: int) -> None:
    """A reward, or a flag, that is 0 but once: relative to rounding it would count millions of standard deviations."""
    data = rows(400, 0)
    data.reward[:] = 0.0
    data.reward[17] = 1.0
    data.obs[:, 2] = data.next_obs[:, 2] = 0.0
    data.next_obs[33, 2] = 1.0
    model = GaussianEnsemble(members=2, elites=2, hidden=[32, 32], weight_decay=1e-5, max_epochs=30, lr=3e-3)
    model.build(TASK, 0)
    report = model.refit(data, make_generator("cpu", seed, "fit"))
    assert report["holdout_mse"] < 50 and report["epochs"] > 8


def test_a_target_that_never_moved_counts_nowhere() -> None:
    data = rows(400, 0)
    data.reward[:] = 0.0
    model, _ = fitted(data, max_epochs=5)
    before = model.score(data)
    data.reward[5] = 1.0  # of other rows than it was fitted to
    assert torch.equal(model.score(data), before)
    loaded = GaussianEnsemble(**model.spec["init_args"])
    loaded.build(TASK, 1)
    loaded.load_state_dict(model.state_dict())
    assert torch.equal(loaded.score(data), before)
    quiet = rows(400, 0, 1e-39)
    quiet.reward[:] = 0.0
    assert all(bool(torch.isfinite(torch.as_tensor(value))) for value in fitted(quiet, max_epochs=2)[1].values())


def test_a_deterministic_model_learns_in_any_units() -> None:
    one = fitted(rows(1500, 0), deterministic=True)[1]["explained"]
    other = fitted(rows(1500, 0, [1.0, 1e3, 1e-3], 1e4), deterministic=True)[1]["explained"]
    assert one > 0.9 and other == pytest.approx(float(one), abs=0.05)
