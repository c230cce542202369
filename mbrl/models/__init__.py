"""Dynamics models: what they predict, and how they are fitted."""

from mbrl.models.base import Differentiable, DynamicsModel, Exact, HasMembers, WantsValueFunction, require
from mbrl.models.obs_state import ObsState

__all__ = ["Differentiable", "DynamicsModel", "Exact", "HasMembers", "ObsState", "WantsValueFunction", "require"]
