"""How steep a model of changes can be, and the budget that its data ask for.

With s' = s + μ_y + S_y h((x − μ_x) / S_x), x = [s, a], and a network h whose slope is at most K (L2 norm), s' changes by at
most 1 + K max(S_y) / min(S_x) for a unit change of s: the 1 is the observation to which the change is added.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl.errors import MbrlWarning
from mbrl.networks import ConstrainedLayers, LipschitzConstraint, neighbour_slope

ROOM = 1.5  # budget over the data's slope, where it is taken from these


@dataclass(frozen=True)
class LipschitzBound:
    """Upper bounds of slopes in the L2 norm, by exact singular values.

    Attributes:
        network: `E` float64, of the means in the network's own coordinates: K.
        observation: `E` float64, of the mean of the next observation by the observation, in the observation's units.
    """

    network: Tensor
    observation: Tensor


def lipschitz_bound(network: Tensor, inputs: Tensor, targets: Tensor, unit: Tensor | None = None) -> LipschitzBound:
    """The bounds of a model of changes, of those of its network.

    Args:
        network: K, `E`.
        inputs: `S`, the standard deviations by which observations are divided.
        targets: `S`, those by which changes are.
        unit: `S`, in what the observation's dims are measured; those of 0 are left out. None for environment units.
    """
    inputs, targets = inputs.double(), targets.double()
    if unit is not None:
        counts = unit > 0
        inputs, targets = inputs[counts] / unit[counts], targets[counts] / unit[counts]
    return LipschitzBound(network, 1 + network * targets.max() / inputs.min())


def take_budget(
    who: str,
    constraint: LipschitzConstraint,
    layers: ConstrainedLayers,
    inputs: Tensor,
    targets: Tensor,
    generator: torch.Generator,
) -> None:
    """Gives layers their budget at a fit's beginning; a given one that the data exceed is warned of.

    Args:
        who: names the constraint in messages.
        constraint: what was asked for.
        layers: those that it made.
        inputs: `N x in`, as the network sees them.
        targets: `N x D`, as the network is to answer.
        generator: draws rows.
    """
    if not constraint.has_budget:
        return
    slope = neighbour_slope(inputs, targets, generator)
    if constraint.budget is None:
        layers.set_budget(ROOM * slope if slope > 0 else 1.0)
    elif constraint.budget < slope:
        warnings.warn(
            f"{who}: expected a budget of at least the slope of the data, {slope:.3g}, got {constraint.budget:.3g}, with "
            "which the model can't fit them; raise it, or take 'auto'.",
            MbrlWarning,
            3,
        )
