"""Planning problems whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mbrl.data import InterleavedGenerator, Transitions, make_generator
from mbrl.models.closed_form import LinearQuadratic
from mbrl.planners import PlanObjective
from mbrl.planners.plans import PlanOptimizer, PlanProblem
from mbrl.testing import linear_task, riccati_gains
from mbrl.testing.linear import ACTION_MATRIX, STATE_MATRIX

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


HORIZON = 10


def linear_quadratic(starts: Tensor, seeds: Sequence[int] | None = None) -> PlanProblem:
    """Ten steps of the drag system from `starts` (`N x 2`), in closed form."""
    model = LinearQuadratic(STATE_MATRIX, ACTION_MATRIX)
    model.build(linear_task(ends=False))
    noise = InterleavedGenerator([make_generator("cpu", row) for row in range(len(starts))])
    state = model.start(Transitions.from_obs(starts, 1), noise)
    objective = PlanObjective(model)
    posed = range(len(starts)) if seeds is None else seeds
    return problem(lambda plans: objective.returns(state, plans), posed, HORIZON, 1, like=starts)


def riccati(starts: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest cost `N` of those ten steps without bounds, and the actions `N x H x A` that have it."""
    gains, costs = riccati_gains(horizon=HORIZON)
    f = torch.tensor(STATE_MATRIX, dtype=torch.float64)
    g = torch.tensor(ACTION_MATRIX, dtype=torch.float64)
    state, actions = starts, []
    for gain in gains:
        actions.append(-state @ gain.T)
        state = state @ f.T + actions[-1] @ g.T
    return ((starts @ costs[0]) * starts).sum(-1), torch.stack(actions, 1)
