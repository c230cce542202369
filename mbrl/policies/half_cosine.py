"""`half_cosine`: a step size that falls to 0 over a number of updates."""

from __future__ import annotations

import math
import warnings

from mbrl.errors import MbrlWarning


def half_cosine(share: float) -> float:
    """½(1 + cos πx): 1 at a share of 0, and 0 from 1 on."""
    return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def tell_if_of_other_length(planned: int, updates: int) -> None:
    """Warns if a schedule of `planned` updates belongs to a run of another number of them."""
    if planned != updates:
        warnings.warn(
            f"SAC: expected actor_lr_cosine to be the run's {updates} updates, got {planned}, so that at its end the "
            f"actor's step size is {half_cosine(updates / planned):.2g} of actor_lr; set actor_lr_cosine to auto, or to "
            "null for a constant one.",
            MbrlWarning,
            stacklevel=3,
        )
