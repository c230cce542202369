"""`FitRun`: one fit of a gradient model: its rows, their split, the batches, and the best weights so far."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mbrl.data import Transitions
from mbrl.data.row_layout import RowLayout
from mbrl.errors import DataError
from mbrl.models.fitting.rules import BestWeights, MemberBatches, Split


class FitRun:
    """The rows of one fit, packed so that a batch of all members is one gather.

    Args:
        rows: `N` transitions, float32.
        split: which of them train.
        batches: who sees which.
        best: early stopping and the best weights.

    Attributes:
        holdout: the held-out rows, or None if there are none.

    Raises:
        DataError: if a row is not finite.
    """

    def __init__(self, rows: Transitions, split: Split, batches: MemberBatches, best: BestWeights) -> None:
        self._layout = RowLayout(rows.obs.shape[-1], rows.action.shape[-1])
        rows = Transitions(rows.obs, rows.action, rows.reward, rows.next_obs, rows.terminated, rows.truncated)
        self._layout.check(rows, "fit")
        self._matrix = torch.empty(len(rows), self._layout.width, device=rows.obs.device, dtype=torch.float32)  # N x width
        self._layout.pack(rows, self._matrix)
        finite = torch.isfinite(self._matrix).all(-1)  # N
        if not bool(finite.all()):
            bad = (~finite).nonzero()[:, 0].tolist()
            raise DataError(f"expected finite rows, got {len(bad)} with NaN or infinity, first at {bad[0]}; remove them.")
        self.split = split
        self.batches = batches
        self.best = best
        self.holdout = self.rows(split.holdout) if len(split.holdout) else None

    def rows(self, index: Tensor | slice) -> Transitions:
        """The transitions of an index of any shape."""
        return self._layout.unpack(self._matrix[index])

    def epoch(self, rank: int = 0, world: int = 1) -> Iterator[Transitions]:
        """One epoch's batches, `E x B` each (arguments as in `MemberBatches.epoch`)."""
        for index in self.batches.epoch(rank, world):
            yield self.rows(index)

    def state_dict(self) -> dict[str, Any]:
        """State that changes from epoch to epoch; the rest is drawn again from the same seed and rows."""
        return {"best": self.best.state_dict(), "generator": self.batches.generator.get_state(), "rows": len(self._matrix)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state`.

        Raises:
            DataError: if `state` was of a fit to another number of rows.
        """
        if state["rows"] != len(self._matrix):
            raise DataError(f"expected the fit's {state['rows']} rows, got {len(self._matrix)}; resume with its dataset.")
        self.best.load_state_dict(state["best"])
        self.batches.generator.set_state(state["generator"].cpu())
