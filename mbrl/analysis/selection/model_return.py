"""`model_return`: what a policy earns in a learned model, a score that takes no real step and believes the model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mbrl.arguments import Discount, check_argument, check_whole
from mbrl.data import Transitions
from mbrl.errors import DataError
from mbrl.models import DynamicsModel

WHO = "model_return"


@torch.no_grad()
def model_return(
    model: DynamicsModel,
    policy: Callable[[Tensor], Tensor],
    starts: Transitions,
    *,
    generator: torch.Generator,
    length: int,
    discount: float = 1.0,
) -> Tensor:
    """Rolls `policy` out in `model` from each of `starts`, and adds up its rewards.

    Each step draws a member and its noise, as rollouts of Dyna do. Nothing is earned after a termination, nor after the
    model halts a rollout. A rollout that leads to numbers that aren't finite is NaN: the model has diverged there. A
    policy that has learned to please this model is flattered by it.

    Args:
        model: built and fitted.
        policy: gives actions (`B x A` in [−1, 1]) in observations (`B x S`), such as `planner.learner.policy.mode`.
        starts: `B` rows to begin at: `obs`, and what extras the model's `start` reads.
        generator: draws members and noise, on the model's device.
        length: steps per rollout, such as the task's time limit; model errors compound over it.
        discount: γ; 1 gives what `mbrl test` reports.

    Returns:
        The returns, `B` float64 on the CPU, in environment units.

    Raises:
        DataError: if there are no starts.
        ConfigError: for a number out of range.
    """
    check_argument(f"{WHO}(model=…)", model, DynamicsModel)
    check_whole(f"{WHO}(length=…)", length, 1)
    check_argument(f"{WHO}(discount=…)", discount, Discount)
    if not len(starts):
        raise DataError(f"{WHO}: expected rows to begin at, got none; give the first rows of recorded episodes.")
    state = model.start(starts.to(model.device), generator)
    total = torch.zeros(len(starts), dtype=torch.float64, device=model.device)
    alive = torch.ones_like(total, dtype=torch.bool)
    for t in range(length):
        step = model.step(state, policy(state.obs))
        earned = torch.where(step.finite, step.reward.double(), torch.nan)
        total = torch.where(alive, total + discount**t * earned, total)
        alive = alive & ~step.terminated & step.finite
        if step.halt is not None:
            alive = alive & ~step.halt
        state = step.state
    return total.cpu()
