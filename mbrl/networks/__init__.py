"""Networks that models and critics share: stacked layers, normalisation, a fused optimiser.

Two kinds of stacked network, since two lines of work initialise theirs differently: `StackedMLP` for dynamics models (PETS),
`ReluStack` for actors and critics (MBPO).
"""

from mbrl.networks.activations import ACTIVATION_SLOPES, ACTIVATIONS, Activation, group_sort
from mbrl.networks.constraints.base import ConstrainedLayers, LipschitzConstraint
from mbrl.networks.constraints.jacobian_penalty import JacobianPenalty
from mbrl.networks.constraints.lip_mlp import LipMLP
from mbrl.networks.constraints.orthogonal import Orthogonal, orthonormal
from mbrl.networks.constraints.spectral import SpectralClip, SpectralNorm
from mbrl.networks.lean_adam import LeanAdam
from mbrl.networks.log_var_bounds import LogVarBounds
from mbrl.networks.member_layout import MemberLayout, layout
from mbrl.networks.moving_average import MovingAverage
from mbrl.networks.neighbour_slopes import neighbour_slope
from mbrl.networks.normalizer import ROUNDING, Normalizer
from mbrl.networks.precision import Precision
from mbrl.networks.relu_stack import Initial, Norm, ReluStack, uniform, xavier_uniform
from mbrl.networks.sparse import Library, PySINDyOptimizer, SparseMap
from mbrl.networks.stacked_layer_norm import StackedLayerNorm, layer_norm
from mbrl.networks.stacked_mlp import StackedMLP

__all__ = [
    "ACTIVATIONS",
    "ACTIVATION_SLOPES",
    "ROUNDING",
    "Activation",
    "ConstrainedLayers",
    "Initial",
    "JacobianPenalty",
    "LeanAdam",
    "Library",
    "LipMLP",
    "LipschitzConstraint",
    "LogVarBounds",
    "MemberLayout",
    "MovingAverage",
    "Norm",
    "Normalizer",
    "Orthogonal",
    "Precision",
    "PySINDyOptimizer",
    "ReluStack",
    "SparseMap",
    "SpectralClip",
    "SpectralNorm",
    "StackedLayerNorm",
    "StackedMLP",
    "group_sort",
    "layer_norm",
    "layout",
    "neighbour_slope",
    "orthonormal",
    "uniform",
    "xavier_uniform",
]
