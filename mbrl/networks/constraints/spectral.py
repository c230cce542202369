"""Spectral norms of stacked weights: divided by, or clipped.

Miyato2018: "Spectral normalization for generative adversarial networks".
Gouk2021: "Regularisation of neural networks by enforcing Lipschitz continuity".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mbrl.networks.constraints.base import ConstrainedLayers, LipschitzConstraint


class SpectralClip(LipschitzConstraint):
    """Scales a weight down where its largest singular value exceeds the layer's budget: W · min(1, K_l / σ) [Gouk2021].

    Small weights stay as they are, which regression prefers. σ is followed by one step of power iteration per update, and
    exact after each fit and after loading; in between a weight may pass its budget a little.

    Args:
        budget: see `LipschitzConstraint`.
    """

    def make(self, weights: Sequence[Tensor], slope: float, columns: int) -> ConstrainedLayers:
        return SpectralLayers(weights, slope, columns, self.budget, largest=1.0)


class SpectralNorm(LipschitzConstraint):
    """Gives each weight the spectral norm of the layer's budget: W · K_l / σ [Miyato2018], where it is smaller too.

    Weight decay then changes nothing but the effective step size. σ is followed as in `SpectralClip`.

    Args:
        budget: see `LipschitzConstraint`.
    """

    def make(self, weights: Sequence[Tensor], slope: float, columns: int) -> ConstrainedLayers:
        return SpectralLayers(weights, slope, columns, self.budget, largest=torch.inf)


class _Scaled(torch.autograd.Function):
    """W · min(largest, K / σ) with σ = uᵀWv, where u and v are constants, and W where K is infinite: no budget yet.

    With f the factor and G the gradient that arrives, that of W is f G − (f / σ) ⟨G, W⟩ u vᵀ, without the second part where
    f is `largest`. Written by hand it passes over the weights half as often as what autograd makes of the line above, and
    vectors are multiplied as rows: batched products with one column take eight times as long as those with one row
    (7 x 200 x 200, an AMD EPYC, one thread, torch 2.13).
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, left: Tensor, right: Tensor, limit: Tensor, largest: float) -> Tensor:
        least = torch.finfo(weight.dtype).tiny
        norm = ((left.mT @ weight) * right.mT).sum(-1, keepdim=True).clamp_min(least)  # E x 1 x 1
        wanted = torch.where(torch.isinf(limit), norm, limit) / norm
        factor = wanted.clamp_max(largest)
        moves = (wanted <= largest) & torch.isfinite(limit) & (norm > least)
        slope = torch.where(moves, factor / norm, torch.zeros_like(factor))
        ctx.save_for_backward(weight, left, right, factor, slope)
        return weight * factor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, left, right, factor, slope = ctx.saved_tensors
        along = (gradient * weight).sum((1, 2), keepdim=True)  # E x 1 x 1: ⟨G, W⟩
        found = torch.addcmul(gradient * factor, left * (along * slope), right.mT, value=-1.0)
        return found, None, None, None, None


class SpectralLayers(ConstrainedLayers):
    """Layers that are scaled by their spectral norms, each member by its own.

    Args:
        weights: see `ConstrainedLayers`.
        slope: see there.
        columns: see there.
        budget: see there.
        largest: what a weight is multiplied by at most.
    """

    def __init__(
        self, weights: Sequence[Tensor], slope: float, columns: int, budget: float | None, *, largest: float
    ) -> None:
        super().__init__(weights, slope, columns, budget)
        self.largest = largest
        for i, weight in enumerate(self.constrained(weights)):
            members, inputs, outputs = weight.shape
            self.register_buffer(f"left{i}", weight.new_empty(members, inputs, 1))  # E x in x 1
            self.register_buffer(f"right{i}", weight.new_empty(members, outputs, 1))  # E x out x 1
        self.refresh(weights)

    def layer(self, index: int, weight: Tensor, limit: Tensor) -> Tensor:
        left, right = self.get_buffer(f"left{index}"), self.get_buffer(f"right{index}")
        scaled: Tensor = _Scaled.apply(weight, left, right, limit, self.largest)
        return scaled

    @torch.no_grad()
    def advance(self, weights: Sequence[Tensor]) -> None:
        for i, weight in enumerate(self.constrained(weights)):
            left, right = self.get_buffer(f"left{i}"), self.get_buffer(f"right{i}")
            left.copy_(F.normalize(right.mT @ weight.mT, dim=-1).mT)
            right.copy_(F.normalize(left.mT @ weight, dim=-1).mT)

    @torch.no_grad()
    def refresh(self, weights: Sequence[Tensor]) -> None:
        for i, weight in enumerate(self.constrained(weights)):
            left, _, right = torch.linalg.svd(weight, full_matrices=False)
            self.get_buffer(f"left{i}").copy_(left[..., :1])
            self.get_buffer(f"right{i}").copy_(right[:, :1].mT)
