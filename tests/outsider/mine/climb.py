"""An optimiser of plans."""

import torch
from torch import Tensor

from mbrl.planners import Plan, PlanOptimizer, PlanProblem


class Climb(PlanOptimizer):
    """Moves from the last decision's plan to the best of its neighbours, again and again.

    Args:
        neighbours: plans tried per round, `K`, the present one among them.
        rounds: number of rounds.
        scale: standard deviation of the noise that makes a neighbour, for actions in [−1, 1].
    """

    def __init__(self, neighbours: int = 32, rounds: int = 5, scale: float = 0.3) -> None:
        self.neighbours, self.rounds, self.scale = neighbours, rounds, scale

    def warm_start(self, n: int, horizon: int, action_size: int, like: Tensor) -> dict[str, Tensor]:
        return {"plan": like.new_zeros(n, horizon, action_size)}

    def optimize(self, problem: PlanProblem, warm: dict[str, Tensor]) -> Plan:
        plan, n = warm["plan"], torch.arange(problem.environments)  # N x H x A
        for _ in range(self.rounds):
            noise = self.scale * problem.normal(self.neighbours, *plan.shape[1:])  # N x K x H x A
            noise[:, 0] = 0.0
            plans = (plan.unsqueeze(1) + noise).clamp(-1.0, 1.0)
            value, best = problem.returns(plans).max(1)  # N each
            plan = plans[n, best]
        later = torch.cat([plan[:, 1:], plan[:, -1:]], 1)  # one step has gone by at the next decision
        return Plan(plan, value, {"plan": later})
