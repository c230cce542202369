"""`open_loop_error`: how far a model's rollouts are from what really happened, against the number of steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mbrl.analysis.axes import log_scale, whole_numbers
from mbrl.analysis.baselines import LinearBaseline
from mbrl.analysis.forecasts import (
    ALL,
    NotFinite,
    Progress,
    check_episodes,
    dimension_names,
    left_out,
    number,
    particle_rollouts,
    place_windows,
    quantiles,
    root_mean_square,
    scale_of,
    total_of,
    within_rounding,
)
from mbrl.analysis.result import Result
from mbrl.arguments import check_whole
from mbrl.data import Transitions
from mbrl.models import DynamicsModel, Exact

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

_GROWN = 1e-2  # standard deviations: more than that is not rounding any more, whatever it came from


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
        curves: by predictor: the mean of a window's particles, one particle a window, no change, a linear model.
        dimensions: names, `S`.
        scale: `S`, the observation's standard deviation in the data, by which errors are normalised; 0 if it doesn't vary.
        windows: real windows that were compared.
        particles: `P`.
        terminated_early: share of rollouts in which the model takes the task for ended although it really went on.
        not_finite: rollouts with a number that isn't finite.
        exact: whether the errors are zero to rounding.
        notes: see `Result`.
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
            "steps_better_than_no_change": self._better_than(NO_CHANGE),
            "steps_better_than_linear": self._better_than(LINEAR),
            "worst_dimension_at_the_end": None if self.exact or at_end[worst] == -torch.inf else self.dimensions[worst],
            "share_terminated_early": number(self.terminated_early),
            "rollouts_not_finite": self.not_finite,
        }

    def _better_than(self, baseline: str) -> int:
        """Steps up to the first at which the baseline's median total error is as low."""
        lost = ~(self.curves[MEAN].median < self.curves[baseline].median)  # H
        return int(lost.int().argmax()) if bool(lost.any()) else self.horizon

    def plot(self) -> Figure:
        """The total error of model and baselines over the steps."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        self._draw(axes, len(self.dimensions), legend=True)
        axes.set_xlabel("steps ahead")
        axes.set_ylabel("error, all dimensions (standard deviations of obs)")
        axes.set_title("The model's open-loop error beside no change and a linear model")
        return figure

    def plot_dimensions(self, most: int = 12) -> Figure:
        """The same for each dimension, in environment units.

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
            self._draw(axes, dim, legend=False)
            axes.set_title(self.dimensions[dim], fontsize=10)
        for axes in panels[len(shown) :]:
            axes.set_visible(False)
        figure.supxlabel("steps ahead")
        figure.supylabel("absolute error (environment units)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
        return figure

    def _draw(self, axes: Axes, dim: int, *, legend: bool) -> None:
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
        axes.grid(color="0.9")
        if legend:
            axes.legend(frameon=False, fontsize=8)


@torch.no_grad()
def open_loop_error(
    model: DynamicsModel,
    episodes: list[Transitions],
    *,
    generator: torch.Generator,
    horizon: int = 50,
    most: int = 500,
    particles: int = 10,
    baseline_rows: Transitions | None = None,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> OpenLoopError:
    """Rolls the model out on recorded actions, from the first state of real windows, and compares each step.

    Each particle keeps its member throughout. The mean of a window's particles is the forecast with the smaller squared
    error; a single particle, the first of each window, is what a planner's rollout is. A window's error in all dims is the
    root mean square of the dims' errors, each in units of the observation's standard deviation in `episodes`: at 1 a
    forecast is as far off as a typical state is from the average one.

    Args:
        model: built and fitted.
        episodes: real ones, from `split_episodes`; windows never cross their ends.
        generator: draws windows, members and noise.
        horizon: `H` steps; longer windows fit into fewer episodes.
        most: windows at most, drawn uniformly; more narrows what chance does to the bands, and costs in proportion.
        particles: `P` rollouts of a window, 1 for an exact model; more makes their mean steadier, and costs in proportion.
        baseline_rows: what the linear baseline is fitted to; None takes the rows of `episodes`, which favours it.
        names: of the observation's dims.
        progress: told a sentence now and then.

    Raises:
        DataError: if no episode is as long as the horizon, or there are numbers that aren't finite in them.
        ConfigError: for a number out of range.
    """
    for argument, given in (("horizon", horizon), ("most", most), ("particles", particles)):
        check_whole(f"open_loop_error({argument}=…)", given, 1)
    check_episodes("open_loop_error", episodes)
    found = place_windows(episodes, horizon, most, generator)
    rows = Transitions.cat(episodes)
    dimensions = dimension_names("open_loop_error", names, rows.obs.shape[-1])
    scale = scale_of(rows.obs, rows.obs)
    notes = left_out(scale, dimensions, "the observation")
    if found.places > most:
        notes.append(f"{most} windows were drawn from {found.places}.")
    if isinstance(model, Exact):
        particles = 1
    if baseline_rows is None:
        notes.append(
            "The linear baseline was fitted to the same rows that it is judged by, which favours it beside a model that "
            "was fitted to others."
        )
    real = found.rows.next_obs.double().cpu()  # B x H x S
    off_mean, off_single = torch.empty_like(real), torch.empty_like(real)
    bad = NotFinite("rollouts")
    early = 0
    really_over = found.rows.terminated.cpu()  # B x H

    def report(done: int) -> None:
        if progress is not None:
            progress(f"open-loop error: {done} of {len(found)} windows of {horizon} steps")

    for part, obs, ended in particle_rollouts(model, found, particles, generator, report):
        bad.look(obs, found.episode[part], found.first[part])
        off_mean[part] = obs.mean(0) - real[part]
        off_single[part] = obs[0] - real[part]
        early += int((ended & ~really_over[part]).any(-1).sum())
    first = found.rows.obs[:, 0]  # B x S
    linear = LinearBaseline(rows if baseline_rows is None else baseline_rows).rollout(first, found.rows.action)
    forecasts = {
        MEAN: off_mean,
        SINGLE: off_single,
        NO_CHANGE: first.double().cpu()[:, None] - real,
        LINEAR: linear - real,
    }
    curves = {predictor: _curve(off.abs_(), scale) for predictor, off in forecasts.items()}
    notes += bad.notes(dimensions)
    rounding = not bad.count and within_rounding(off_single[:, 0], found.rows.obs)
    exact = rounding and curves[MEAN].largest <= _GROWN
    if exact:
        notes.append(
            f"Every error is zero to rounding: the largest in {horizon} steps is {curves[MEAN].largest:.1g} standard "
            "deviations."
        )
    elif rounding:
        notes.append(
            f"The first step is exact to rounding, and rounding grows to {curves[MEAN].largest:.1g} standard deviations in "
            f"{horizon} steps."
        )
    return OpenLoopError(
        curves=curves,
        dimensions=dimensions,
        scale=scale,
        windows=len(found),
        particles=particles,
        terminated_early=early / (particles * len(found)),
        not_finite=bad.count,
        exact=exact,
        notes=tuple(notes),
    )


def _curve(error: Tensor, scale: Tensor) -> ErrorCurve:
    """Statistics of absolute errors `B x H x S` over the windows."""
    error = torch.where(error.isfinite(), error, torch.nan)
    total = total_of(error, scale)  # B x H
    both = torch.cat((error, total.unsqueeze(-1)), -1)  # B x H x (S+1)
    known = ~total.isnan()
    largest = float(total[known].max()) if bool(known.any()) else float("nan")
    return ErrorCurve(root_mean_square(both), quantiles(both), (~both.isnan()).sum(0), largest)
