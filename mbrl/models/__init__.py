"""Dynamics models: what they predict, and how they are fitted."""

from mbrl.models.base import DynamicsModel
from mbrl.models.blend import Blend
from mbrl.models.capabilities import Differentiable, Exact, HasLipschitzBound, HasMembers, WantsValueFunction, require
from mbrl.models.closed_form import CartPole, LinearQuadratic, Pendulum
from mbrl.models.domains import Box, Domain, UnitCircle
from mbrl.models.fitting.gradient_model import GradientModel
from mbrl.models.gaussian_ensemble import GaussianEnsemble
from mbrl.models.gaussian_process import GaussianProcess, PosteriorMoments
from mbrl.models.lipschitz import LipschitzBound
from mbrl.models.losses import IterVAML, ModelLoss, SquaredError, VaGraM
from mbrl.models.model_env import ModelEnv, ModelVectorEnv
from mbrl.models.next_obs_network import NextObsNetwork
from mbrl.models.obs_state import ObsState
from mbrl.models.simulator import SimState, SimulatorModel
from mbrl.models.sindy import SINDy

__all__ = [
    "Blend",
    "Box",
    "CartPole",
    "Differentiable",
    "Domain",
    "DynamicsModel",
    "Exact",
    "GaussianEnsemble",
    "GaussianProcess",
    "GradientModel",
    "HasLipschitzBound",
    "HasMembers",
    "IterVAML",
    "LinearQuadratic",
    "LipschitzBound",
    "ModelEnv",
    "ModelLoss",
    "ModelVectorEnv",
    "NextObsNetwork",
    "ObsState",
    "Pendulum",
    "PosteriorMoments",
    "SINDy",
    "SimState",
    "SimulatorModel",
    "SquaredError",
    "UnitCircle",
    "VaGraM",
    "WantsValueFunction",
    "require",
]
