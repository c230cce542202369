"""How steep data are: a budget for networks that are to fit them."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 2000  # looked at; the quantile of 10,000 slopes is steady to a few per cent


def neighbour_slope(
    inputs: Tensor, outputs: Tensor, generator: torch.Generator, neighbours: int = 5, quantile: float = 0.95
) -> float:
    """A high quantile of |Δy| / |Δx| over pairs of near neighbours.

    Pairs nearer than a tenth of the median distance are left out, where noise in y counts for more than its slope.

    Args:
        inputs: `N x in`, normalised.
        outputs: `N x D`, normalised.
        generator: draws 2,000 rows where there are more.
        neighbours: nearest rows of each row.
        quantile: share of the slopes that lie below the answer.

    Returns:
        The slope, in the L2 norm of both; 0 where no two rows differ.
    """
    if len(inputs) > ROWS:
        rows = torch.randperm(len(inputs), generator=generator, device=inputs.device)[:ROWS]
        inputs, outputs = inputs[rows], outputs[rows]
    inputs, outputs = inputs.double(), outputs.double()
    apart = torch.cdist(inputs, inputs)  # N x N
    apart.fill_diagonal_(torch.inf)
    near, which = apart.topk(min(neighbours, len(inputs) - 1), largest=False)  # N x k
    rise = (outputs.unsqueeze(1) - outputs[which]).norm(dim=-1)  # N x k
    wide = near > 0.1 * near.median() if near.numel() else near > 0
    slopes = (rise / near)[wide & (near > 0)]
    return float(torch.quantile(slopes, quantile)) if slopes.numel() else 0.0
