"""Model-predictive path integral control, as PDDM plans with it (Nagabandi2019), and as TD-MPC2 does (Hansen2024)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from mbrl.arguments import Count, Items, Limits, Natural, Positive, check_whole
from mbrl.errors import ConfigError
from mbrl.planners.plans.base import Plan, PlanProblem
from mbrl.planners.plans.sampling import (
    BestPlan,
    SamplingOptimizer,
    Tail,
    exponential_weights,
    shifted,
    start_of_zeros,
    top,
    truncated_normal,
    weighted_moments,
)


class MPPI(SamplingOptimizer):
    """Draws plans about a mean and moves it to their average, weighted by exp(κ J).

    With the defaults this is PDDM's form: noise of a fixed spread, smoothed along the plan, and all plans have a weight.
    TD-MPC2 plans with `filter_gain=1, tail="zero", elites=64, sharpness=0.5, noise="normal", sd=2, sd_bounds=(0.05, 2),
    iterations=6, execute="elite", policy_candidates=24` and 512 candidates.

    Args:
        candidates: `K`, plans an iteration. More averages over more, at a proportional cost.
        iterations: how often the mean is moved in a decision. More converges further, at a proportional cost.
        sd: standard deviation of the noise before it is smoothed. More searches wider and finds the best less exactly.
        filter_gain: β in a_t = β (m_t + ε_t) + (1 − β) a_{t−1}, where a_{−1} is the action last executed. Less makes
            plans smoother and lags behind the mean; 1 doesn't smooth.
        sharpness: κ, in units of 1/return. More gives the best plan more of the weight; less averages more.
        noise: `"truncated"` at two standard deviations, or `"normal"`.
        elites: how many of the best plans have a weight; None for all. Fewer converges faster.
        sd_bounds: smallest and largest sd, to which that of the weighted plans is clamped after each iteration; None
            keeps `sd` throughout.
        tail: the action at the end of the shifted plan: `"repeat"` or `"zero"`.
        execute: the `"mean"`, or one `"elite"`, drawn by weight, to whose first action noise of the current sd is added
            while exploring.
        policy_candidates: how many of the candidates follow the policy, if the planner has one; they get no noise.

    Raises:
        ConfigError: for a number out of range, or a choice that there isn't.
    """

    def __init__(
        self,
        candidates: Count = 350,
        iterations: Count = 5,
        sd: Positive = 0.5,
        filter_gain: Annotated[float, Limits(above=0, most=1)] = 0.9,
        sharpness: Positive = 1.0,
        noise: Literal["truncated", "normal"] = "truncated",
        elites: Count | None = None,
        sd_bounds: Annotated[Sequence[Positive], Items(2, 2)] | None = None,
        tail: Tail = "repeat",
        execute: Literal["mean", "elite"] = "mean",
        policy_candidates: Natural = 0,
    ) -> None:
        super().__init__(candidates, policy_candidates)
        if elites is not None:
            check_whole("MPPI(elites=…)", elites, 1, candidates)
        if sd_bounds is not None and sd_bounds[0] > sd_bounds[1]:
            raise ConfigError(f"MPPI(sd_bounds=…): expected the smallest before the largest, got {sd_bounds!r}; swap them.")
        self.iterations = iterations
        self.sd = sd
        self.filter_gain = filter_gain
        self.sharpness = sharpness
        self.noise = noise
        self.elites = elites
        self.sd_bounds = None if sd_bounds is None else (sd_bounds[0], sd_bounds[1])
        self.tail: Tail = tail
        self.execute = execute

    def warm_start(self, n: int, horizon: int, action_size: int, like: Tensor) -> dict[str, Tensor]:
        plan = start_of_zeros(n, horizon, action_size, like)
        return {"plan": plan, "previous": plan[:, 0].clone()}

    def optimize(self, problem: PlanProblem, warm: dict[str, Tensor]) -> Plan:
        mean = shifted(warm["plan"], self.tail)
        sd = torch.full_like(mean, self.sd)
        policy = self.policy_plans(problem)
        best = BestPlan(mean)
        for _ in range(self.iterations):
            plans = self._drawn(problem, mean, sd, warm["previous"])
            if policy is not None:
                plans = torch.cat([plans, policy], 1)
            values = self.evaluated(problem, plans)
            best.see(plans, values)
            if self.elites is not None:
                plans, values = top(plans, values, self.elites)
            weights = exponential_weights(values, self.sharpness)
            centre, variance, found = weighted_moments(plans, weights)
            mean = torch.where(found, centre, mean)
            if self.sd_bounds is not None:
                sd = torch.where(found, variance.sqrt().clamp(*self.sd_bounds), sd)
        actions = mean if self.execute == "mean" else torch.where(found, self._one_of(problem, plans, weights, sd), mean)
        return Plan(actions, best.value, {"plan": mean, "previous": actions[:, 0]})

    def _drawn(self, problem: PlanProblem, mean: Tensor, sd: Tensor, previous: Tensor) -> Tensor:
        shape = (self.candidates - self.policy_candidates, problem.horizon, problem.action_size)
        if self.noise == "truncated":
            noise = truncated_normal(problem.uniform(*shape))
        else:
            noise = problem.normal(*shape)
        plans = torch.addcmul(mean[:, None], sd[:, None], noise)
        if self.filter_gain < 1.0:
            mixing, decay = _filter(problem.horizon, self.filter_gain, plans.dtype, plans.device)
            mixed = (plans.transpose(2, 3) @ mixing).transpose(2, 3)  # one product, whatever N, K and A
            plans = torch.addcmul(mixed, decay[:, None], previous[:, None, None])
        return plans.clamp_(-1.0, 1.0)

    def _one_of(self, problem: PlanProblem, plans: Tensor, weights: Tensor, sd: Tensor) -> Tensor:
        """One plan an environment, `N x H x A`, drawn by weight by adding Gumbel noise to its logarithm."""
        gumbel = -(-problem.uniform(weights.shape[1]).log()).log()  # −inf at 0, which is never the largest
        index = (weights.log() + gumbel).argmax(1)
        plan = torch.take_along_dim(plans, index[:, None, None, None], 1)[:, 0]
        if problem.explore:
            first = torch.addcmul(plan[:, 0], sd[:, 0], problem.normal(problem.action_size)).clamp(-1.0, 1.0)
            plan = torch.cat([first[:, None], plan[:, 1:]], 1)
        return plan


@functools.lru_cache(maxsize=64)
def _filter(steps: int, gain: float, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The recursion as a product: what each noisy action adds to those after it, `H x H`, and the last executed one, `H`."""
    with torch.inference_mode(False):  # it outlives the decision that asked first
        time = torch.arange(steps, dtype=torch.float64)
        age = time - time[:, None]  # H x H, from row to column
        mixing = torch.where(age >= 0, gain * (1.0 - gain) ** age.clamp(min=0.0), 0.0)
        decay = (1.0 - gain) ** (time + 1.0)
        return mixing.to(dtype=dtype, device=device), decay.to(dtype=dtype, device=device)
