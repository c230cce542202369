"""Dynamics models: what they predict, and how they are fitted."""

from mbrl.models.base import Differentiable, DynamicsModel, Exact, HasMembers, WantsValueFunction, require
from mbrl.models.gaussian_ensemble import GaussianEnsemble
from mbrl.models.gradient_model import GradientModel
from mbrl.models.obs_state import ObsState

__all__ = [
    "Differentiable",
    "DynamicsModel",
    "Exact",
    "GaussianEnsemble",
    "GradientModel",
    "HasMembers",
    "ObsState",
    "WantsValueFunction",
    "require",
]
