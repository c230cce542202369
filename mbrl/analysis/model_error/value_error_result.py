"""`ValueAwareError`: how much a model's error moves the value, and how steep value and model are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mbrl.analysis.axes import legend_beside
from mbrl.analysis.correlations import pearson
from mbrl.analysis.model_error.lipschitz import LipschitzEstimate
from mbrl.analysis.result import EXACT, Result
from mbrl.analysis.written_numbers import rounded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROUNDING = 1e-5  # of the largest value: float32 networks


@dataclass(frozen=True)
class ValueAwareError(Result):
    """The value-aware model error, and local slopes of value and model.

    Attributes:
        discount: γ.
        samples: `M`, draws of the model per row.
        real: `B` float64, V(s') of the rows that count.
        drawn: `B`, V(ŝ) of one draw.
        expected: `B`, the mean of V(ŝ) over `M` draws.
        squared_distance: mean over rows of |ŝ − s'|² of one draw, in standard deviations of the observation.
        spread: the standard deviation of a row's draws, mean over rows and dims, in the same units.
        lipschitz: of `value`, and of `model` or None; per standard deviation of the observation, the model's own values
            in these units too.
        bound: the largest slope that the model can have in these units, by its weights; None where nobody knows.
        exact: whether model and reality have the same value to rounding.
        notes: see `Result`.
    """

    name: ClassVar[str] = "value"
    title: ClassVar[str] = "Value-aware model error"

    discount: float
    samples: int
    real: Tensor
    drawn: Tensor
    expected: Tensor
    squared_distance: float
    spread: float
    lipschitz: dict[str, LipschitzEstimate | None]
    exact: bool
    notes: Sequence[str] = ()
    bound: float | None = None

    @property
    def vame_sampled(self) -> float:
        """γ² mean (V(ŝ) − V(s'))²."""
        return self.discount**2 * float((self.drawn - self.real).square().mean())

    @property
    def vame_mean(self) -> float:
        """γ² mean (mean of V(ŝ) − V(s'))²."""
        return self.discount**2 * float((self.expected - self.real).square().mean())

    def table(self) -> dict[str, list[Any]]:
        """A row for each quantity and estimate: the errors (mean only), slopes of value and model, and the model's bound."""
        columns: dict[str, list[Any]] = {name: [] for name in ("quantity", "estimate", "rows", "mean", "q95", "max")}

        def add(*cells: Any) -> None:
            for column, cell in zip(columns.values(), cells, strict=True):
                column.append(cell)

        rows = len(self.real)
        add("vame", "sampled", rows, self.vame_sampled, None, None)
        add("vame", "mean", rows, self.vame_mean, None, None)
        for quantity, slopes in self.lipschitz.items():
            if slopes is not None:
                for estimate, found in slopes.rows().items():
                    add(f"lipschitz of {quantity}", estimate, len(slopes.ball), found["mean"], found["q95"], found["max"])
        if self.bound is not None:
            add("lipschitz of model", "bound", None, None, None, self.bound)
        return columns

    def summary(self) -> dict[str, Any]:
        """Both errors with natural logarithms and as a share of the value's variance, bias, and slopes."""
        variance = float(self.real.var(correction=0))
        relative = None if variance == 0 else self.vame_mean / self.discount**2 / variance
        return {
            "rows": len(self.real),
            "discount": self.discount,
            "samples": self.samples,
            "exact_to_rounding": self.exact,
            "vame_sampled": self.vame_sampled,
            "log_vame_sampled": _log(self.vame_sampled, self.exact),
            "vame_mean": self.vame_mean,
            "log_vame_mean": _log(self.vame_mean, self.exact),
            "mean_error_per_value_variance": relative,
            "bias": float((self.expected - self.real).mean()),
            "value_sd": math.sqrt(variance),
            "correlation": pearson(self.expected, self.real, ROUNDING),
            "squared_distance_standardised": self.squared_distance,
            "sample_sd_standardised": self.spread,
            "lipschitz_bound_of_model": self.bound,
            "lipschitz": {name: None if slopes is None else slopes.rows() for name, slopes in self.lipschitz.items()},
        }

    def in_short(self) -> list[str]:
        """The size of what the model's error does to the value."""
        if self.exact:
            return [EXACT]
        off, sd = math.sqrt(self.vame_mean) / self.discount, math.sqrt(float(self.real.var(correction=0)))
        return [
            f"The model's error moves the value of the next state by {rounded(off)} (root mean square), where values have a "
            f"standard deviation of {rounded(sd)}."
        ]

    def figures(self) -> list[Figure]:
        """Values, and slopes."""
        return [self.plot(), self.plot_slopes()]

    def plot(self) -> Figure:
        """The value of where the model leads against the value of where it really led."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.4, 4.8), layout="constrained")
        axes = figure.subplots()
        ends = [float(torch.cat((self.real, self.expected)).min()), float(torch.cat((self.real, self.expected)).max())]
        axes.plot(self.real, self.drawn, "x", color="0.6", markersize=3, alpha=0.5, label="one draw of the model")
        axes.plot(self.real, self.expected, "o", color="C0", markersize=2.5, label=f"mean of {self.samples} draws")
        axes.plot(ends, ends, color="k", linestyle="--", label="no error in the value")
        axes.set_xlabel("value of the real next state, V(s')")
        axes.set_ylabel("value of the model's next state, V(ŝ)")
        told = "equal to rounding" if self.exact else f"off by {math.sqrt(self.vame_mean) / self.discount:.3g} (RMS)"
        axes.set_title(f"What the model's error does to the value:\n{told}")
        legend_beside(axes)
        return figure

    def plot_slopes(self) -> Figure:
        """The distributions of the local slopes of value and model over the states."""
        from matplotlib.figure import Figure

        shown = {name: slopes for name, slopes in self.lipschitz.items() if slopes is not None}
        figure = Figure(figsize=(1.2 + 3.6 * len(shown), 3.6), layout="constrained")
        panels = figure.subplots(1, len(shown), squeeze=False)[0]
        for axes, (quantity, slopes) in zip(panels, shown.items(), strict=True):
            for estimate, found, line in (
                ("gradient", slopes.gradient, "-"),
                ("gradient ascent in a ball", slopes.pgd, "--"),
                ("random points of a ball", slopes.ball, ":"),
            ):
                if found is not None:
                    known = found[found.isfinite()].sort().values
                    share = torch.arange(1, len(known) + 1) / len(known)
                    axes.step(known, share, where="post", linestyle=line, label=estimate)
            axes.set_xlabel(f"slope of the {quantity}\n(per sd of the observation)")
        panels[0].set_ylabel("share of states below")
        legend_beside(panels[-1])
        figure.suptitle("How steep value and model are around real states")
        return figure


def _log(number: float, exact: bool) -> float | None:
    return None if exact or not number > 0 else math.log(number)
