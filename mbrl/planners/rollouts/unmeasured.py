"""`measured`: what a measure of uncertainty counts for where it isn't finite, the same for all that charge by it.

A measure that isn't finite says that a row is more unsure than can be measured, not by how much. Such a row is charged the
largest finite measure beside it, and ends a rollout whose end depends on a threshold; none sets a threshold or tunes a
weight. The metric `unmeasured` is their share, and a run tells of it once, at the end of an epoch of its lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

UNMEASURED = "unmeasured"  # the metric


def measured(unsure: Tensor, counts: Tensor | None, report: Callable[[Mapping[str, Tensor]], None]) -> tuple[Tensor, Tensor]:
    """Puts the largest finite measure in the place of those that aren't finite; 0 where none is.

    Args:
        unsure: a measure, `B`.
        counts: `B` bool, the rows that are looked at; None all.
        report: takes the share of these that isn't finite.

    Returns:
        The finite measure, `B`, and which of the rows that count have one of their own, `B` bool.
    """
    known = unsure.isfinite()
    fine = known if counts is None else known & counts
    looked = torch.ones_like(known) if counts is None else counts  # made on the device: a number would be copied there
    report({UNMEASURED: (looked & ~known).sum() / looked.sum().clamp(min=1)})
    largest = torch.where(fine, unsure, 0.0).amax()  # measures are 0 or more
    return torch.where(known, unsure, largest), fine
