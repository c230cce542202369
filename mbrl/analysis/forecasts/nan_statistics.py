"""Statistics over rows some of whose numbers are NaN, since their forecasts don't count."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

QUANTILES = (0.1, 0.5, 0.9)  # of every band


def quantiles(values: Tensor, levels: Sequence[float] = QUANTILES) -> Tensor:
    """Quantiles over the first dim without the numbers that are NaN, linear between them: `levels x …`, NaN of nothing.

    `torch.nanquantile` does the same for up to 16 million numbers.
    """
    ordered = values.sort(0).values  # NaN last
    count = (~ordered.isnan()).sum(0)  # …
    found = []
    for level in levels:
        place = level * (count - 1).clamp_min(0).to(values.dtype)
        low = place.floor().long()
        high = torch.minimum(low + 1, (count - 1).clamp_min(0))
        below, above = (ordered.gather(0, at.unsqueeze(0))[0] for at in (low, high))
        found.append(torch.lerp(below, above, place - low))
    return torch.stack(found)


def root_mean_square(values: Tensor) -> Tensor:
    """The root mean square over the first dim, without what is NaN."""
    return values.square().nanmean(0).sqrt()
