"""Covariance functions of scaled points, and the random features that stand for them.

    symbol   code             shape        meaning
    D        -                             outputs, each a process of its own
    d        -                             inputs
    ℓ        lengthscale      D x d        of each output and input
    s²       signal           D            prior variance
    σ²       noise            D            variance of the noise

Rahimi2007: "Random features for large-scale kernel machines" (NeurIPS 2007).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

KernelName = Literal["rbf", "matern52"]


@dataclass(frozen=True)
class Hyperparameters:
    """The kernels of `D` outputs, float64, in units of normalised inputs and targets.

    Attributes:
        lengthscale: ℓ, `D x d`.
        signal: s², `D`.
        noise: σ², `D`.
    """

    lengthscale: Tensor
    signal: Tensor
    noise: Tensor

    @staticmethod
    def initial(outputs: int, inputs: int) -> Hyperparameters:
        """One sd of each input, the targets' own variance, and a tenth of their sd as noise, as PILCO begins."""
        one = torch.ones(outputs, dtype=torch.float64)
        return Hyperparameters(torch.ones(outputs, inputs, dtype=torch.float64), one, 0.01 * one)


def half_square(a: Tensor, b: Tensor) -> Tensor:
    """−½ |a − b|² of points that are divided by their lengthscales.

    Args:
        a: `D x n x d`.
        b: `D x M x d`.

    Returns:
        `D x n x M`, a fresh tensor.
    """
    product = torch.baddbmm(-0.5 * b.square().sum(-1).unsqueeze(1), a, b.mT)
    return product.sub_(0.5 * a.square().sum(-1, keepdim=True))


def correlation(kernel: KernelName, half: Tensor) -> Tensor:
    """The kernel over its signal variance; `half` is −½ of squared distances, any shape, and is overwritten."""
    if kernel == "rbf":
        return half.exp_()  # above 0 by rounding only
    least = torch.finfo(half.dtype).eps ** 2  # the root of 0 has no slope
    r = (-10.0 * half).clamp(min=least).sqrt()  # √5 times the distance
    return (1 + r + r.square() / 3) * (-r).exp()


def covariance(kernel: KernelName, of: Hyperparameters, a: Tensor, b: Tensor) -> Tensor:
    """k(a, b) of each output, `D x n x M`, of points `n x d` and `M x d`."""
    scale = of.lengthscale.unsqueeze(1)  # D x 1 x d
    return correlation(kernel, half_square(a / scale, b / scale)) * of.signal.view(-1, 1, 1)


def draw_frequencies(kernel: KernelName, inputs: int, number: int, generator: torch.Generator) -> Tensor:
    """Frequencies `d x number` from the kernel's spectrum at lengthscales of 1: normal, or Student's t with 5 degrees.

    All outputs share them, and divide by their own lengthscales [Rahimi2007].
    """
    device = generator.device
    drawn = torch.randn(inputs, number, generator=generator, device=device, dtype=torch.float64)
    if kernel == "matern52":
        squares = torch.randn(5, number, generator=generator, device=device, dtype=torch.float64).square().sum(0)  # number
        drawn = drawn / (squares / 5).sqrt()
    return drawn


def features(scaled: Tensor, frequencies: Tensor) -> Tensor:
    """Cosines and sines `… x 2·number`, whose products' mean is the correlation; of points `… x d`, scaled."""
    angles = scaled @ frequencies
    return torch.cat((angles.cos(), angles.sin()), -1) / math.sqrt(frequencies.shape[-1])
