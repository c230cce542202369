"""Planners, which act: Dyna, PETS, SRL, and their parts."""

from mbrl.planners.base import Planner
from mbrl.planners.capabilities import HasDynamics, LearnsPolicy, MakesPlans, dynamics_of
from mbrl.planners.distillation import Distilled, distill
from mbrl.planners.dyna import Dyna
from mbrl.planners.evaluation import EpisodeReturns, evaluate, evaluating
from mbrl.planners.fixed_policy import FixedPolicy
from mbrl.planners.memory import Memory
from mbrl.planners.offline_dyna import OfflineDyna
from mbrl.planners.offline_planner import OfflinePlanner
from mbrl.planners.online_planner import OnlinePlanner
from mbrl.planners.open_loop import OpenLoop
from mbrl.planners.pets import PETS
from mbrl.planners.plans import (
    CEM,
    ICEM,
    MPPI,
    GradientShooting,
    Plan,
    PlanOptimizer,
    PlanProblem,
    RandomShooting,
)
from mbrl.planners.plans.objective import PlanObjective
from mbrl.planners.policy_planner import PolicyPlanner
from mbrl.planners.rollouts.check_measure import check_measure
from mbrl.planners.rollouts.clamp_to_data import ClampToData
from mbrl.planners.rollouts.data_range import DataRange
from mbrl.planners.rollouts.edge_values import EdgeValues
from mbrl.planners.rollouts.halt_unfamiliar import HaltUnfamiliar
from mbrl.planners.rollouts.hooks import BatchContext, BatchHook, RolloutContext, RolloutHook
from mbrl.planners.rollouts.imagined_learning import ImaginedLearning
from mbrl.planners.rollouts.oracle_patch import OraclePatch
from mbrl.planners.rollouts.penalties import BatchPenalty, UncertaintyBonus, UncertaintyPenalty
from mbrl.planners.rollouts.penalty_weight import PenaltyWeight
from mbrl.planners.rollouts.selectors import ActionSelector, PolicyMode, PolicySample, Situation
from mbrl.planners.rollouts.trusted_length import TrustedLength
from mbrl.planners.rollouts.up_mpc import UPMPC, best_candidate
from mbrl.planners.sequences.model_rolled import ModelRolled
from mbrl.planners.sequences.temporal_recall import TemporalRecall
from mbrl.planners.srl import SRL

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "PETS",
    "SRL",
    "UPMPC",
    "ActionSelector",
    "BatchContext",
    "BatchHook",
    "BatchPenalty",
    "ClampToData",
    "DataRange",
    "Distilled",
    "Dyna",
    "EdgeValues",
    "EpisodeReturns",
    "FixedPolicy",
    "GradientShooting",
    "HaltUnfamiliar",
    "HasDynamics",
    "ImaginedLearning",
    "LearnsPolicy",
    "MakesPlans",
    "Memory",
    "ModelRolled",
    "OfflineDyna",
    "OfflinePlanner",
    "OnlinePlanner",
    "OpenLoop",
    "OraclePatch",
    "PenaltyWeight",
    "Plan",
    "PlanObjective",
    "PlanOptimizer",
    "PlanProblem",
    "Planner",
    "PolicyMode",
    "PolicyPlanner",
    "PolicySample",
    "RandomShooting",
    "RolloutContext",
    "RolloutHook",
    "Situation",
    "TemporalRecall",
    "TrustedLength",
    "UncertaintyBonus",
    "UncertaintyPenalty",
    "best_candidate",
    "check_measure",
    "distill",
    "dynamics_of",
    "evaluate",
    "evaluating",
]
