"""Optimisers that search plans: CEM, iCEM, MPPI, random and gradient shooting."""

from mbrl.planners.plans.base import Plan, PlanOptimizer, PlanProblem
from mbrl.planners.plans.cem import CEM
from mbrl.planners.plans.gradient_shooting import GradientShooting
from mbrl.planners.plans.icem import ICEM
from mbrl.planners.plans.mppi import MPPI
from mbrl.planners.plans.random_shooting import RandomShooting

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
