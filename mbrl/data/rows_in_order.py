"""`RowsInOrder`: a loader that hands out rows as they come."""

from __future__ import annotations

from collections.abc import Iterator

from mbrl.data.transitions import Transitions


class RowsInOrder:
    """Batches of rows, in order.

    Args:
        rows: `N` transitions.
        size: rows per batch; the last may have fewer.
    """

    def __init__(self, rows: Transitions, size: int) -> None:
        self.rows = rows
        self.size = size

    def __len__(self) -> int:
        return -(-len(self.rows) // self.size)

    def __iter__(self) -> Iterator[Transitions]:
        for start in range(0, len(self.rows), self.size):
            yield self.rows.select(slice(start, start + self.size))
