"""What searches plans: CEM, iCEM, MPPI, random and gradient shooting."""

from mbrl.planners.plan_optimizers.base import Plan, PlanOptimizer, PlanProblem
from mbrl.planners.plan_optimizers.cem import CEM
from mbrl.planners.plan_optimizers.gradient_shooting import GradientShooting
from mbrl.planners.plan_optimizers.icem import ICEM
from mbrl.planners.plan_optimizers.mppi import MPPI
from mbrl.planners.plan_optimizers.random_shooting import RandomShooting

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "GradientShooting",
    "Plan",
    "PlanOptimizer",
    "PlanProblem",
    "RandomShooting",
]
