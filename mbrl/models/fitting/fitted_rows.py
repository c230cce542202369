"""`FittedRows`: which recorded rows a model was fitted to, so that a test can tell them from others."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from mbrl.data import Transitions, make_generator
from mbrl.models.fitting.rules import Split


@dataclass(frozen=True)
class FittedRows:
    """The rows of a fit of a model alone, known again by their digests, and how some of them were held out.

    Attributes:
        rows: their number.
        sha256: their digest (`Transitions.digest`).
        first: the digest of the first of them; None in a checkpoint that doesn't say.
        seed: of the fit, which drew the split.
        holdout: share of the rows held out; 0 if the fit held none out.
        holdout_max: rows held out at most, None for no cap.
        holdout_by: whether single rows or whole episodes were held out.
    """

    rows: int
    sha256: str
    first: str | None = None
    seed: int = 0
    holdout: float = 0.0
    holdout_max: int | None = None
    holdout_by: Literal["row", "episode"] = "row"

    @staticmethod
    def of(rows: Transitions, seed: int, **holdout: Any) -> FittedRows:
        """Describes `rows`; `holdout` has the attributes of that name, of a model that holds some out."""
        return FittedRows(len(rows), rows.digest(), rows.select(slice(1)).digest(), seed, **holdout)

    def to_plain(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)

    def unseen(self, rows: Transitions) -> Transitions | None:
        """Those of `rows` that the fit didn't train on: all of other data, else the held-out ones, or those that follow.

        Returns:
            The rows, or None if there are none.
        """
        if len(rows) < self.rows or rows.select(slice(self.rows)).digest() != self.sha256:
            some = self.first is not None and rows.select(slice(1)).digest() == self.first
            return None if some else rows  # a part of them, of which nobody can tell which rows were held out
        if len(rows) > self.rows:
            return rows.select(slice(self.rows, None))
        if self.holdout == 0:
            return None
        generator = make_generator("cpu", self.seed, "dynamics", "fit")  # the split is the first that a fit draws
        return rows.select(Split.draw(rows, generator, self.holdout, self.holdout_max, self.holdout_by).holdout)
