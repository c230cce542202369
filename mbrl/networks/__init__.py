"""Networks that models and critics share: stacked layers, normalisation, a fused optimiser.

Two kinds of stacked network, since two lines of work initialise theirs differently: `StackedMLP` for dynamics models (PETS),
`ReluStack` for actors and critics (MBPO).
"""

from mbrl.networks.lean_adam import LeanAdam
from mbrl.networks.log_var_bounds import LogVarBounds
from mbrl.networks.member_layout import MemberLayout, layout
from mbrl.networks.normalizer import ROUNDING, Normalizer
from mbrl.networks.precision import Precision
from mbrl.networks.relu_stack import ReluStack, xavier_uniform
from mbrl.networks.stacked_mlp import ACTIVATIONS, Activation, StackedMLP

__all__ = [
    "ACTIVATIONS",
    "ROUNDING",
    "Activation",
    "LeanAdam",
    "LogVarBounds",
    "MemberLayout",
    "Normalizer",
    "Precision",
    "ReluStack",
    "StackedMLP",
    "layout",
    "xavier_uniform",
]
