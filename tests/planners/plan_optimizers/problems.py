"""Planning problems whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mbrl.planners.plan_optimizers import PlanOptimizer, PlanProblem
from mbrl.testing import lqr_gain
from mbrl.testing.linear import ACTION_COST, ACTION_MATRIX, STATE_MATRIX

DOUBLE = torch.zeros((), dtype=torch.float64)


def problem(
    returns: Callable[[Tensor], Tensor],
    seeds: Sequence[int] = (0,),
    horizon: int = 5,
    action_size: int = 2,
    explore: bool = False,
    policy_plans: Callable[[int], Tensor] | None = None,
    like: Tensor = DOUBLE,
) -> PlanProblem:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return PlanProblem(horizon, action_size, generators, returns, like, explore, policy_plans)


def cold(optimizer: PlanOptimizer, posed: PlanProblem) -> dict[str, Tensor]:
    return optimizer.warm_start(posed.environments, posed.horizon, posed.action_size, posed.like)


def bowl(at: float | Tensor) -> Callable[[Tensor], Tensor]:
    """−Σ (a − at)²; `at` is a number, or `N x H x A`."""
    centre = at[:, None] if isinstance(at, Tensor) else at
    return lambda plans: -(plans - centre).square().sum((2, 3))


class Recorder:
    """Returns, and what was asked for."""

    def __init__(self, returns: Callable[[Tensor], Tensor]) -> None:
        self.returns = returns
        self.asked: list[Tensor] = []
        self.answered: list[Tensor] = []

    def __call__(self, plans: Tensor) -> Tensor:
        self.asked.append(plans.detach().clone())
        self.answered.append(self.returns(plans))
        return self.answered[-1]


def linear_quadratic(starts: Tensor) -> Callable[[Tensor], Tensor]:
    """The undiscounted return of plans from `starts` (`N x 2`) in the drag system, in closed form."""
    f = torch.tensor(STATE_MATRIX, dtype=starts.dtype)
    g = torch.tensor(ACTION_MATRIX, dtype=starts.dtype)

    def returns(plans: Tensor) -> Tensor:
        state = starts[:, None].expand(*plans.shape[:2], 2)
        total = plans.new_zeros(plans.shape[:2])
        for action in plans.unbind(2):
            state = state @ f.T + action @ g.T
            total = total - state.square().sum(-1) - ACTION_COST * action.square().sum(-1)
        return total

    return returns


def riccati(starts: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
    """The lowest cost `N` without bounds, and the actions `N x H x A` that have it."""
    f = torch.tensor(STATE_MATRIX, dtype=torch.float64)
    g = torch.tensor(ACTION_MATRIX, dtype=torch.float64)
    cost = ((starts @ lqr_gain(sweeps=horizon)[1]) * starts).sum(-1)
    state, actions = starts, []
    for left in range(horizon, 0, -1):
        action = -state @ lqr_gain(sweeps=left)[0].T
        state = state @ f.T + action @ g.T
        actions.append(action)
    return cost, torch.stack(actions, 1)
