"""Actors, critics, and the learners that update them."""

from mbrl.policies.actor_critic import ActorCritic
from mbrl.policies.base import BoundCriticTerm, BuildablePolicy, CriticContext, CriticTerm, Learner, Policy
from mbrl.policies.behavior_cloning import BC
from mbrl.policies.conservative import Conservative
from mbrl.policies.critics import Critics
from mbrl.policies.diversity import Diversity
from mbrl.policies.recurrent_policy import RecurrentPolicy
from mbrl.policies.robust_value import RobustValue
from mbrl.policies.sac import SAC
from mbrl.policies.sequence_sac import Recalled, SequenceSAC
from mbrl.policies.sparse_policy import SparsePolicy
from mbrl.policies.tanh_gaussian_policy import TanhGaussianPolicy

__all__ = [
    "BC",
    "SAC",
    "ActorCritic",
    "BoundCriticTerm",
    "BuildablePolicy",
    "Conservative",
    "CriticContext",
    "CriticTerm",
    "Critics",
    "Diversity",
    "Learner",
    "Policy",
    "Recalled",
    "RecurrentPolicy",
    "RobustValue",
    "SequenceSAC",
    "SparsePolicy",
    "TanhGaussianPolicy",
]
