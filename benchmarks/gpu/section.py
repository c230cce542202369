"""What the sections of the GPU benchmark share: where they run, and what a row of theirs is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch

NOT_RUN = "not run: no CUDA"
LATE = "not run: out of time"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: the line is about.
        value: what was found; a text where nothing could be.
        unit: of the value, or what there is to say of it.
        failed: whether it is a reason for the command to fail.
    """

    what: str
    value: float | str
    unit: str = ""
    failed: bool = False


@dataclass(frozen=True)
class Setting:
    """Where and how long a section runs.

    Attributes:
        device: of the work. On the CPU every piece is made and called once, in small, and no figure is given.
        ends: of `perf_counter`; no piece is begun later.
    """

    device: torch.device
    ends: float = math.inf

    @property
    def measures(self) -> bool:
        """True on a GPU."""
        return self.device.type == "cuda"

    def row(self, what: str, unit: str, make: Callable[[], Any], measure: Callable[[Any], Row]) -> Row:
        """Makes a piece and measures it; on the CPU it is called in place of that, and an error is the row's value."""
        if perf_counter() > self.ends:
            return Row(what, LATE)
        try:
            piece = make()
            if self.measures:
                return measure(piece)
            piece() if callable(piece) else piece.run()
        except Exception as error:  # one piece that doesn't run must not hide what the others do
            return Row(what, one_line(error), failed=True)
        return Row(what, NOT_RUN, unit)


Section = Callable[[Setting], Iterator[Row]]


def one_line(error: Exception) -> str:
    """The error's kind and the beginning of what it says."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said[:200]}"
