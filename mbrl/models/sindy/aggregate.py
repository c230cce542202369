"""One model of many members: the median or the mean of each coefficient.

Fasel2022: "Ensemble-SINDy: robust sparse model discovery in the low-data, high-noise limit" (Proc. R. Soc. A 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor


def median(coefficients: Tensor, present: Tensor) -> Tensor:
    """The median over all members, `p x D`, of `E x p x D`; exact while fewer than half of them miss a needed term."""
    middle = coefficients.sort(0).values
    half = len(coefficients) // 2
    return middle[half] if len(coefficients) % 2 else (middle[half - 1] + middle[half]) / 2


def masked_mean(coefficients: Tensor, present: Tensor) -> Tensor:
    """The mean over the members that weren't denied the term (`E x p` bool), `p x D`; over all it would lean to 0."""
    weights = present.to(coefficients.dtype).unsqueeze(-1)  # E x p x 1
    return (coefficients * weights).sum(0) / torch.clamp(weights.sum(0), min=1.0)
