"""`GrowableRows`: a tensor whose number of rows changes without a second copy of them, where the system can."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NUMPY = {torch.float32: np.float32, torch.int64: np.int64}
_PIECE = 2**20  # bytes that move at once


class GrowableRows:
    """Rows in one tensor, of which only those that were written take memory on the CPU.

    On Linux the rows of a CPU tensor are pages of their own, which the system moves by their addresses. Elsewhere, on a
    GPU, of a copy (`copy.deepcopy`, pickle), and while anybody holds a view of them, `resize` copies, and old and new rows
    exist together until it is done.

    Args:
        shape: rows, and what is in one.
        dtype: float32 or int64.
        device: where they lie.

    Attributes:
        tensor: the rows.
    """

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        self._pages: mmap.mmap | None = None
        if device.type == "cpu" and hasattr(mmap, "MAP_PRIVATE") and hasattr(mmap, "MAP_ANONYMOUS"):
            numbers = int(np.prod(shape))
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            self._pages = mmap.mmap(-1, numbers * dtype.itemsize, flags=flags)
            self.tensor = self._seen(shape, dtype)
        else:
            self.tensor = torch.empty(*shape, dtype=dtype, device=device)

    def resize(self, rows: int) -> None:
        """Makes it `rows` rows: the first ones of before, and behind them undefined ones."""
        dtype, before = self.tensor.dtype, self.tensor.shape
        shape = (rows, *before[1:])
        if self._pages is not None:
            del self.tensor  # pages that a tensor looks at don't move
            try:
                self._pages.resize(int(np.prod(shape)) * dtype.itemsize)
            except (BufferError, OSError, SystemError, ValueError):  # a view is held, or the system can't
                self.tensor = self._seen(before, dtype)
            else:
                self.tensor = self._seen(shape, dtype)
                return
        kept = min(rows, before[0])
        larger = GrowableRows(shape, dtype, self.tensor.device)
        larger.tensor[:kept].copy_(self.tensor[:kept])
        self.tensor, self._pages = larger.tensor, larger._pages

    def to(self, device: torch.device | str) -> None:
        """Moves the rows to `device`."""
        moved = self.tensor.to(device)
        if moved is not self.tensor:
            self.tensor, self._pages = moved, None

    def _seen(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The pages as a tensor; through NumPy, which has them stay in place for as long as it lives (torch doesn't)."""
        assert self._pages is not None
        return torch.from_numpy(np.frombuffer(self._pages, dtype=_NUMPY[dtype])).view(*shape)

    def __getstate__(self) -> dict[str, Any]:
        return {"tensor": self.tensor, "_pages": None}


def rotate(rows: Tensor, first: int) -> None:
    """Has the rows begin with what was row `first`, in place: three times reversed, a piece at a time."""
    if first:
        for part in (rows[:first], rows[first:], rows):
            _reverse(part)


def _reverse(rows: Tensor) -> None:
    half, last = len(rows) // 2, len(rows)
    piece = max(1, _PIECE * last // max(1, rows.nbytes))  # rows
    for start in range(0, half, piece):
        end = min(start + piece, half)
        front, back = rows[start:end], rows[last - end : last - start]
        kept = front.flip(0)
        front.copy_(back.flip(0))
        back.copy_(kept)
