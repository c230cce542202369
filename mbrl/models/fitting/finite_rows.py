"""`check_finite`: the rows of a fit are numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.errors import DataError


def check_finite(table: Tensor) -> None:
    """Refuses rows of a fit that aren't finite, by their number and the first one.

    Args:
        table: all columns of the rows, `N x columns`.

    Raises:
        DataError: if one has NaN or infinity.
    """
    finite = torch.isfinite(table).all(-1)  # N
    if not bool(finite.all()):
        bad = (~finite).nonzero()[:, 0].tolist()
        raise DataError(f"expected finite rows, got {len(bad)} with NaN or infinity, first at {bad[0]}; remove them.")
