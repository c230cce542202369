"""iCEM: CEM with coloured noise, a shrinking population and elites that are kept (Pinneri2020)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from mbrl.arguments import Count, Limits, Natural, NonNegative, Positive, Share, ShareBelowOne, check_whole
from mbrl.planners.plans.base import Plan, PlanProblem
from mbrl.planners.plans.coloured_noise import Edges, coloured_noise
from mbrl.planners.plans.sampling import (
    SamplingOptimizer,
    Smooth,
    Tail,
    refitted,
    shifted,
    start_of_zeros,
    top,
)

SizeRule = Literal["chained", "power"]


def population_sizes(
    candidates: int, decay: float, elites: int, iterations: int, rule: SizeRule = "chained", multiple: int = 1
) -> list[int]:
    """Plans drawn in each iteration of iCEM.

    Args:
        candidates: `N_0`.
        decay: how many times fewer are drawn in each next iteration.
        elites: twice as many are drawn at least.
        iterations: how many.
        rule: `"chained"` divides the last size and cuts it to a whole number (the authors); `"power"` divides the first
            by a power of `decay` and rounds up (mbrl-lib).
        multiple: each is then rounded up to a multiple of this.
    """
    sizes = [candidates]
    for iteration in range(1, iterations):
        shrunk = int(sizes[-1] / decay) if rule == "chained" else math.ceil(candidates * decay**-iteration)
        sizes.append(max(2 * elites, shrunk))
    return [math.ceil(size / multiple) * multiple for size in sizes]


class ICEM(SamplingOptimizer):
    """CEM for few candidates: plans that vary slowly, and the best of them are tried again.

    The best plans of the last decision, one step on, compete in the first iteration, and those of an iteration in the
    next, with the returns that they have. The last iteration tries the mean itself. Plans are clipped at the bounds, so
    an action's mean leaves a bound as easily as it reached it.

    Args:
        candidates: `N_0`, plans drawn in the first iteration. More finds better plans, at a proportional cost.
        elites: how many of the best the Gaussian is refitted to; at most half of the candidates.
        iterations: refits a decision. More converges further.
        decay: how many times fewer plans each next iteration draws; 1 keeps the number. More saves evaluations.
        exponent: β of the noise, 1/f^β along the plan. More makes actions vary slower: the authors take 0.25 for a
            cheetah and 2 to 3.5 for slow arms.
        initial_sd: standard deviation of each action at the start of a decision. More searches wider.
        momentum: share of the old mean and spread in the new. More converges slower and more surely.
        kept: share of the elites that are tried again. More holds on to what was found.
        execute: the `"best"` plan of the last iteration, or the `"mean"`, which is fitted to the model's errors less.
        smooth: whether `momentum` smooths the `"sd"` (the authors) or the `"variance"` (PETS, mbrl-lib), with which the
            spread shrinks slower.
        tail: the action at the end of the shifted mean: `"repeat"` or `"zero"`. A kept plan's is drawn afresh.
        sizes: how the population shrinks, `"chained"` or `"power"`: see `population_sizes`.
        size_multiple: sizes are rounded up to a multiple of this, so that members or cores share plans evenly.
        noise_edges: see `coloured_noise`.
        policy_candidates: how many plans of the first iteration follow the policy, if the planner has one.

    Raises:
        ConfigError: for a number out of range, or a choice that there isn't.
    """

    def __init__(
        self,
        candidates: Count = 40,
        elites: Count = 10,
        iterations: Count = 3,
        decay: Annotated[float, Limits(1)] = 1.25,
        exponent: NonNegative = 0.25,
        initial_sd: Positive = 0.5,
        momentum: ShareBelowOne = 0.1,
        kept: Share = 0.3,
        execute: Literal["best", "mean"] = "best",
        smooth: Smooth = "sd",
        tail: Tail = "repeat",
        sizes: SizeRule = "chained",
        size_multiple: Count = 1,
        noise_edges: Edges = "unscaled",
        policy_candidates: Natural = 0,
    ) -> None:
        super().__init__(candidates, policy_candidates)
        check_whole("ICEM(elites=…)", elites, 1, candidates // 2)
        self.elites = elites
        self.exponent = exponent
        self.initial_sd = initial_sd
        self.momentum = momentum
        self.kept = int(kept * elites + 1e-9)  # 0.29 of 100 is 29
        self.execute = execute
        self.smooth = smooth
        self.tail: Tail = tail
        self.noise_edges: Edges = noise_edges
        self.sizes = population_sizes(candidates, decay, elites, iterations, sizes, size_multiple)

    def warm_start(self, n: int, horizon: int, action_size: int, like: Tensor) -> dict[str, Tensor]:
        return {
            "plan": start_of_zeros(n, horizon, action_size, like),
            "elites": start_of_zeros(n * self.kept, horizon, action_size, like).view(n, self.kept, horizon, action_size),
            # shapes are fixed, so whether there is a plan to try again is said apart
            "elites_valid": torch.zeros((n, self.kept), dtype=torch.bool, device=like.device),
        }

    def optimize(self, problem: PlanProblem, warm: dict[str, Tensor]) -> Plan:
        mean = shifted(warm["plan"], self.tail)
        sd = torch.full_like(mean, self.initial_sd)
        policy = self.policy_plans(problem)
        elites, values = warm["elites"], mean.new_empty(0)
        for iteration, size in enumerate(self.sizes):
            first, last = iteration == 0, iteration == len(self.sizes) - 1
            plans = self._drawn(problem, mean, sd, size, spare=self.kept if first else 0)
            if first:  # a kept plan ends as a fresh one does
                again = torch.cat([elites[:, :, 1:], plans[:, size:, -1:]], 2)
                plans = plans[:, :size]
            if last:
                plans = torch.cat([mean[:, None], plans[:, 1:]], 1)
            if first and policy is not None:
                plans = torch.cat([plans[:, : size - self.policy_candidates], policy], 1)
            if first:
                plans = torch.cat([plans, again], 1)
                returns = self.evaluated(problem, plans)
                known = torch.cat([warm["elites_valid"].new_ones(len(mean), size), warm["elites_valid"]], 1)
                returns = torch.where(known, returns, float("-inf"))
            else:
                returns = torch.cat([self.evaluated(problem, plans), values[:, : self.kept]], 1)
                plans = torch.cat([plans, elites[:, : self.kept]], 1)
            elites, values = top(plans, returns, self.elites)
            mean, sd = refitted(mean, sd, elites, values, self.momentum, self.smooth)
        found = values[:, 0].isfinite()
        actions = mean if self.execute == "mean" else torch.where(found[:, None, None], elites[:, 0], mean)
        kept = {"elites": elites[:, : self.kept], "elites_valid": values[:, : self.kept].isfinite()}
        return Plan(actions, values[:, 0], {"plan": mean, **kept})

    def _drawn(self, problem: PlanProblem, mean: Tensor, sd: Tensor, size: int, spare: int) -> Tensor:
        white = problem.normal(size + spare, problem.action_size, problem.horizon)
        noise = coloured_noise(white, self.exponent, self.noise_edges).transpose(2, 3)  # N x K x H x A
        return torch.addcmul(mean[:, None], sd[:, None], noise).clamp_(-1.0, 1.0)
