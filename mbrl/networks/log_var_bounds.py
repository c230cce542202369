"""`LogVarBounds`: soft bounds that keep a network's log-variances in a sane range.

Chua2018: "Deep reinforcement learning in a handful of trials using probabilistic dynamics models" (PETS), appendix.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LogVarBounds(nn.Module):
    """Squeezes raw log-variances between two bounds, one pair per dimension, shared by all members [Chua2018].

    With the raw number ρ: ℓ₁ = ℓ_max − softplus(ℓ_max − ρ), ℓ = ℓ_min + softplus(ℓ₁ − ℓ_min). ℓ may pass ℓ_max by
    softplus(ℓ_min − ℓ_max), 2.8e-5 at the defaults.

    Args:
        size: number of dimensions.
        low: initial ℓ_min.
        high: initial ℓ_max.
        learned: whether the bounds are parameters, which the loss pulls together, or stay as they are.
    """

    low: Tensor
    high: Tensor

    def __init__(self, size: int, low: float = -10.0, high: float = 0.5, learned: bool = True) -> None:
        super().__init__()
        for name, value in (("low", low), ("high", high)):
            bound = torch.full((size,), float(value), dtype=torch.float32)
            if learned:
                self.register_parameter(name, nn.Parameter(bound))
            else:
                self.register_buffer(name, bound)

    def forward(self, raw: Tensor) -> Tensor:
        """Bounded log-variances of raw ones, `… x size` both."""
        below = self.high - F.softplus(self.high - raw)
        return self.low + F.softplus(below - self.low)

    def width(self) -> Tensor:
        """Σ (ℓ_max − ℓ_min) over the dimensions, what the loss charges for."""
        return self.high.sum() - self.low.sum()
