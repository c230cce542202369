"""Real environments: tasks, known functions, experience, and the DataModule that planners train with."""

from mbrl.envs.check import check_environment, check_functions, check_task
from mbrl.envs.collect import collect
from mbrl.envs.defaults import known_functions
from mbrl.envs.experience import Experience
from mbrl.envs.handed_over import HandedOverExperience
from mbrl.envs.offline_data import OfflineData
from mbrl.envs.online_data import OnlineData
from mbrl.envs.planner_data import EvaluationRequest, PlannerData, TickLoader
from mbrl.envs.simulator_state import SimulatorState, simulator_state_size, snapshot_of
from mbrl.envs.task import make_env, make_task
from mbrl.envs.vector_experience import VectorExperience

__all__ = [
    "EvaluationRequest",
    "Experience",
    "HandedOverExperience",
    "OfflineData",
    "OnlineData",
    "PlannerData",
    "SimulatorState",
    "TickLoader",
    "VectorExperience",
    "check_environment",
    "check_functions",
    "check_task",
    "collect",
    "known_functions",
    "make_env",
    "make_task",
    "simulator_state_size",
    "snapshot_of",
]
