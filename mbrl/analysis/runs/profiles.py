"""Performance profiles: which share of a method's runs scores above each threshold (Agarwal et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mbrl.analysis.axes import legend_beside
from mbrl.analysis.result import Result
from mbrl.analysis.runs.bootstrap import bootstrap_interval
from mbrl.analysis.runs.run_scores import (
    COLOURS,
    LINES,
    Scores,
    checked,
    notes_on_runs,
)
from mbrl.errors import DataError
from mbrl.training.output import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class PerformanceProfiles(Result):
    """Shares of runs that score above each threshold.

    Attributes:
        thresholds: `B`.
        shares: by method, `B`.
        bands: by method, lower and upper ends, `B` each; None where a task has a single run.
        level: of the bands.
        unit: what a score is.
    """

    name = "performance_profiles"
    title = "Share of runs above each score"

    thresholds: Tensor
    shares: Mapping[str, Tensor]
    bands: Mapping[str, tuple[Tensor, Tensor] | None]
    level: float
    unit: str
    notes: Sequence[str] = ()

    def table(self) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {"method": [], self.unit: [], "share_above": [], "low": [], "high": []}
        number = len(self.thresholds)
        for method, shares in self.shares.items():
            band = self.bands[method]
            columns["method"] += [method] * number
            columns[self.unit] += self.thresholds.tolist()
            columns["share_above"] += shares.tolist()
            columns["low"] += [None] * number if band is None else band[0].tolist()
            columns["high"] += [None] * number if band is None else band[1].tolist()
        return columns

    def summary(self) -> dict[str, Any]:
        """The scores that 75, 50 and 25 % of the runs exceed, on the grid of thresholds, by method."""
        found: dict[str, Any] = {}
        for method, shares in self.shares.items():
            found[method] = {}
            for share in (0.75, 0.5, 0.25):
                above = self.thresholds[shares >= share]
                found[method][f"exceeded_by_{100 * share:g}_percent"] = above.max().item() if len(above) else None
        return found

    def plot(self) -> Figure:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        x = self.thresholds.tolist()
        for at, (method, shares) in enumerate(self.shares.items()):
            colour = COLOURS[at % len(COLOURS)]
            axes.step(x, shares.tolist(), where="post", color=colour, linestyle=LINES[at % len(LINES)], label=drawn(method))
            band = self.bands[method]
            if band is not None:
                axes.fill_between(x, band[0].tolist(), band[1].tolist(), step="post", color=colour, alpha=0.15, linewidth=0)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel(drawn(self.unit))
        axes.set_ylabel(f"share of runs above it, {100 * self.level:g} % band")
        axes.set_title(drawn(self.title))
        legend_beside(axes)
        return figure


def performance_profiles(
    scores: Mapping[str, Scores],
    *,
    generator: torch.Generator,
    thresholds: Sequence[float] | Tensor | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    unit: str = "score",
) -> PerformanceProfiles:
    """Share of runs that score above a threshold, mean over tasks, with pointwise bootstrap bands.

    Where one curve lies above another everywhere, that method is better whatever score one asks for.

    Args:
        scores: by method and task, the same tasks of each method; the number of runs may differ.
        generator: draws the resamples.
        thresholds: increasing; by default 201 from the lowest score to the highest.
        resamples: see `bootstrap_interval`.
        level: see `bootstrap_interval`.
        unit: what a score is, for tables and plots.

    Raises:
        DataError: if there are no scores, one isn't finite, methods have different tasks, or thresholds don't increase.
    """
    known = checked(scores)
    everything = torch.cat([runs for tasks in known.values() for runs in tasks.values()])
    if thresholds is None:
        at = torch.linspace(everything.min().item(), everything.max().item(), 201, dtype=torch.float64)
    else:
        at = torch.as_tensor(thresholds, dtype=torch.float64)
        if at.ndim != 1 or not len(at) or not bool((at.diff() > 0).all()):
            raise DataError("performance_profiles(thresholds=…): expected increasing numbers, got others; sort them.")

    def above(tasks: Sequence[Tensor]) -> Tensor:
        return torch.stack([task.mean(-1) for task in tasks], -1).mean(-1)

    shares, bands = {}, {}
    for method, tasks in known.items():
        strata = [(runs > at[:, None]).double() for runs in tasks.values()]  # B x R each
        shares[method] = above(strata)
        bands[method] = bootstrap_interval(above, strata, generator=generator, resamples=resamples, level=level)
    return PerformanceProfiles(at, shares, bands, level, unit, notes_on_runs(known))
