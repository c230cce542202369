"""Methods' scores over runs and tasks in one number each, with its interval (Agarwal et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mbrl.analysis.result import Result
from mbrl.analysis.runs.bootstrap import bootstrap_interval, interquartile_mean
from mbrl.analysis.runs.run_scores import (
    Estimate,
    Scores,
    checked,
    draw_estimate,
    estimate,
    name_rows,
    notes_on_runs,
    plain,
)
from mbrl.training.output import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLES = {"iqm": "interquartile mean", "median": "median over tasks", "mean": "mean", "optimality_gap": "optimality gap"}


@dataclass(frozen=True)
class ScoreStatistics(Result):
    """Aggregate scores of methods.

    Attributes:
        estimates: by method and by statistic (`iqm`, `median`, `mean`, `optimality_gap`).
        runs: by method, over all tasks.
        level: of the intervals.
        unit: what a score is.
    """

    name = "score_statistics"
    title = "Scores over runs and tasks"

    estimates: Mapping[str, Mapping[str, Estimate]]
    runs: Mapping[str, int]
    level: float
    unit: str
    notes: Sequence[str] = ()

    def table(self) -> dict[str, list[Any]]:
        rows = [(method, kind, found) for method, kinds in self.estimates.items() for kind, found in kinds.items()]
        return {
            "method": [method for method, _, _ in rows],
            "statistic": [kind for _, kind, _ in rows],
            self.unit: [found.value for _, _, found in rows],
            "low": [found.low for _, _, found in rows],
            "high": [found.high for _, _, found in rows],
            "runs": [self.runs[method] for method, _, _ in rows],
        }

    def summary(self) -> dict[str, Any]:
        return {
            method: {kind: plain(kinds[kind]) if kind in kinds else None for kind in _TITLES}
            for method, kinds in self.estimates.items()
        }

    def plot(self) -> Figure:
        from matplotlib.figure import Figure

        methods = list(self.estimates)
        kinds = list(next(iter(self.estimates.values())))
        figure = Figure(figsize=(2.4 * len(kinds) + 1.2, 1.4 + 0.35 * len(methods)), layout="constrained")
        for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0], kinds, strict=True):
            for row, method in enumerate(methods):
                draw_estimate(axes, row, self.estimates[method][kind])
            axes.set_title(_TITLES[kind], fontsize=9)
            axes.set_xlabel(f"target − {drawn(self.unit)}" if kind == "optimality_gap" else drawn(self.unit), fontsize=9)
        name_rows(figure.axes[0], [f"{method} ({self.runs[method]} runs)" for method in methods])
        figure.suptitle(f"{drawn(self.title)}, {100 * self.level:g} % bootstrap intervals")
        return figure


def score_statistics(
    scores: Mapping[str, Scores],
    *,
    generator: torch.Generator,
    target: float | None = None,
    resamples: int = 10_000,
    level: float = 0.95,
    unit: str = "score",
) -> ScoreStatistics:
    """Interquartile mean, median, mean and optimality gap of methods, with stratified bootstrap intervals.

    The interquartile mean is over the runs of all tasks together (the middle half); the median and the mean are of the
    tasks' mean scores; the optimality gap is the mean shortfall max(target − score, 0).

    Args:
        scores: by method and task, the same tasks of each method; the number of runs may differ.
        generator: draws the resamples.
        target: the score that counts as enough (1 for scores normalised by an expert's); None leaves the gap out.
        resamples: see `bootstrap_interval`.
        level: see `bootstrap_interval`.
        unit: what a score is, for tables and plots.

    Raises:
        DataError: if there are no scores, one isn't finite, or methods have different tasks.
    """
    known = checked(scores)

    def iqm(tasks: Sequence[Tensor]) -> Tensor:
        return interquartile_mean(torch.cat(list(tasks), -1))

    def median(tasks: Sequence[Tensor]) -> Tensor:
        return torch.stack([task.mean(-1) for task in tasks], -1).quantile(0.5, -1)

    def mean(tasks: Sequence[Tensor]) -> Tensor:
        return torch.stack([task.mean(-1) for task in tasks], -1).mean(-1)

    kinds = {"iqm": iqm, "median": median, "mean": mean}
    notes = notes_on_runs(known)
    if target is None:
        notes.append("The optimality gap isn't applicable: no target score was given.")
    else:
        kinds["optimality_gap"] = lambda tasks: mean([(target - task).clamp(min=0) for task in tasks])
    estimates: dict[str, dict[str, Estimate]] = {}
    for method, tasks in known.items():
        runs = list(tasks.values())
        estimates[method] = {}
        for kind, statistic in kinds.items():
            interval = bootstrap_interval(statistic, runs, generator=generator, resamples=resamples, level=level)
            estimates[method][kind] = estimate(statistic(runs), interval)
    if any(len({len(runs) for runs in tasks.values()}) > 1 for tasks in known.values()):
        notes.append("Tasks have different numbers of runs: those with more weigh more in the interquartile mean.")
    counts = {method: sum(map(len, tasks.values())) for method, tasks in known.items()}
    return ScoreStatistics(estimates, counts, level, unit, notes)
