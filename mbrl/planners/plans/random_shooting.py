"""Random shooting: the best of many random plans."""

from __future__ import annotations

from torch import Tensor

from mbrl.arguments import Count
from mbrl.planners.plans.base import Plan, PlanProblem
from mbrl.planners.plans.sampling import BestPlan, SamplingOptimizer, start_of_zeros


class RandomShooting(SamplingOptimizer):
    """Executes the best of `K` plans drawn uniformly from [−1, 1]; nothing is carried to the next decision.

    Where no plan has a finite return it executes zeros, the mean of what it draws from.

    Args:
        candidates: `K`. More finds better plans, slowly: the chance to come near the best falls with a power of `H x A`.

    Raises:
        ConfigError: for fewer candidates than one.
    """

    def __init__(self, candidates: Count = 1000) -> None:
        super().__init__(candidates)

    def warm_start(self, n: int, horizon: int, action_size: int, like: Tensor) -> dict[str, Tensor]:
        return {}

    def optimize(self, problem: PlanProblem, warm: dict[str, Tensor]) -> Plan:
        plans = 2.0 * problem.uniform(self.candidates, problem.horizon, problem.action_size) - 1.0
        best = BestPlan(start_of_zeros(problem.environments, problem.horizon, problem.action_size, problem.like))
        best.see(plans, self.evaluated(problem, plans))
        return Plan(best.plan, best.value)
