"""Orthogonal stacked weights, for networks that sort instead of cutting off.

Anil2019: "Sorting out Lipschitz function approximation" (ICML 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mbrl.networks.activations import Activation
from mbrl.networks.constraints.base import ConstrainedLayers, LipschitzConstraint


class Orthogonal(LipschitzConstraint):
    """Orthonormal columns (or rows, of a wide weight) times the layer's budget, with GroupSort between layers [Anil2019].

    The bound is exact at any time, and the network can use all of it: each layer keeps the norm of gradients. An update
    factorises every weight, which costs in·out² per layer.

    Args:
        budget: see `LipschitzConstraint`.
    """

    activation: ClassVar[Activation | None] = "groupsort"

    def make(self, weights: Sequence[Tensor], slope: float, columns: int) -> ConstrainedLayers:
        return OrthogonalLayers(weights, slope, columns, self.budget)


class OrthogonalLayers(ConstrainedLayers):
    """Layers with orthonormal weights; arguments as of `ConstrainedLayers`."""

    def layer(self, index: int, weight: Tensor, limit: Tensor) -> Tensor:
        return orthonormal(weight) * torch.where(torch.isinf(limit), torch.ones_like(limit), limit)


def orthonormal(weight: Tensor) -> Tensor:
    """The orthonormal factor of `E x in x out` weights: columns where in ≥ out, rows otherwise; differentiable.

    Signs are those of a QR factorisation whose R has a positive diagonal, which makes it unique and continuous.
    """
    wide = weight.shape[-2] < weight.shape[-1]
    factor, upper = torch.linalg.qr(weight.mT if wide else weight)
    sign = torch.where(upper.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(weight.dtype).unsqueeze(-2)  # E x 1 x columns
    factor = factor * sign
    return factor.mT if wide else factor
