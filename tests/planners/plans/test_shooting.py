"""Random and gradient shooting."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mbrl.data import Prediction
from mbrl.errors import UnsupportedError
from mbrl.models import DynamicsModel
from mbrl.planners.plans import GradientShooting, PlanProblem, RandomShooting
from mbrl.testing import LinearModel
from tests.planners.plans.problems import Recorder, bowl, cold, linear_quadratic, problem


class Blind(DynamicsModel):
    """Says nothing of gradients."""

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        raise AssertionError("nobody asks")


def test_random_plans_are_uniform_and_the_best_is_executed() -> None:
    recorder = Recorder(bowl(0.3))
    posed = problem(recorder, (0, 1), 2, 1)
    plan = RandomShooting(3000).optimize(posed, {})
    asked = recorder.asked[0]
    assert float(asked.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(asked.std()) == pytest.approx(3**-0.5, abs=0.01)
    assert -1.0 <= float(asked.min()) < -0.99 < 0.99 < float(asked.max()) <= 1.0
    torch.testing.assert_close(plan.value, recorder.answered[0].amax(1))
    torch.testing.assert_close(bowl(0.3)(plan.actions[:, None])[:, 0], plan.value)
    assert plan.warm == {} and cold(RandomShooting(), posed) == {}


def test_adam_by_hand() -> None:
    """The plan that begins at zero, through torch's own Adam and a projection."""
    target = torch.tensor([0.9, -2.0], dtype=torch.float64).view(1, 1, 2)
    recorder = Recorder(bowl(target))
    posed = problem(recorder, (0,), 1, 2)
    optimizer = GradientShooting(candidates=3, updates=6, lr=0.4)
    optimizer.optimize(posed, cold(optimizer, posed))
    leaf = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([leaf], lr=0.4, maximize=True)
    for asked in recorder.asked[:-1]:  # the last evaluation compares the finalists
        torch.testing.assert_close(asked[0, 0], leaf.detach())
        adam.zero_grad()
        bowl(target)(leaf[None, None]).sum().backward()
        adam.step()
        with torch.no_grad():
            leaf.clamp_(-1.0, 1.0)
    assert float(leaf.detach()[0, 1]) == -1.0  # the target lies beyond the bound


def test_it_climbs_to_a_bowl_and_to_a_bound() -> None:
    for at, best in ((0.3, 0.3), (2.0, 1.0)):
        posed = problem(bowl(at), (0, 1))
        optimizer = GradientShooting(updates=60)
        plan = optimizer.optimize(posed, cold(optimizer, posed))
        torch.testing.assert_close(plan.actions, torch.full_like(plan.actions, best), rtol=0, atol=0.02)


def test_more_plans_find_the_higher_of_two_hills() -> None:
    """From zero the lower hill at −0.5 is uphill; one of the random starts lies on the higher one."""

    def hills(plans: Tensor) -> Tensor:
        low = torch.exp(-8 * (plans + 0.5).square().sum((2, 3)))
        return low + 2 * torch.exp(-40 * (plans - 0.7).square().sum((2, 3)))

    values = []
    for candidates in (1, 16):
        posed = problem(hills, (0, 1), 1, 1)
        optimizer = GradientShooting(candidates=candidates, updates=60, lr=0.05)
        values.append(optimizer.optimize(posed, cold(optimizer, posed)).value)
    torch.testing.assert_close(values[0], torch.full_like(values[0], 1.0), rtol=0, atol=0.01)
    torch.testing.assert_close(values[1], torch.full_like(values[1], 2.0), rtol=0, atol=0.01)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_gradients_flow_where_the_planner_has_none(context) -> None:
    posed = linear_quadratic(torch.tensor([[0.5, 0.2]], dtype=torch.float64))
    optimizer = GradientShooting(candidates=2)
    expected = optimizer.optimize(posed, cold(optimizer, posed))
    posed = linear_quadratic(torch.tensor([[0.5, 0.2]], dtype=torch.float64))
    with context():
        plan = optimizer.optimize(posed, cold(optimizer, posed))
    torch.testing.assert_close(plan.actions, expected.actions)
    assert not plan.actions.requires_grad and not plan.value.requires_grad


def test_a_gradient_that_is_not_finite_spoils_no_other() -> None:
    """The square root's is infinite at 0, where the only plan begins: that action stays, the others climb."""

    def returns(plans: Tensor) -> Tensor:
        return bowl(0.3)(plans) - 0.001 * plans[:, :, 0, 0].abs().sqrt()

    posed = problem(returns, (0, 1))
    optimizer = GradientShooting(candidates=1, updates=60)
    plan = optimizer.optimize(posed, cold(optimizer, posed))
    expected = torch.full_like(plan.actions, 0.3)
    expected[:, 0, 0] = 0.0
    torch.testing.assert_close(plan.actions, expected, rtol=0, atol=0.02)


def test_plans_beyond_what_the_model_knows_are_not_executed() -> None:
    def returns(plans: Tensor) -> Tensor:
        return torch.where(plans[:, :, 0, 1] > 0.25, torch.nan, bowl(0.3)(plans))

    posed = problem(returns, (0, 1))
    optimizer = GradientShooting(candidates=12, updates=60)
    plan = optimizer.optimize(posed, cold(optimizer, posed))
    assert bool((plan.actions[:, 0, 1] <= 0.25).all()) and bool((plan.value > -0.2).all())


def test_the_last_update_counts() -> None:
    posed = problem(bowl(0.3), (0,), 1, 1)
    optimizer = GradientShooting(candidates=1, updates=1, lr=0.1)
    plan = optimizer.optimize(posed, cold(optimizer, posed))
    assert float(plan.actions) == pytest.approx(0.1, abs=1e-6)
    assert float(plan.value) == pytest.approx(-0.04, abs=1e-6)


def test_a_model_without_gradients_is_refused() -> None:
    GradientShooting().check(LinearModel(), has_policy=False)
    with pytest.raises(UnsupportedError, match=r"GradientShooting can't use Blind: it climbs the gradient"):
        GradientShooting().check(Blind(), has_policy=False)
    RandomShooting().check(Blind(), has_policy=False)


def test_a_lucky_draw_is_not_taken_for_a_climb() -> None:
    """Returns −(a − 0.8)² with noise of sd 0.3 drawn at each evaluation: 30 looks at the start would mostly win."""
    source = torch.Generator().manual_seed(0)
    found = []
    for seed in range(20):

        def returns(plans: Tensor) -> Tensor:
            return -(plans - 0.8).square().sum((-2, -1)) + 0.3 * torch.randn(plans.shape[:2], generator=source)

        problem = PlanProblem(1, 1, [torch.Generator().manual_seed(seed)], returns, torch.zeros(()))
        optimizer = GradientShooting(candidates=1, updates=30)
        found.append(optimizer.optimize(problem, optimizer.warm_start(1, 1, 1, torch.zeros(()))).actions.item())
    assert sum(action > 0.5 for action in found) >= 16
