"""Learned bounds of stacked weights in the L∞ norm.

Liu2022: "Learning smooth neural functions via Lipschitz regularization" (SIGGRAPH 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl.arguments import NonNegative
from mbrl.networks.constraints.base import ConstrainedLayers, LipschitzConstraint, Network


class LipMLP(LipschitzConstraint):
    """Limits each output's sum of absolute weights to softplus(c_l), and charges for the product of these [Liu2022].

    The c_l are learned, one per layer and member, from the weights' own largest sums; Π softplus(c_l) c bounds the Lipschitz
    constant in the L∞ norm. There is no budget to choose: data and `weight` settle it.

    Args:
        weight: α, what a unit of the product costs in the loss; more is smoother. The authors' demo has 1e-6.
    """

    has_budget: ClassVar[bool] = False

    def __init__(self, weight: NonNegative = 1e-6) -> None:
        super().__init__(budget=1.0)
        self.weight = weight

    def make(self, weights: Sequence[Tensor], slope: float, columns: int) -> ConstrainedLayers:
        return LipMLPLayers(weights, slope, columns, self.weight)


class LipMLPLayers(ConstrainedLayers):
    """Layers with learned limits.

    Args:
        weights: see `ConstrainedLayers`.
        slope: see there.
        columns: see there.
        weight: α.

    Attributes:
        raw_limits: the c_l, `E` each; weight decay has no business here.
    """

    def __init__(self, weights: Sequence[Tensor], slope: float, columns: int, weight: float) -> None:
        super().__init__(weights, slope, columns, budget=1.0)
        self.weight = weight
        sums = [part.detach().abs().sum(-2).amax(-1) for part in self.constrained(weights)]  # E each
        self.raw_limits = nn.ParameterList(nn.Parameter(value + torch.log(-torch.expm1(-value))) for value in sums)

    def layer(self, index: int, weight: Tensor, limit: Tensor) -> Tensor:
        sums = weight.abs().sum(-2, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)  # E x 1 x out
        return weight * (F.softplus(self.raw_limits[index]).view(-1, 1, 1) / sums).clamp_max(1.0)

    def product(self) -> Tensor:
        """Π softplus(c_l), `E`: with the activations' slopes the bound in the L∞ norm."""
        return torch.stack([F.softplus(raw) for raw in self.raw_limits]).prod(0)

    def penalty(self, network: Network, x: Tensor) -> Tensor | None:
        return self.weight * self.product().sum()
