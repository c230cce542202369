"""The cross-entropy method as PETS plans with it (Chua2018)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mbrl.arguments import Count, Natural, NonNegative, Positive, ShareBelowOne, check_whole
from mbrl.errors import ConfigError
from mbrl.planners.plans.base import Plan, PlanProblem
from mbrl.planners.plans.sampling import (
    BestPlan,
    SamplingOptimizer,
    Smooth,
    Tail,
    refitted,
    shifted,
    start_of_zeros,
    top,
    truncated_normal,
)


class CEM(SamplingOptimizer):
    """Draws plans from a Gaussian, refits it to the best of them, and repeats.

    Each decision begins at the last one's plan, one step on, with the full spread. At PETS' scale (30 steps of 6 actions,
    400 candidates, 40 elites, 5 iterations) it isn't expected to converge: on −Σ(a − 0.3)² the worst of the 180 numbers
    is still off by about 0.35 and the spread about 0.21, against 0.024 and 0.056 with 5 steps of 2 actions. That the first
    action is a good one, and the next decision goes on from here, is what PETS lives on.

    With the default `sampling` an action whose mean lies on a bound never moves again within a decision, since its samples
    are kept inside the bounds by shrinking their spread.

    Args:
        candidates: `K`, plans an iteration. More finds better plans, at a proportional cost.
        elites: how many of the best the Gaussian is refitted to. More converges slower and is misled by noise less.
        iterations: refits a decision at most. More converges further, at a proportional cost.
        momentum: share of the old mean and spread in the new. More converges slower and more surely.
        initial_sd: standard deviation of each action at the start of a decision; 0.5 is a quarter of the range. More
            searches wider and converges later.
        epsilon: an environment stops when its largest variance is at most this. More stops earlier; 0 never does, and on
            CUDA it saves nothing, since looking would stall the device.
        sampling: `"truncated"` at two standard deviations, which shrink towards a bound so that samples keep inside it, or
            `"clipped"`: plain normal numbers cut off at the bounds, which moves an action off a bound too.
        smooth: whether `momentum` smooths the `"variance"` or the `"sd"`. With `"sd"` the spread shrinks faster.
        ddof: 0 for the elites' population variance (PETS), 1 for the unbiased one (mbrl-lib), which is larger.
        tail: the action at the end of the shifted plan: `"zero"` or `"repeat"`.
        execute: `"mean"`, or the `"best"` plan seen, which is fitted to the model's errors more. The next decision begins
            at the one that is executed.
        policy_candidates: how many of the candidates follow the policy, if the planner has one. More trusts it more.

    Raises:
        ConfigError: for a number out of range, or a choice that there isn't.
    """

    def __init__(
        self,
        candidates: Count = 500,
        elites: Count = 50,
        iterations: Count = 5,
        momentum: ShareBelowOne = 0.1,
        initial_sd: Positive = 0.5,
        epsilon: NonNegative = 0.001,
        sampling: Literal["truncated", "clipped"] = "truncated",
        smooth: Smooth = "variance",
        ddof: Literal[0, 1] = 0,
        tail: Tail = "zero",
        execute: Literal["mean", "best"] = "mean",
        policy_candidates: Natural = 0,
    ) -> None:
        super().__init__(candidates, policy_candidates)
        check_whole("CEM(elites=…)", elites, 1 + ddof, candidates)
        if initial_sd**2 <= epsilon:
            raise ConfigError(f"CEM(epsilon=…): expected less than initial_sd² = {initial_sd**2:g}, got {epsilon:g}.")
        self.elites = elites
        self.iterations = iterations
        self.momentum = momentum
        self.initial_sd = initial_sd
        self.epsilon = epsilon
        self.sampling = sampling
        self.smooth = smooth
        self.ddof = ddof
        self.tail: Tail = tail
        self.execute = execute

    def warm_start(self, n: int, horizon: int, action_size: int, like: Tensor) -> dict[str, Tensor]:
        return {"plan": start_of_zeros(n, horizon, action_size, like)}

    def optimize(self, problem: PlanProblem, warm: dict[str, Tensor]) -> Plan:
        mean = shifted(warm["plan"], self.tail)
        sd = torch.full_like(mean, self.initial_sd)
        policy = self.policy_plans(problem)
        best = BestPlan(mean)
        for _ in range(self.iterations):
            active = None
            if self.epsilon > 0:
                active = sd.square().amax((1, 2)) > self.epsilon  # N
                if active.device.type == "cpu" and not bool(active.any()):
                    break
            plans = self._drawn(problem, mean, sd)
            if policy is not None:
                plans = torch.cat([plans, policy], 1)
            returns = self.evaluated(problem, plans)
            if active is not None:  # who has converged stays as it is, like who has no finite return
                returns = torch.where(active[:, None], returns, float("-inf"))
            best.see(plans, returns)
            elites, values = top(plans, returns, self.elites)
            mean, sd = refitted(mean, sd, elites, values, self.momentum, self.smooth, self.ddof)
        actions = mean if self.execute == "mean" else torch.where(best.value.isfinite()[:, None, None], best.plan, mean)
        return Plan(actions, best.value, {"plan": actions})

    def _drawn(self, problem: PlanProblem, mean: Tensor, sd: Tensor) -> Tensor:
        shape = (self.candidates - self.policy_candidates, problem.horizon, problem.action_size)
        if self.sampling == "truncated":
            sd = torch.minimum(sd, 0.5 - 0.5 * mean.abs())  # two of them reach the nearer bound
            noise = truncated_normal(problem.uniform(*shape))
        else:
            noise = problem.normal(*shape)
        return torch.addcmul(mean[:, None], sd[:, None], noise).clamp_(-1.0, 1.0)
