"""`VaGraM` against numbers that are known (Voelcker2022; the names of the checks are those of the project's list)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mbrl.data import Task, Transitions, make_generator
from mbrl.models import SquaredError, VaGraM
from mbrl.models.losses.vagram import WEIGHT, clipped, value_slopes
from mbrl.policies import SAC
from tests.models.losses.values import Formulas, linear, rows_to

BARE: dict[str, Any] = {"clip": 1.0, "normalize": False, "warm_fits": 0}
ONES = torch.ones(2)


def cost(loss: VaGraM, value: Any, error: Tensor, rows: Transitions, scale: Tensor = ONES) -> Tensor:
    """What `error` `B x D` (normalised) costs each row, `B`."""
    rows = replace(rows, extras=loss.extras(rows, value, scale))
    return loss.errors(error.unsqueeze(0), torch.zeros_like(error), rows, scale, value)[0]


@pytest.mark.check("vagram-K1")
def test_a_linear_value() -> None:
    value, rows = linear([3.0, -4.0]), rows_to(torch.randn(2, 2, generator=make_generator("cpu", 0)))
    assert value_slopes(value, rows, "online", fixed=True).tolist() == [[[3.0, -4.0]] * 2]
    error = torch.tensor([[1.0, 1.0], [4.0, 3.0]])
    assert (2 * cost(VaGraM(**BARE), value, error, rows)).tolist() == [25.0, 288.0]  # the sum over dims
    taylor = (error @ torch.tensor([3.0, -4.0])).square()
    assert taylor.tolist() == [1.0, 0.0] and bool((taylor <= 2 * torch.tensor([25.0, 288.0])).all())


@pytest.mark.check("vagram-K2")
def test_a_quadratic_value_is_off_by_its_curvature() -> None:
    h = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    value = Formulas(lambda s: 0.5 * ((s @ h) * s).sum(-1))
    real = torch.randn(6, 2, generator=make_generator("cpu", 0))
    slopes = value_slopes(value, rows_to(real), "online", fixed=True)[0]
    torch.testing.assert_close(slopes, real @ h)
    for size in (1.0, 0.1):
        error = size * torch.randn(6, 2, generator=make_generator("cpu", 1))
        change = value.value(real + error)[0] - value.value(real)[0]
        torch.testing.assert_close(
            change - (slopes * error).sum(-1), 0.5 * ((error @ h) * error).sum(-1), atol=1e-5, rtol=1e-4
        )


def sac(obs_size: int = 2) -> SAC:
    learner = SAC(hidden=[16, 16])
    learner.build(Task("", obs_size, 1, (-1.0,), (1.0,)))
    return learner


@pytest.mark.check("vagram-K3")
def test_the_gradient_reaches_the_prediction_alone() -> None:
    learner, rows = sac(), rows_to(torch.randn(7, 2, generator=make_generator("cpu", 0)))
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items() if isinstance(tensor, Tensor)}
    loss, mean = VaGraM(warm_fits=0), torch.randn(1, 7, 2, generator=make_generator("cpu", 1)).requires_grad_()
    rows = replace(rows, extras=loss.extras(rows, learner, ONES))
    weight = rows.extras[WEIGHT]
    assert not weight.requires_grad and float(weight.min()) >= 0
    target = torch.zeros(7, 2)
    loss.errors(mean, target, rows, ONES, learner).sum().backward()
    torch.testing.assert_close(mean.grad, 2 * weight * mean.detach())
    assert all(parameter.grad is None for parameter in learner.parameters())
    assert all(torch.equal(learner.state_dict()[name], tensor) for name, tensor in before.items())
    torch.testing.assert_close(weight.mean() * 2, torch.tensor(1.0))  # the sum over dims of weights / S, of mean 1


@pytest.mark.check("vagram-K5")
def test_in_a_noisy_world_it_is_drawn_to_where_the_value_is_steep() -> None:
    value, rows = Formulas(lambda s: s[..., 0].square() / 2), rows_to(torch.tensor([[0.0], [1.0]]))

    def best(loss: Any) -> float:
        mean = torch.linspace(0, 1.5, 1501)
        given = replace(rows, extras=loss.extras(rows, value, torch.ones(1)))
        total = [float(loss.errors(m.expand(1, 2, 1), rows.next_obs, given, torch.ones(1), value).sum()) for m in mean]
        return float(mean[int(torch.tensor(total).argmin())])

    assert best(VaGraM(**BARE)) == pytest.approx(1.0, abs=2e-3)
    assert best(SquaredError()) == pytest.approx(0.5, abs=2e-3)


@pytest.mark.check("vagram-K6")
def test_too_small_a_model_keeps_what_the_value_asks_for() -> None:
    """A map of rank 1 of two independent inputs with variances 1 and 4."""
    covariance, slopes = torch.tensor([1.0, 4.0]).sqrt().diag(), torch.tensor([10.0, 1.0])
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    real = signs @ covariance  # rows of exactly that covariance

    def residual(loss: Any, kept: Tensor) -> float:
        rows = rows_to(real)
        rows = replace(rows, extras=loss.extras(rows, linear(slopes.tolist()), ONES))
        said = real @ kept.outer(kept)
        return float(2 * loss.errors(said.unsqueeze(0), real, rows, ONES, None).mean())

    first, second = torch.eye(2)
    assert residual(VaGraM(**BARE), first) == pytest.approx(4.0) and residual(VaGraM(**BARE), second) == pytest.approx(100.0)
    assert residual(SquaredError(), first) == pytest.approx(4.0) and residual(SquaredError(), second) == pytest.approx(1.0)
    left, sizes, _ = torch.linalg.svd(slopes.diag() @ covariance)  # the closed form
    assert abs(float(left[0, 0])) == pytest.approx(1.0) and float(sizes[1] ** 2) == pytest.approx(4.0)


@pytest.mark.check("vagram-K7")
def test_with_room_for_all_the_weights_do_not_matter() -> None:
    generator = make_generator("cpu", 0)
    x, y = torch.randn(40, 3, generator=generator), torch.randn(40, 2, generator=generator)
    least = torch.linalg.lstsq(x, y).solution.requires_grad_()
    loss, rows = VaGraM(**BARE), rows_to(y)
    rows = replace(rows, extras=loss.extras(rows, linear([10.0, -0.3]), ONES))
    loss.errors((x @ least).unsqueeze(0), y, rows, ONES, None).mean().backward()
    torch.testing.assert_close(least.grad, torch.zeros_like(least), atol=2e-5, rtol=0)


@pytest.mark.check("vagram-K8")
def test_long_gradients_are_cut_to_the_quantile() -> None:
    ways = torch.nn.functional.normalize(torch.randn(100, 3, generator=make_generator("cpu", 0)), dim=-1)
    slopes = (torch.arange(1, 101.0).unsqueeze(-1) * ways).unsqueeze(0)
    found = clipped(slopes, 0.95, torch.ones(100, dtype=torch.bool))[0]
    norms = found.norm(dim=-1)
    assert float(norms.max()) == pytest.approx(95.05, rel=1e-5)
    assert int((norms < slopes[0].norm(dim=-1) - 1e-3).sum()) == 5
    torch.testing.assert_close(torch.nn.functional.normalize(found, dim=-1), ways)


def test_the_quantile_is_that_of_the_scaled_rows_that_go_on() -> None:
    among = torch.tensor([True, True, False])
    slopes = torch.tensor([[[3.0], [1.0], [90.0]], [[0.0], [8.0], [0.0]]])
    assert clipped(slopes, 1.0, among).flatten().tolist() == pytest.approx([3.0, 1.0, 3.0, 0.0, 8.0, 0.0])
    value = Formulas(lambda s: s[..., 0].square() / 2)
    rows = rows_to(torch.tensor([[1.0], [2.0], [100.0]]), torch.tensor([False, False, True]))
    weight = VaGraM(clip=0.5, normalize=False).weights(rows, value, torch.tensor([10.0]))
    assert weight.flatten().tolist() == pytest.approx([100.0, 225.0, 162.5])  # the median of 10 and 20; the end has the mean


@pytest.mark.check("vagram-K9")
@pytest.mark.parametrize("sizes", [(1.0, 1.0, 1.0, 1.0), (1.0, -2.0, 3.0, 0.0)])
def test_each_critic_counts_by_its_own_square(sizes: tuple[float, ...]) -> None:
    way = torch.tensor([0.5, 2.0])
    value = linear(*[(c * way).tolist() for c in sizes])
    weight = VaGraM(**BARE).weights(rows_to(torch.zeros(3, 2)), value, ONES)
    wanted = way.square() * torch.tensor(sizes).square().mean()
    torch.testing.assert_close(weight, wanted.expand(3, 2))


@pytest.mark.check("vagram-K11")
def test_normalised_targets_cost_the_same() -> None:
    value, rows = linear([3.0, -4.0], [1.0, 0.5]), rows_to(torch.randn(9, 2, generator=make_generator("cpu", 0)))
    error, scale = torch.randn(9, 2, generator=make_generator("cpu", 1)), torch.tensor([0.01, 57.0])
    for options in (BARE, {**BARE, "clip": 1.0}):
        raw = cost(VaGraM(**options), value, error, rows)
        torch.testing.assert_close(cost(VaGraM(**options), value, error / scale, rows, scale), raw)


@pytest.mark.check("vagram-K12")
def test_changes_and_absolute_predictions_cost_the_same() -> None:
    value = Formulas(lambda s: s.square().sum(-1))
    generator = make_generator("cpu", 0)
    rows, obs = rows_to(torch.randn(9, 2, generator=generator)), torch.randn(9, 2, generator=generator)
    said = torch.randn(1, 9, 2, generator=generator)
    loss, rows = VaGraM(**BARE), replace(rows, obs=obs)
    rows = replace(rows, extras=loss.extras(rows, value, ONES))
    absolute = loss.errors(said, rows.next_obs, rows, ONES, value)
    change = loss.errors(said - obs, rows.next_obs - obs, rows, ONES, value)
    torch.testing.assert_close(absolute, change)
    torch.testing.assert_close(rows.extras[WEIGHT], (2 * rows.next_obs).square() / 2)


@pytest.mark.check("vagram-K13")
def test_the_values_offset_and_scale() -> None:
    rows, error = rows_to(torch.randn(9, 2, generator=make_generator("cpu", 0))), torch.ones(9, 2)
    value, more, shifted = linear([3.0, -4.0]), linear([300.0, -400.0]), linear([3.0, -4.0], offset=1e3)
    for options in (BARE, {"warm_fits": 0}):
        torch.testing.assert_close(
            cost(VaGraM(**options), shifted, error, rows), cost(VaGraM(**options), value, error, rows)
        )
    torch.testing.assert_close(cost(VaGraM(**BARE), more, error, rows), 1e4 * cost(VaGraM(**BARE), value, error, rows))
    one, other = (cost(VaGraM(warm_fits=0), some, error, rows) for some in (value, more))
    torch.testing.assert_close(one, other)


@pytest.mark.check("vagram-K14")
def test_samples_would_charge_the_variance() -> None:
    value, rows = linear([3.0, -4.0]), rows_to(torch.zeros(1, 2))
    loss, sd = VaGraM(**BARE), torch.tensor([0.5, 0.1])
    rows = replace(rows, extras=loss.extras(rows, value, ONES))
    mean = torch.tensor([0.3, -0.2])
    drawn = mean + sd * torch.randn(400_000, 1, 2, generator=make_generator("cpu", 1))
    sampled = 2 * loss.errors(drawn, rows.next_obs, rows, ONES, value).mean()
    at_mean = 2 * loss.errors(mean.view(1, 1, 2), rows.next_obs, rows, ONES, value)[0, 0]
    assert float(sampled - at_mean) == pytest.approx(9 * 0.25 + 16 * 0.01, rel=1e-2)


class Bilinear(nn.Module):
    """Q(s, a) = s·a, and a policy π(s) = 2s."""

    @property
    def policy(self) -> Bilinear:
        return self

    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        return 2 * obs

    def value(self, obs: Tensor, action: Tensor | None = None, critics: str = "online") -> Tensor:
        return (obs * (self.mode(obs) if action is None else action)).sum(-1).unsqueeze(0)


@pytest.mark.check("vagram-K16")
@pytest.mark.parametrize(("action", "slope"), [("mean", 2.0), ("total", 4.0)])
def test_the_policys_action_is_held_or_followed(action: Any, slope: float) -> None:
    weight = VaGraM(action=action, **BARE).weights(rows_to(torch.tensor([[1.0]])), Bilinear(), torch.ones(1))
    assert float(weight) == slope**2


def test_of_sac_all_four_critics_are_asked_at_the_policys_action() -> None:
    learner, rows = sac(), rows_to(torch.randn(5000, 2, generator=make_generator("cpu", 0)))
    slopes = value_slopes(learner, rows, "both", fixed=True)
    assert slopes.shape == (4, 5000, 2)
    obs = rows.next_obs[4990:].requires_grad_()
    action = learner.policy.mode(obs.detach())
    wanted = torch.autograd.grad(learner.value(obs, action)[1].sum(), obs)[0]
    torch.testing.assert_close(slopes[1, 4990:], wanted)
    free = value_slopes(learner, rows, "online", fixed=False)
    assert free.shape == (2, 5000, 2) and not torch.allclose(free[1], slopes[1])


def test_ends_floors_and_values_that_say_nothing() -> None:
    ended = torch.tensor([True, False, False])
    rows = rows_to(torch.tensor([[9.0, 9.0], [1.0, 2.0], [3.0, 0.0]]), ended)
    value = Formulas(lambda s: s.square().sum(-1) / 2)
    weight = VaGraM(clip=1.0).weights(rows, value, ONES)
    torch.testing.assert_close(weight, torch.tensor([[1.0, 1.0], [1 / 3.5, 4 / 3.5], [9 / 3.5, 0.0]]))
    torch.testing.assert_close(VaGraM(clip=1.0, floor=0.25).weights(rows, value, ONES), weight + 0.25)
    everything = torch.ones(3, dtype=torch.bool)
    for silent, some in ((linear([0.0, 0.0]), rows), (value, rows_to(rows.next_obs, everything))):
        assert VaGraM().weights(some, silent, ONES).tolist() == [[1.0, 1.0]] * 3
    constant = Formulas(lambda s: torch.zeros(s.shape[:-1]))
    assert value_slopes(constant, rows, "online", fixed=True).tolist() == [[[0.0, 0.0]] * 3]


def test_the_reward_keeps_its_weight_and_first_fits_are_warm() -> None:
    loss, rows, scale = VaGraM(clip=1.0, warm_fits=1), rows_to(torch.zeros(2, 2)), torch.ones(3)
    warm = loss.extras(rows, linear([1.0, 0.0]), scale)[WEIGHT]
    torch.testing.assert_close(warm, torch.tensor([[1 + 1 / 3, 1 / 3, 1 + 1 / 3]] * 2))
    loss.fits = 1
    torch.testing.assert_close(loss.extras(rows, linear([1.0, 0.0]), scale)[WEIGHT], torch.tensor([[1.0, 0.0, 1.0]] * 2))
