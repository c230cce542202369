"""Functions that the optimisers share: shifting plans, drawing them, ranking them, and refitting a Gaussian to the best.

A return that isn't finite becomes −inf in one place (`SamplingOptimizer.evaluated`), and a plan with −inf has no weight in
any refit. An environment without a finite return is left as it was by the same rule, and so is one that has converged.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from mbrl.arguments import Count, Natural, check_shape, check_whole
from mbrl.errors import ConfigError
from mbrl.models import DynamicsModel
from mbrl.planners.plans.base import PlanOptimizer, PlanProblem

Tail = Literal["zero", "repeat"]
Smooth = Literal["variance", "sd"]

_INSIDE_TWO_SD = math.erf(math.sqrt(2.0))  # the share of a normal distribution within ±2 sd
_LOWEST = float("-inf")


def shifted(plans: Tensor, tail: Tail) -> Tensor:
    """Plans for the next decision: each `… x H x A` one step on.

    Args:
        plans: `… x H x A`.
        tail: the action that nothing was planned for: `"zero"` (the mid-range) or `"repeat"` (the last one again).
    """
    last = plans[..., -1:, :]
    return torch.cat([plans[..., 1:, :], torch.zeros_like(last) if tail == "zero" else last], -2)


def truncated_normal(uniform: Tensor) -> Tensor:
    """Standard normal numbers truncated at ±2, from uniform ones in [0, 1): no draw is ever rejected.

    Their standard deviation is 0.8796.
    """
    return torch.erfinv((2.0 * uniform - 1.0) * _INSIDE_TWO_SD).mul_(math.sqrt(2.0))


def top(plans: Tensor, returns: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The best plans, best first.

    Args:
        plans: `N x K x H x A`.
        returns: `N x K`, −inf for plans that count for nothing.
        count: how many, at most `K`.

    Returns:
        Plans `N x count x H x A` and returns `N x count`; where fewer are finite, the rest are −inf.
    """
    values, index = returns.topk(count, dim=1)
    return torch.take_along_dim(plans, index[:, :, None, None], 1), values


def weighted_moments(plans: Tensor, weights: Tensor, ddof: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of plans.

    Args:
        plans: `N x K x H x A`.
        weights: `N x K`, not negative, the largest of an environment 1 or all 0; a plan of weight 0 may hold anything.
        ddof: 1 for the unbiased variance of equally weighted plans.

    Returns:
        Mean and variance `N x H x A`, and whether there was any weight, `N x 1 x 1` bool; without any both are 0.
    """
    share = weights[:, :, None, None]  # N x K x 1 x 1
    plans = torch.where(share > 0, plans, 0.0)  # 0 times NaN is NaN
    total = share.sum(1)  # N x 1 x 1
    mean = (share * plans).sum(1) / total.clamp(min=1.0)
    variance = (share * (plans - mean[:, None]).square()).sum(1) / (total - ddof).clamp(min=1.0)
    return mean, variance, total > 0


def finite_weights(values: Tensor) -> Tensor:
    """1 where a return is finite, else 0, `N x K`."""
    return values.isfinite().to(values.dtype)


def exponential_weights(values: Tensor, sharpness: float) -> Tensor:
    """exp(κ (J − max J)), `N x K`, 0 where J isn't finite.

    Args:
        values: J, `N x K`, finite or −inf.
        sharpness: κ; more gives the best plan more of the weight.
    """
    best = values.amax(1, keepdim=True)
    best = torch.where(best.isfinite(), best, 0.0)  # −inf minus −inf is NaN
    return torch.exp(sharpness * (values - best))


def refitted(
    mean: Tensor, sd: Tensor, elites: Tensor, values: Tensor, momentum: float, smooth: Smooth, ddof: int = 0
) -> tuple[Tensor, Tensor]:
    """The Gaussian after an iteration of CEM; as it was where no elite has a finite return.

    Args:
        mean: `N x H x A`.
        sd: `N x H x A`.
        elites: `N x K x H x A`.
        values: `N x K`, their returns, finite or −inf.
        momentum: share of the old in the new.
        smooth: whether it is the variance or the sd of which that share is kept.
        ddof: 1 for the unbiased variance of the elites.

    Returns:
        Mean and sd, `N x H x A`.
    """
    centre, variance, found = weighted_moments(elites, finite_weights(values), ddof)
    if smooth == "variance":
        spread = (momentum * sd.square() + (1.0 - momentum) * variance).sqrt()
    else:
        spread = momentum * sd + (1.0 - momentum) * variance.sqrt()
    return torch.where(found, momentum * mean + (1.0 - momentum) * centre, mean), torch.where(found, spread, sd)


class BestPlan:
    """The best plan seen in a decision, for each environment.

    Args:
        fallback: `N x H x A`, the plan where none has a finite return.

    Attributes:
        plan: `N x H x A`.
        value: `N`, its return; −inf where there is none.
    """

    def __init__(self, fallback: Tensor) -> None:
        self.plan = fallback
        self.value = torch.full((len(fallback),), _LOWEST, dtype=fallback.dtype, device=fallback.device)

    def see(self, plans: Tensor, returns: Tensor) -> None:
        """Looks at plans `N x K x H x A` with returns `N x K`, finite or −inf."""
        value, index = returns.max(1)
        plan = torch.take_along_dim(plans, index[:, None, None, None], 1)[:, 0]
        better = value > self.value
        self.plan = torch.where(better[:, None, None], plan, self.plan)
        self.value = torch.where(better, value, self.value)


class SamplingOptimizer(PlanOptimizer):
    """Base of optimisers that evaluate many plans at once.

    Args:
        candidates: `K`, plans evaluated at a time.
        policy_candidates: how many of them follow the policy in the model.

    Raises:
        ConfigError: for a number out of range.
    """

    def __init__(self, candidates: Count, policy_candidates: Natural = 0) -> None:
        check_whole(f"{type(self).__name__}(policy_candidates=…)", policy_candidates, 0, candidates - 1)
        self.candidates = candidates
        self.policy_candidates = policy_candidates

    def check(self, dynamics: DynamicsModel, has_policy: bool) -> None:
        if self.policy_candidates and not has_policy:
            raise self._without_policy()

    tail: Tail = "repeat"

    def advanced(self, warm: dict[str, Tensor], actions: Tensor) -> dict[str, Tensor]:
        """Shifts all that has steps, `N x … x H x A`, by the further ones; what was executed last is `previous`."""
        for _ in range(actions.shape[1] - 1):
            warm = {name: shifted(tensor, self.tail) if tensor.ndim > 2 else tensor for name, tensor in warm.items()}
        return {**warm, "previous": actions[:, -1]} if "previous" in warm else warm

    def policy_plans(self, problem: PlanProblem) -> Tensor | None:
        """The policy's plans `N x policy_candidates x H x A` in [−1, 1], drawn once a decision; None if none."""
        if not self.policy_candidates:
            return None
        if problem.policy_plans is None:
            raise self._without_policy()
        return problem.policy_plans(self.policy_candidates).clamp(-1.0, 1.0)

    def evaluated(self, problem: PlanProblem, plans: Tensor) -> Tensor:
        """The returns of plans `N x K x H x A`, `N x K`, −inf where they aren't finite."""
        returns = problem.returns(plans)
        check_shape(f"{type(self).__name__}(returns)", returns, plans.shape[:2], "give one return per plan")
        return torch.where(returns.isfinite(), returns, _LOWEST)

    def _without_policy(self) -> ConfigError:
        return ConfigError(
            f"{type(self).__name__}(policy_candidates={self.policy_candidates}): expected a planner with a policy, got one "
            "without; give the planner a policy, or set policy_candidates to 0."
        )


def start_of_zeros(n: int, horizon: int, action_size: int, like: Tensor) -> Tensor:
    """The mid-range plan, `n x H x A`, of `like`'s dtype and device."""
    return torch.zeros((n, horizon, action_size), dtype=like.dtype, device=like.device)
