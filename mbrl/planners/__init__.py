"""What acts: Dyna and its parts."""

from mbrl.planners.base import Planner
from mbrl.planners.dyna import Dyna
from mbrl.planners.evaluation import EpisodeReturns, evaluate
from mbrl.planners.hooks import BatchHook, RolloutHook
from mbrl.planners.memory import Memory
from mbrl.planners.selectors import ActionSelector, PolicyMode, PolicySample, Situation

__all__ = [
    "ActionSelector",
    "BatchHook",
    "Dyna",
    "EpisodeReturns",
    "Memory",
    "Planner",
    "PolicyMode",
    "PolicySample",
    "RolloutHook",
    "Situation",
    "evaluate",
]
