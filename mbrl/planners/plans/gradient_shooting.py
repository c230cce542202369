"""Gradient shooting: plans climb the model's own gradient, several at once."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.arguments import Count, Natural, Positive
from mbrl.models import Differentiable, DynamicsModel, require
from mbrl.planners.plans.base import Plan, PlanProblem
from mbrl.planners.plans.sampling import BestPlan, SamplingOptimizer, Tail, shifted, start_of_zeros

_BETAS, _TINY = (0.9, 0.999), 1e-8  # Adam's usual ones (Kingma2015)


class GradientShooting(SamplingOptimizer):
    """Improves a few plans by Adam on the return, each update projected onto [−1, 1], and executes the best of them.

    The best is chosen at the end, among where each plan began, where it got to, and the best that it passed.

    One plan begins at the last decision's best, one step on; others at random or at the policy's plans. It climbs to the
    nearest maximum, and a gradient through many steps of a learned model can explode or vanish, so that it suits smooth
    models and short horizons. An action whose gradient isn't finite gets no push, and coasts.

    Args:
        candidates: `K`, plans that climb at once. More finds better maxima, at a proportional cost.
        updates: Adam's steps per decision, each one evaluation with its gradient. More climbs further.
        lr: how far an action moves in an update, about. More climbs faster, and jitters about the maximum by as much.
        tail: the action at the end of the shifted plan: `"repeat"` or `"zero"`.
        policy_candidates: how many of the candidates begin at the policy's plans, if the planner has one.

    Raises:
        ConfigError: for a number out of range, or a choice that there isn't.
        UnsupportedError: from `check`, for a model that isn't `Differentiable`.
    """

    def __init__(
        self,
        candidates: Count = 8,
        updates: Count = 20,
        lr: Positive = 0.1,
        tail: Tail = "repeat",
        policy_candidates: Natural = 0,
    ) -> None:
        super().__init__(candidates, policy_candidates)
        self.updates = updates
        self.lr = lr
        self.tail: Tail = tail

    def check(self, dynamics: DynamicsModel, has_policy: bool) -> None:
        super().check(dynamics, has_policy)
        require(
            dynamics, Differentiable, "GradientShooting", "it climbs the gradient of a model that says it has one",
            "take an optimiser that only compares plans, such as ICEM, or another model",
        )  # fmt: skip

    def warm_start(self, n: int, horizon: int, action_size: int, like: Tensor) -> dict[str, Tensor]:
        return {"plan": start_of_zeros(n, horizon, action_size, like)}

    def optimize(self, problem: PlanProblem, warm: dict[str, Tensor]) -> Plan:
        start = shifted(warm["plan"], self.tail)
        starts = plans = champions = self._starts(problem, start)
        records = torch.full(plans.shape[:2], float("-inf"), dtype=plans.dtype, device=plans.device)  # N x K
        first, second = torch.zeros_like(plans), torch.zeros_like(plans)  # Adam's moments
        for update in range(1, self.updates + 1):
            returns, gradient = self._climbable(problem, plans)
            better = returns > records
            champions = torch.where(better[:, :, None, None], plans, champions)
            records = torch.where(better, returns, records)
            first = torch.lerp(gradient, first, _BETAS[0])
            second = torch.lerp(gradient.square(), second, _BETAS[1])
            spread = (second / (1.0 - _BETAS[1] ** update)).sqrt() + _TINY
            plans = (plans + self.lr / (1.0 - _BETAS[0] ** update) * first / spread).clamp(-1.0, 1.0)
        best = BestPlan(start)
        # compared under one draw of the model's noise: the luckiest of all draws would mostly be a plan that never climbed
        finalists = torch.cat((plans, champions, starts), 1)
        best.see(finalists, self.evaluated(problem, finalists))
        return Plan(best.plan, best.value, {"plan": best.plan})

    def _starts(self, problem: PlanProblem, start: Tensor) -> Tensor:
        shape = (self.candidates - self.policy_candidates - 1, problem.horizon, problem.action_size)
        plans = [start[:, None], 2.0 * problem.uniform(*shape) - 1.0]
        policy = self.policy_plans(problem)
        return torch.cat(plans if policy is None else [*plans, policy], 1)

    def _climbable(self, problem: PlanProblem, plans: Tensor) -> tuple[Tensor, Tensor]:
        """Returns `N x K`, and their gradients `N x K x H x A`, 0 where they aren't finite."""
        # a planner acts under no_grad, and Lightning tests in inference mode, where nothing has a gradient
        with torch.inference_mode(False), torch.enable_grad():
            leaf = plans.detach().clone().requires_grad_(True)
            returns = self.evaluated(problem, leaf)
            (gradient,) = torch.autograd.grad(returns.sum(), leaf)
        return returns.detach(), gradient.nan_to_num(0.0, 0.0, 0.0)
