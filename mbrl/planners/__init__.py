"""What acts: Dyna, PETS, and their parts."""

from mbrl.planners.base import Planner
from mbrl.planners.dyna import Dyna
from mbrl.planners.evaluation import EpisodeReturns, evaluate
from mbrl.planners.hooks import BatchHook, RolloutHook
from mbrl.planners.memory import Memory
from mbrl.planners.online import OnlinePlanner
from mbrl.planners.pets import PETS
from mbrl.planners.plan_objective import PlanObjective
from mbrl.planners.plan_optimizers.base import Plan, PlanOptimizer, PlanProblem
from mbrl.planners.selectors import ActionSelector, PolicyMode, PolicySample, Situation

__all__ = [
    "PETS",
    "ActionSelector",
    "BatchHook",
    "Dyna",
    "EpisodeReturns",
    "Memory",
    "OnlinePlanner",
    "Plan",
    "PlanObjective",
    "PlanOptimizer",
    "PlanProblem",
    "Planner",
    "PolicyMode",
    "PolicySample",
    "RolloutHook",
    "Situation",
    "evaluate",
]
