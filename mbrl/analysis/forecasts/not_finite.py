"""`NotFinite`: forecasts that aren't finite numbers, or that the model halts, counted."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


class NotFinite:
    """Counts forecasts that aren't finite numbers, and keeps the place of the first.

    Args:
        kind: of forecasts, a noun in the plural, for the note.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.count = 0
        self.total = 0
        self.halted = 0
        self._first: tuple[int, int, int] | None = None  # episode, step, dim

    def look(self, forecasts: Tensor, episode: Tensor, step: Tensor, behind: Tensor | None = None) -> None:
        """Looks at one more chunk.

        Args:
            forecasts: `m x b x H x S`, `m` members or particles.
            episode: `b` int64, the one that each begins in.
            step: `b` int64, the one that each begins at.
            behind: `m x b x H` bool, steps behind a halt of the model's own, which aren't looked at; None: none.
        """
        bad = ~forecasts.isfinite()  # m x b x H x S
        self.total += bad.shape[0] * bad.shape[1]
        if behind is not None:
            bad &= ~behind[..., None]
            self.halted += int(behind.any(-1).sum())
        if not bad.any():
            return
        self.count += int(bad.flatten(2).any(-1).sum())
        if self._first is None:
            row, after, dim = bad.any(0).nonzero()[0].tolist()
            self._first = (int(episode[row]), int(step[row]) + after, dim)

    def notes(self, names: Sequence[str]) -> list[str]:
        """A sentence with the number and the place of the first, if there are any; and one with the number of halts."""
        notes = []
        if self.halted:
            notes.append(
                f"{self.halted} of {self.total} {self.kind} were halted by the model itself and don't count from there on, "
                "which flatters it."
            )
        if self._first is None:
            return notes
        episode, step, dim = self._first
        return [
            *notes,
            f"{self.count} of {self.total} {self.kind} gave a number that isn't finite and don't count from there on, which "
            f"flatters the model; the first is {names[dim]} after step {step} of episode {episode}.",
        ]
