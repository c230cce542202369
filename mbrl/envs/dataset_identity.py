"""The identity of a dataset: checkpoints hold it in place of the rows, so that a resumed run learns from no others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from mbrl.data import Transitions
from mbrl.errors import CheckpointError

_COLUMNS = ("obs", "action", "reward", "next_obs", "terminated", "truncated")


def dataset_identity(rows: Transitions) -> dict[str, Any]:
    """How many rows there are, their columns, and the SHA-256 of all numbers: plain data."""
    digest = hashlib.sha256()
    columns = {name: getattr(rows, name) for name in _COLUMNS} | dict(sorted(rows.extras.items()))
    for name, column in columns.items():
        digest.update(name.encode())
        digest.update(column.contiguous().numpy())
    return {"rows": len(rows), "columns": list(columns), "sha256": digest.hexdigest()}


def check_same_dataset(before: Mapping[str, Any], now: Mapping[str, Any], source: str) -> None:
    """Refuses to go on with other rows than those that a run began with.

    Args:
        before: the identity in the checkpoint.
        now: that of the dataset that was read.
        source: where it was read from, for the message.

    Raises:
        CheckpointError: if they differ.
    """
    if before == now:
        return
    told = [f"{which['rows']} rows ({which['sha256'][:12]}…) of {', '.join(which['columns'])}" for which in (before, now)]
    raise CheckpointError(
        f"expected the dataset that the run began with, {told[0]}, got {told[1]} in {source}; give that one, or start "
        "another run."
    )
