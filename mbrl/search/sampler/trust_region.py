"""The trust region: a box around the best configuration, in which the next one lies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FIRST_SIDE, LARGEST_SIDE, SMALLEST_SIDE = 0.8, 1.6, 2.0**-5
SUCCESSES_TO_GROW = 3
LEAST_GAIN = 1e-3  # of the best value's size


def side(values: Sequence[float], startup: int, columns: int) -> float:
    """Computes the side of the trust region (Eriksson et al. 2019, shortened for searches of tens of trials).

    Doubled after 3 successes in a row, halved after max(4, `columns`) failures in a row; back to the first side below the
    smallest. Nothing is kept between suggestions: the side follows from the values.

    Args:
        values: larger is better, in the order of the trials; failed trials with the worst.
        startup: number of first trials whose configurations no model chose, so that they count neither way.
        columns: number of them in the search space.

    Returns:
        The side, in ranges of the parameters.
    """
    patience = max(4, columns)
    length, successes, failures = FIRST_SIDE, 0, 0
    best = max(values[:startup], default=-float("inf"))
    for value in values[startup:]:
        gain = LEAST_GAIN * abs(best) if best > -float("inf") else 0.0
        if value > best + gain:
            successes, failures = successes + 1, 0
        else:
            successes, failures = 0, failures + 1
        best = max(best, value)
        if successes == SUCCESSES_TO_GROW:
            length, successes = min(2 * length, LARGEST_SIDE), 0
        elif failures == patience:
            length, failures = length / 2, 0
        if length < SMALLEST_SIDE:
            length, successes, failures = FIRST_SIDE, 0, 0
    return length


def box(centre: Tensor, active: Tensor, scales: Tensor, length: float) -> Tensor:
    """Computes the bounds of the region, `2 x columns`, longer along columns in which the values change slowly.

    Args:
        centre: position of each column, 0 to 1.
        active: whether the centre's configuration has each column; the others may go anywhere.
        scales: lengthscale of each column.
        length: side of the cube that has the box's volume before it is cut at the ranges' ends.
    """
    half = 0.5 * length * (scales / scales.log().mean().exp())
    low = torch.where(active, centre - half, torch.zeros_like(centre)).clamp(0.0, 1.0)
    high = torch.where(active, centre + half, torch.ones_like(centre)).clamp(0.0, 1.0)
    return torch.stack([low, high])
