"""`FittedQ`: what a policy is worth by recorded steps alone, and how steady the number is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from mbrl.analysis.axes import legend_beside
from mbrl.analysis.result import Result
from mbrl.analysis.written_numbers import rounded

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class FittedQ(Result):
    """A policy's value by fitted-Q evaluation, units of return.

    Attributes:
        values: `N` float64, the critics' mean in each state in which episodes begin.
        curve: `T x J` float64, each critic's mean over these states in the course of the fit.
        updates: `T` int64, the updates made at each.
        error: root mean square of Q less its target, over the last updates.
        discount: γ.
        notes: see `Result`.
    """

    name: ClassVar[str] = "fitted_q"
    title: ClassVar[str] = "A policy's value by fitted-Q evaluation"

    values: Tensor
    curve: Tensor
    updates: Tensor
    error: float
    discount: float
    notes: Sequence[str] = ()

    @property
    def score(self) -> float:
        """The mean discounted return that the critics promise."""
        return float(self.values.mean())

    @property
    def disagreement(self) -> float | None:
        """The standard deviation of the critics' scores; None of a single one."""
        return float(self.curve[-1].std()) if self.curve.shape[1] > 1 else None

    @property
    def drift(self) -> float:
        """The change of the score over the last fifth of the fit; far from 0 it hasn't converged."""
        before = self.curve[max(len(self.curve) - max(len(self.curve) // 5, 1) - 1, 0)]
        return float(self.curve[-1].mean() - before.mean())

    def table(self) -> dict[str, list[Any]]:
        """A row for each point of the curve: the critics' mean score, and their standard deviation."""
        several = self.curve.shape[1] > 1
        return {
            "updates": self.updates.tolist(),
            "score": self.curve.mean(1).tolist(),
            "sd_over_critics": self.curve.std(1).tolist() if several else [None] * len(self.curve),
        }

    def summary(self) -> dict[str, Any]:
        """The score, and what says how far to trust it."""
        return {
            "score": self.score,
            "starts": len(self.values),
            "discount": self.discount,
            "critics": self.curve.shape[1],
            "disagreement": self.disagreement,
            "drift": self.drift,
            "error": self.error,
        }

    def in_short(self) -> list[str]:
        """The score with its two doubts."""
        apart = (
            ""
            if self.disagreement is None
            else f"; the critics' scores have a standard deviation of {rounded(self.disagreement)}"
        )
        return [
            f"By the recorded steps the policy earns {rounded(self.score)}, discounted by {self.discount:g}{apart}, and the "
            f"score moved by {rounded(self.drift)} over the last fifth of the fit."
        ]

    def plot(self) -> Figure:
        """The score over the updates, the mean and each critic's."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.4, 3.8), layout="constrained")
        axes = figure.subplots()
        for number, each in enumerate(self.curve.unbind(1)):
            axes.plot(self.updates, each, color="0.7", linewidth=0.8, label="single critics" if number == 0 else None)
        axes.plot(self.updates, self.curve.mean(1), color="k", label="their mean")
        axes.set_xlabel("updates")
        axes.set_ylabel(f"value at episodes' starts (return, discount {self.discount:g})")
        axes.set_title(f"Fitted-Q evaluation: {rounded(self.score)}")
        legend_beside(axes)
        return figure
