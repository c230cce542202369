"""`OpenLoopError`: errors against the number of steps, beside those of two baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mbrl.analysis.axes import legend_beside, log_scale, whole_numbers
from mbrl.analysis.forecasts.normalised_errors import ALL
from mbrl.analysis.result import EXACT, Result
from mbrl.analysis.written_numbers import number, rounded
from mbrl.training.output import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEAN, SINGLE, NO_CHANGE, LINEAR = "mean of particles", "single particle", "no change", "linear model"

# line, marker and grey of each, so that they differ on paper too
_STYLES: dict[str, dict[str, Any]] = {
    MEAN: {"color": "C0", "linestyle": "-", "marker": "o"},
    SINGLE: {"color": "C0", "linestyle": ":", "marker": None},
    NO_CHANGE: {"color": "0.35", "linestyle": "--", "marker": "s"},
    LINEAR: {"color": "C1", "linestyle": "-.", "marker": "^"},
}


@dataclass(frozen=True)
class ErrorCurve:
    """The errors of one predictor over the steps; dims `S+1` are the observation's and, last, the normalised total.

    Attributes:
        rmse: `H x (S+1)`, root mean square over windows, environment units (the total: normalised).
        bands: `3 x H x (S+1)`, the 10, 50 and 90 % quantiles over windows of the absolute error, units likewise.
        windows: `H x (S+1)` int64, windows that count.
        largest: of the normalised total over windows and steps.
    """

    rmse: Tensor
    bands: Tensor
    windows: Tensor
    largest: float

    @property
    def median(self) -> Tensor:
        """`H`, of the total."""
        return self.bands[1, :, -1]


@dataclass(frozen=True)
class OpenLoopError(Result):
    """Errors of open-loop rollouts over the horizon, beside those of two baselines.

    Attributes:
        curves: by predictor: the mean of a window's particles, one particle per window, no change, a linear model.
        dimensions: names, `S`.
        scale: `S`, the observation's standard deviation in the data, by which errors are normalised; 0 if it doesn't vary.
        windows: real windows that were compared.
        particles: `P`.
        terminated_early: share of rollouts in which the model takes the task for ended although it really went on.
        not_finite: rollouts with a number that isn't finite.
        exact: whether the errors are zero to rounding.
        notes: see `Result`.
        halted: rollouts that the model itself ended, which don't count from there on.
        linear_rows: rows per weight of the linear model if these rows are what it was fitted to, else None: of few it has
            learned the noise.
    """

    name: ClassVar[str] = "open_loop"
    title: ClassVar[str] = "Open-loop error against the number of steps"

    curves: dict[str, ErrorCurve]
    dimensions: list[str]
    scale: Tensor
    windows: int
    particles: int
    terminated_early: float
    not_finite: int
    exact: bool
    notes: Sequence[str] = ()
    halted: int = 0
    linear_rows: float | None = None

    @property
    def horizon(self) -> int:
        """`H`."""
        return len(self.curves[MEAN].rmse)

    def table(self) -> dict[str, list[Any]]:
        """A row for each predictor, dimension and step.

        `rmse` is in environment units (None for the total, whose dims differ in theirs); the columns that say so are
        normalised by `scale`, the observation's standard deviation in the data.
        """
        columns: dict[str, list[Any]] = {}

        def add(**cells: Any) -> None:
            for key, cell in cells.items():
                columns.setdefault(key, []).append(cell)

        scales = [*self.scale.tolist(), 1.0]
        for predictor, curve in self.curves.items():
            for dim, (label, scale) in enumerate(zip([*self.dimensions, ALL], scales, strict=True)):
                per_scale = 1 / scale if scale else float("nan")
                for step in range(self.horizon):
                    rmse, bands = curve.rmse[step, dim], curve.bands[:, step, dim] * per_scale
                    add(
                        predictor=predictor,
                        dimension=label,
                        step=step + 1,
                        windows=int(curve.windows[step, dim]),
                        rmse=None if label == ALL else number(rmse),
                        rmse_normalised=number(rmse * per_scale),
                        q10_normalised=number(bands[0]),
                        q50_normalised=number(bands[1]),
                        q90_normalised=number(bands[2]),
                        scale=None if label == ALL else scale,
                    )
        return columns

    def summary(self) -> dict[str, Any]:
        """Median total errors after the first, middle and last step, for how many steps the baselines are beaten, counts."""
        steps = sorted({1, (self.horizon + 1) // 2, self.horizon})
        mean = self.curves[MEAN]
        at_end = torch.where(self.scale > 0, mean.rmse[-1, :-1] / self.scale, -torch.inf).nan_to_num(nan=-torch.inf)
        worst = int(at_end.argmax())
        return {
            "windows": self.windows,
            "horizon": self.horizon,
            "particles": self.particles,
            "median_error_normalised": {
                predictor: {str(step): number(curve.median[step - 1]) for step in steps}
                for predictor, curve in self.curves.items()
            },
            "largest_error_normalised": number(mean.largest),
            "exact_to_rounding": self.exact,
            "steps_better_than_no_change": self.better_than(NO_CHANGE),
            "steps_better_than_linear": self.better_than(LINEAR),
            "worst_dimension_at_the_end": None if self.exact or at_end[worst] == -torch.inf else self.dimensions[worst],
            "share_terminated_early": number(self.terminated_early),
            "rollouts_not_finite": self.not_finite,
            "rollouts_halted": self.halted,
        }

    def in_short(self) -> list[str]:
        """The median error after one step and at the horizon, and for how long baselines are beaten."""
        if self.exact:
            return [EXACT]
        median = self.curves[MEAN].median
        sentences = [f"{self.not_finite} rollouts are not finite."] if self.not_finite else []
        return [
            *sentences,
            f"The median error is {rounded(float(median[0]))} standard deviations of the observation after 1 step and "
            f"{rounded(float(median[-1]))} after {self.horizon}.",
            f"It stays below no change for {self.better_than(NO_CHANGE)} steps and below a linear model for "
            f"{self.better_than(LINEAR)}.",
        ]

    def better_than(self, baseline: str) -> int:
        """Steps up to the first at which the median total error of a baseline, `no change` or `linear model`, is as low."""
        lost = ~(self.curves[MEAN].median < self.curves[baseline].median)  # H
        return int(lost.int().argmax()) if bool(lost.any()) else self.horizon

    def plot(self) -> Figure:
        """The total error of model and baselines over the steps."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        self._draw(axes, len(self.dimensions))
        legend_beside(axes)
        axes.set_xlabel("steps ahead")
        axes.set_ylabel("error, all dimensions (standard deviations of obs)")
        axes.set_title("The model's open-loop error beside no change and a linear model")
        return figure

    def figures(self) -> list[Figure]:
        """All dimensions in one, and each by itself."""
        return [self.plot(), self.plot_dimensions()]

    def plot_dimensions(self, most: int = 12) -> Figure:
        """The errors of each dimension, in environment units.

        Args:
            most: dims at most; where there are more, those with the largest normalised errors at the horizon.
        """
        from matplotlib.figure import Figure

        size = torch.where(self.scale > 0, self.curves[MEAN].rmse[-1, :-1] / self.scale, 0.0)
        shown = sorted(size.nan_to_num(nan=torch.inf).argsort(descending=True, stable=True)[:most].tolist())
        columns = min(3, len(shown))
        rows = -(-len(shown) // columns)
        figure = Figure(figsize=(3.2 * columns + 0.4, 2.3 * rows + 0.6), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).flatten()
        for axes, dim in zip(panels, shown, strict=False):
            self._draw(axes, dim)
            axes.set_title(drawn(self.dimensions[dim]))
        for axes in panels[len(shown) :]:
            axes.set_visible(False)
        figure.supxlabel("steps ahead")
        figure.supylabel("absolute error (environment units)")
        legend_beside(panels[0])
        return figure

    def _draw(self, axes: Axes, dim: int) -> None:
        steps = range(1, self.horizon + 1)
        drawn = []
        for predictor, curve in self.curves.items():
            low, middle, high = curve.bands[:, :, dim].tolist()
            style = _STYLES[predictor]
            every = max(1, self.horizon // 8)
            axes.plot(steps, middle, **style, markersize=4, markevery=every, label=f"{predictor}, median")
            drawn += middle
            if predictor == MEAN:
                axes.fill_between(steps, low, high, color=style["color"], alpha=0.2, linewidth=0, label="10 to 90 %")
        if min(drawn) > 0:  # false for NaN
            log_scale(axes)
        axes.xaxis.set_major_locator(whole_numbers())
