"""`LearningCurves`: groups' curves with bands over their runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mbrl.analysis.result import Result
from mbrl.analysis.runs.run_scores import COLOURS, LINES, MARKERS, Estimate
from mbrl.errors import DataError
from mbrl.training.output import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STATISTIC_WORDS = {"iqm": "interquartile mean", "mean": "mean"}
_AXES = {
    "env_steps": "real environment steps",
    "updates": "updates",
    "epoch": "epoch",
    "time/wall_s": "wall-clock time (s)",
    "eval/return": "evaluation return (reward units)",
    "eval/length": "evaluation episode length (steps)",
    "train/return": "training return (reward units)",
    "train/episode_length": "training episode length (steps)",
}
_SHOWN = 5  # runs of a group up to which each is drawn too


@dataclass(frozen=True)
class Curve:
    """One run's metric.

    Args:
        run: its name.
        x: `T`, increasing: real steps, updates, seconds or epochs.
        y: `T`; NaN where the metric wasn't finite.

    Raises:
        DataError: if there are no points, or x doesn't increase.
    """

    run: str
    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        if self.x.ndim != 1 or self.x.shape != self.y.shape or not len(self.x) or not bool((self.x.diff() > 0).all()):
            raise DataError(
                f"Curve: expected points of {self.run} with increasing x, got {tuple(self.x.shape)} values of x and "
                f"{tuple(self.y.shape)} of y; sort them, and leave out the second of two at one x."
            )

    def at(self, grid: Tensor) -> Tensor:
        """The curve's values on `grid` (`G`), straight between points, NaN outside and beside a NaN."""
        right = torch.searchsorted(self.x.contiguous(), grid).clamp(max=len(self.x) - 1)
        left = (right - 1).clamp(min=0)
        x0, x1, y0, y1 = self.x[left], self.x[right], self.y[left], self.y[right]
        between = y0 + (y1 - y0) * (grid - x0) / (x1 - x0).clamp(min=torch.finfo(grid.dtype).tiny)
        outside = (grid < self.x[0]) | (grid > self.x[-1])
        return torch.where(outside, torch.nan, torch.where(grid == x1, y1, between))


@dataclass(frozen=True)
class Band:
    """A group's curve.

    Attributes:
        x: `G`.
        value: `G`, the statistic over runs; NaN where a run's value isn't finite.
        low: `G`, lower ends of its interval; None with a single run.
        high: `G`, upper ends; None likewise.
        curves: the runs.
        final: the statistic of the runs' last values; None if one of these isn't finite.
    """

    x: Tensor
    value: Tensor
    low: Tensor | None
    high: Tensor | None
    curves: Sequence[Curve]
    final: Estimate | None

    @property
    def last(self) -> list[float]:
        """The last value of each run."""
        return [curve.y[-1].item() for curve in self.curves]

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the shortest and the longest run."""
        ends = [curve.x[-1].item() for curve in self.curves]
        return min(ends), max(ends)


@dataclass(frozen=True)
class LearningCurves(Result):
    """A metric of groups of runs as they learned.

    Attributes:
        groups: by name.
        metric: name of the values, as in the runs' metric lines.
        x_name: name of the horizontal axis, likewise.
        statistic: over runs, `iqm` or `mean`.
        level: of the bands.
    """

    name = "learning_curves"
    title = "Learning curves"

    groups: Mapping[str, Band]
    metric: str
    x_name: str
    statistic: str
    level: float
    notes: Sequence[str] = ()

    def table(self) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {"group": [], self.x_name: [], f"{self.metric} {self.statistic}": [], "low": []}
        columns |= {"high": [], "runs": []}
        for group, band in self.groups.items():
            number = len(band.x)
            ends = (band.low, band.high)
            low, high = ([None] * number if end is None else end.tolist() for end in ends)
            rows = ([group] * number, _whole(band.x), band.value.tolist(), low, high, [len(band.curves)] * number)
            for column, values in zip(columns.values(), rows, strict=True):
                column += values
        return columns

    def summary(self) -> dict[str, Any]:
        """The statistic of the runs' last values, by group."""
        found: dict[str, Any] = {}
        for group, band in self.groups.items():
            final = band.final
            found[group] = {
                "final": None if final is None else final.value,
                "low": None if final is None else final.low,
                "high": None if final is None else final.high,
                "runs": len(band.curves),
                "ends_from": band.ends[0],
                "ends_to": band.ends[1],
            }
        return found

    def lines(self) -> list[str]:
        """The summary as a table of text: group, runs, statistic of the last values with its interval, where runs end."""
        rows = [["group", "runs", f"final {self.statistic.upper() if self.statistic == 'iqm' else self.statistic}"]]
        rows[0] += [f"{100 * self.level:g} % interval", self.x_name]
        for group, band in self.groups.items():
            final, (first, last) = band.final, band.ends
            value, interval = ("undefined", "-") if final is None else (short(final.value), "-")
            if final is not None and final.low is not None and final.high is not None:
                interval = f"[{short(final.low)}, {short(final.high)}]"
            ends = short(first) if first == last else f"{short(first)} to {short(last)}"
            rows.append([group, str(len(band.curves)), value, interval, ends])
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        return ["  ".join(_pad(cell, widths[at], at) for at, cell in enumerate(row)).rstrip() for row in rows]

    def plot(self) -> Figure:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        for at, (group, band) in enumerate(self.groups.items()):
            colour, line = COLOURS[at % len(COLOURS)], LINES[at % len(LINES)]
            number = len(band.curves)
            if 1 < number <= _SHOWN:
                for curve in band.curves:
                    axes.plot(curve.x.tolist(), curve.y.tolist(), line, color=colour, linewidth=0.6, alpha=0.5)
            if band.low is not None and band.high is not None:
                axes.fill_between(
                    band.x.tolist(), band.low.tolist(), band.high.tolist(), color=colour, alpha=0.15, linewidth=0
                )
            axes.plot(
                band.x.tolist(), band.value.tolist(), line, color=colour, linewidth=1.8, marker=MARKERS[at % len(MARKERS)],
                markersize=4, markevery=max(1, len(band.x) // 10),
                label=f"{drawn(group)} ({number} run{'s' * (number > 1)})",
            )  # fmt: skip
        axes.set_xlabel(drawn(_AXES.get(self.x_name, self.x_name)))
        axes.set_ylabel(drawn(_AXES.get(self.metric, self.metric)))
        title = f"{self.title} of {self.metric}"
        if any(band.low is not None for band in self.groups.values()):
            title = f"{_STATISTIC_WORDS[self.statistic].capitalize()} over runs, {100 * self.level:g} % bootstrap band"
            if any(1 < len(band.curves) <= _SHOWN for band in self.groups.values()):
                title += "; thin lines: single runs"
        axes.set_title(drawn(title))
        figure.legend(loc="outside lower center", ncols=2)  # off the curves
        return figure


def _whole(x: Tensor) -> list[Any]:
    values = x.tolist()
    return [int(value) for value in values] if all(value.is_integer() for value in values) else values


def short(value: float) -> str:
    """A number as tables and notes show it."""
    if not math.isfinite(value):
        return str(value)
    if value == round(value) and abs(value) < 1e15:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.4g}"


def _pad(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)
