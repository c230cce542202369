"""Noise whose power falls with frequency as 1/f^β along a plan (Timmer1995, as iCEM uses it)."""

from __future__ import annotations

import functools
import math
from typing import Literal

import torch
from torch import Tensor

Edges = Literal["unscaled", "scaled"]


def coloured_noise(white: Tensor, exponent: float, edges: Edges = "unscaled") -> Tensor:
    """Turns white noise into noise with the power spectrum 1/f^β along the last dim.

    Args:
        white: standard normal numbers, `… x H`.
        exponent: β. 0 is white; more makes slower noise, 2 is a random walk's.
        edges: the coefficients of the mean and, for an even `H`, of the highest frequency have no imaginary part, so half
            the power; `"unscaled"` leaves it so (older releases of the usual routine, and mbrl-lib), `"scaled"` makes up
            for it with a factor √2 (newer releases), which makes the mean vary more. The variance is counted without the
            mean's share either way, so it comes out a little above 1.

    Returns:
        Noise `… x H`, about of unit variance.
    """
    return white @ _mixing(white.shape[-1], exponent, edges, white.dtype, white.device)


@functools.lru_cache(maxsize=64)
def _mixing(steps: int, exponent: float, edges: Edges, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix that the inverse Fourier transform of scaled white coefficients amounts to, `H x H`: one product a draw."""
    with torch.inference_mode(False):  # it outlives the decision that asked first
        time = torch.arange(steps, dtype=torch.float64)
        frequency = torch.arange(steps // 2 + 1, dtype=torch.float64) / steps
        frequency[0] = 1.0 / steps  # the mean is as strong as the slowest wave
        amplitude = frequency ** (-exponent / 2)
        edge = math.sqrt(2.0) if edges == "scaled" else 1.0
        rows = [edge * amplitude[0] * torch.ones_like(time)]
        power = 0.0
        for k in range(1, steps // 2 + 1):
            angle = 2.0 * math.pi * k * time / steps
            if 2 * k == steps:
                rows.append(edge * amplitude[k] * torch.cos(angle))
                power += float(amplitude[k] ** 2)
            else:
                rows += [2.0 * amplitude[k] * torch.cos(angle), 2.0 * amplitude[k] * torch.sin(angle)]
                power += 4.0 * float(amplitude[k] ** 2)
        if steps == 1:  # nothing to colour
            return torch.ones(1, 1, dtype=dtype, device=device)
        return (torch.stack(rows) / math.sqrt(power)).to(dtype=dtype, device=device)
