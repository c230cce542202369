"""What acts: Dyna, PETS, and their parts."""

from mbrl.planners.base import Planner
from mbrl.planners.dyna import Dyna
from mbrl.planners.evaluation import EpisodeReturns, evaluate
from mbrl.planners.hooks import BatchHook, RolloutContext, RolloutHook
from mbrl.planners.memory import Memory
from mbrl.planners.online import OnlinePlanner
from mbrl.planners.penalties import UncertaintyBonus, UncertaintyPenalty, check_measure
from mbrl.planners.pets import PETS
from mbrl.planners.plan_objective import PlanObjective
from mbrl.planners.plan_optimizers import (
    CEM,
    ICEM,
    MPPI,
    GradientShooting,
    Plan,
    PlanOptimizer,
    PlanProblem,
    RandomShooting,
)
from mbrl.planners.selectors import ActionSelector, PolicyMode, PolicySample, Situation
from mbrl.planners.up_mpc import UPMPC, best_candidate

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "PETS",
    "UPMPC",
    "ActionSelector",
    "BatchHook",
    "Dyna",
    "EpisodeReturns",
    "GradientShooting",
    "Memory",
    "OnlinePlanner",
    "Plan",
    "PlanObjective",
    "PlanOptimizer",
    "PlanProblem",
    "Planner",
    "PolicyMode",
    "PolicySample",
    "RandomShooting",
    "RolloutContext",
    "RolloutHook",
    "Situation",
    "UncertaintyBonus",
    "UncertaintyPenalty",
    "best_candidate",
    "check_measure",
    "evaluate",
]
