"""`Normalizer`: the scale on which a network sees numbers, its inputs or its targets.

Chua2018: "Deep reinforcement learning in a handful of trials using probabilistic dynamics models" (PETS).
Janner2019: "When to trust your model: model-based policy optimization" (MBPO).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

ROUNDING = 2.0**-24  # half a unit in float32's last place, relative


class Normalizer(nn.Module):
    """Maps `x` to (x − mean) / sd, with statistics from float64 sums.

    Rows are float32, statistics are computed in float64. A float32 mean alone would shift a nearly constant dimension by
    many of its standard deviations (a coordinate near 100 that varies by 1e-5), so the mean is kept as two float32 parts
    whose sum has twice the digits; `x − mean_high` is exact where it matters. No number depends on the units of `x`: what
    counts as constant is relative to the column's own numbers.

    Args:
        size: width of `x`.
        ddof: 0 divides by N (MBPO, PETS), 1 by N − 1 (sample standard deviation, as mbrl-lib).
    """

    mean_high: Tensor
    mean_low: Tensor
    sd: Tensor

    def __init__(self, size: int, ddof: Literal[0, 1] = 0) -> None:
        super().__init__()
        self.ddof = ddof
        self.register_buffer("mean_high", torch.zeros(size, dtype=torch.float32))  # size
        self.register_buffer("mean_low", torch.zeros(size, dtype=torch.float32))  # size
        self.register_buffer("sd", torch.ones(size, dtype=torch.float32))  # size

    @torch.no_grad()
    def fit(self, x: Tensor, largest: Tensor | None = None) -> None:
        """Takes the statistics of the rows `N x size`.

        A column that moves by no more than float32's rounding of its numbers is constant: divided by its largest number, so
        that a departure from it is seen on its own scale and not multiplied by millions.

        Args:
            x: the rows.
            largest: `size`, for differences such as the change of an observation: the largest of the numbers that they are
                differences of. Their sd is then no smaller than float32's rounding of those.
        """
        first = x[0].double()  # size
        shifted = x.double() - first  # exact, so a constant column is exactly 0: N x size
        mean = first + shifted.mean(0)
        free = max(x.shape[0] - self.ddof, 1)
        sd = ((shifted - shifted.mean(0)).square().sum(0) / free).sqrt()
        if largest is None:
            largest = x.abs().amax(0).double()  # size
            sd = torch.where(sd > ROUNDING * largest, sd, torch.where(largest > 0, largest, torch.ones_like(sd)))
        else:
            least = ROUNDING * torch.where(largest > 0, largest.double(), torch.ones_like(sd))
            sd = torch.maximum(sd, least)
        self.mean_high.copy_(mean)
        self.mean_low.copy_(mean - self.mean_high.double())
        self.sd.copy_(sd.clamp(min=torch.finfo(torch.float32).tiny))

    def forward(self, x: Tensor) -> Tensor:
        """`… x size` in environment units to `… x size` normalised."""
        return ((x - self.mean_high) - self.mean_low) / self.sd

    def inverse(self, z: Tensor) -> Tensor:
        """`… x size` normalised to environment units."""
        return z * self.sd + self.mean_low + self.mean_high
