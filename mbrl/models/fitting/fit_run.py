"""`FitRun`: one fit of a gradient model: its rows and what they carry, their split, the batches, and the best weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mbrl.data import Transitions
from mbrl.data.row_layout import RowLayout
from mbrl.errors import DataError
from mbrl.models.fitting.finite_rows import check_finite
from mbrl.models.fitting.rules import BestWeights, MemberBatches, Split


class FitRun:
    """The rows of one fit, packed so that a batch of all members is one gather, and one more for each extra.

    Its rows have in `row` their place among the `N` that came, and keep their extras.

    Args:
        rows: `N` transitions, float32; extras `N x …` of any dtype.
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
        self._extras = dict(rows.extras)
        self._computed: list[str] = []
        self._layout.check(rows, "fit")
        self._matrix = torch.empty(len(rows), self._layout.width, device=rows.obs.device, dtype=torch.float32)  # N x width
        self._layout.pack(rows, self._matrix)
        check_finite(self._matrix)
        self._number = torch.arange(len(rows), device=rows.obs.device)  # N
        self.split = split
        self.batches = batches
        self.best = best
        self.holdout = self._held_out()

    def __len__(self) -> int:
        return len(self._number)

    def rows(self, index: Tensor | slice) -> Transitions:
        """The transitions of an index of any shape, with `row` and extras."""
        rows = self._layout.unpack(self._matrix[index], self._number[index])
        rows.extras.update({name: extra[index] for name, extra in self._extras.items()})
        return rows

    def compute(self, extras: Mapping[str, Tensor]) -> None:
        """Adds what a model computed of each row to what the rows carry from now on, and to the fit's state.

        Args:
            extras: `N x …` each, by name, in the order of the rows.

        Raises:
            DataError: if one has another number of rows, is not finite, or is named as an extra that the rows brought.
        """
        for name, extra in extras.items():
            if name in self._extras:
                raise DataError(f"fit_extras: expected names that the rows don't bring, got {name!r}; choose another.")
            if extra.shape[:1] != self._number.shape:
                raise DataError(
                    f"fit_extras: expected {len(self._number)} rows of {name!r}, got shape {tuple(extra.shape)}; "
                    "compute one per row."
                )
            if not bool(torch.isfinite(extra).all()):
                raise DataError(f"fit_extras: expected finite {name!r}, got NaN or infinity; bound what it divides by.")
        self._extras.update({name: extra.detach() for name, extra in extras.items()})
        self._computed = list(extras)
        self.holdout = self._held_out()

    def _held_out(self) -> Transitions | None:
        return self.rows(self.split.holdout) if len(self.split.holdout) else None

    def epoch(self, rank: int = 0, world: int = 1) -> Iterator[Transitions]:
        """One epoch's batches, `E x B` each (arguments as in `MemberBatches.epoch`)."""
        for index in self.batches.epoch(rank, world):
            yield self.rows(index)

    def state_dict(self) -> dict[str, Any]:
        """State that changes from epoch to epoch, and what was computed with the weights from before the first.

        The rest is drawn again from the same seed and rows.
        """
        return {
            "best": self.best.state_dict(),
            "generator": self.batches.generator.get_state(),
            "rows": len(self._matrix),
            "extras": {name: self._extras[name] for name in self._computed},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state`.

        Raises:
            DataError: if `state` was of a fit to another number of rows.
        """
        if state["rows"] != len(self._matrix):
            raise DataError(f"expected the fit's {state['rows']} rows, got {len(self._matrix)}; resume with its dataset.")
        self._extras.update({name: extra.to(self._number.device) for name, extra in state.get("extras", {}).items()})
        self.holdout = self._held_out()
        self.best.load_state_dict(state["best"])
        self.batches.generator.set_state(state["generator"].cpu())
