"""Scores of several runs in numbers that can be trusted: aggregates with intervals, who is better, performance profiles.

All take scores as `{method: {task: scores of its runs}}` and follow Agarwal et al. (2021, arXiv 2108.13264). Over more than
one task scores must be in one unit first: `normalized_scores`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from mbrl.analysis.bootstrap import bootstrap_interval, interquartile_mean
from mbrl.analysis.result import Result
from mbrl.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Scores: TypeAlias = Mapping[str, Sequence[float] | Tensor]  # task → a score of each run
FEW = 5  # runs a task below which a note says that intervals are too narrow

# Colours, lines and markers that differ in grey too; five and four, so that twenty combinations are distinct.
COLOURS = ("black", "#0072B2", "#D55E00", "#009E73", "#CC79A7")
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v")

_TITLES = {"iqm": "interquartile mean", "median": "median over tasks", "mean": "mean", "optimality_gap": "optimality gap"}


def normalized_scores(scores: Scores, references: Mapping[str, tuple[float, float]]) -> dict[str, Tensor]:
    """Scores as shares of the way from one reference to another: (score − low) / (high − low).

    Args:
        scores: by task.
        references: by task the score that becomes 0 (a random policy's) and the one that becomes 1 (an expert's).

    Raises:
        DataError: if a task has no references, or two equal ones.
    """
    found = {}
    for task, values in scores.items():
        low, high = references.get(task, (0.0, 0.0))
        if low == high:
            raise DataError(
                f"normalized_scores: expected two different reference scores of {task}, got "
                f"{references.get(task, 'none')}; give a random policy's and an expert's."
            )
        found[task] = (torch.as_tensor(values, dtype=torch.float64) - low) / (high - low)
    return found


# aggregates --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: the statistic of the runs there are.
        low, high: its bootstrap interval; None where a task has a single run.
    """

    value: float
    low: float | None
    high: float | None


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
            method: {kind: _plain(kinds[kind]) if kind in kinds else None for kind in _TITLES}
            for method, kinds in self.estimates.items()
        }

    def plot(self) -> Figure:
        from matplotlib.figure import Figure

        methods = list(self.estimates)
        kinds = list(next(iter(self.estimates.values())))
        figure = Figure(figsize=(2.4 * len(kinds) + 1.2, 1.4 + 0.35 * len(methods)), layout="constrained")
        for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0], kinds, strict=True):
            for row, method in enumerate(methods):
                _draw_estimate(axes, row, self.estimates[method][kind])
            axes.set_title(_TITLES[kind], fontsize=9)
            axes.set_xlabel(f"target − {self.unit}" if kind == "optimality_gap" else self.unit, fontsize=9)
            axes.grid(axis="x", color="0.9")
        _name_rows(figure.axes[0], [f"{method} ({self.runs[method]} runs)" for method in methods])
        figure.suptitle(f"{self.title}, {100 * self.level:g} % bootstrap intervals", fontsize=10)
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
        resamples, level: see `bootstrap_interval`.
        unit: what a score is, for tables and plots.

    Raises:
        DataError: if there are no scores, one isn't finite, or methods have different tasks.
    """
    known = _checked(scores)

    def iqm(tasks: Sequence[Tensor]) -> Tensor:
        return interquartile_mean(torch.cat(list(tasks), -1))

    def median(tasks: Sequence[Tensor]) -> Tensor:
        return torch.stack([task.mean(-1) for task in tasks], -1).quantile(0.5, -1)

    def mean(tasks: Sequence[Tensor]) -> Tensor:
        return torch.stack([task.mean(-1) for task in tasks], -1).mean(-1)

    kinds = {"iqm": iqm, "median": median, "mean": mean}
    notes = _notes(known)
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


# who is better -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Improvement(Result):
    """How probable it is that a run of one method scores higher than one of another.

    Attributes:
        estimates: by pair (X, Y): P(X > Y).
        level: of the intervals.
    """

    name = "probability_of_improvement"
    title = "Probability that a run of the first scores higher"

    estimates: Mapping[tuple[str, str], Estimate]
    level: float
    notes: Sequence[str] = ()

    def table(self) -> dict[str, list[Any]]:
        return {
            "first": [first for first, _ in self.estimates],
            "second": [second for _, second in self.estimates],
            "probability": [found.value for found in self.estimates.values()],
            "low": [found.low for found in self.estimates.values()],
            "high": [found.high for found in self.estimates.values()],
        }

    def summary(self) -> dict[str, Any]:
        return {f"{first} > {second}": _plain(found) for (first, second), found in self.estimates.items()}

    def plot(self) -> Figure:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 1.3 + 0.35 * len(self.estimates)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0.5, color="0.4", linestyle="--", linewidth=1)
        for row, found in enumerate(self.estimates.values()):
            _draw_estimate(axes, row, found)
        _name_rows(axes, [f"{first} > {second}" for first, second in self.estimates])
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel(f"probability of improvement, {100 * self.level:g} % bootstrap interval (0.5: no difference)")
        axes.grid(axis="x", color="0.9")
        axes.set_title(self.title, fontsize=10)
        return figure


def probability_of_improvement(
    scores: Mapping[str, Scores], *, generator: torch.Generator, resamples: int = 10_000, level: float = 0.95
) -> Improvement:
    """P(X > Y) of every two methods, in the order given: over the pairs of their runs (Mann–Whitney), mean over tasks.

    Ties count ½, so P(Y > X) = 1 − P(X > Y). An interval without 0.5 says that one is better, not how much.

    Args:
        scores: by method and task, the same tasks of each method; the number of runs may differ.
        generator: draws the resamples, the runs of X and of Y independently.
        resamples, level: see `bootstrap_interval`.

    Raises:
        DataError: if there are fewer than two methods, a score isn't finite, or methods have different tasks.
    """
    known = _checked(scores)
    if len(known) < 2:
        raise DataError(
            f"probability_of_improvement: expected two methods or more, got only {next(iter(known))}; give another."
        )

    def better(tasks: Sequence[Tensor]) -> Tensor:
        half = len(tasks) // 2
        found = []
        for first, second in zip(tasks[:half], tasks[half:], strict=True):
            difference = (first[..., :, None] - second[..., None, :]).sign()
            found.append((0.5 + 0.5 * difference).mean((-2, -1)))
        return torch.stack(found, -1).mean(-1)

    estimates = {}
    for first, second in itertools.combinations(known, 2):
        runs = [*known[first].values(), *known[second].values()]
        interval = bootstrap_interval(better, runs, generator=generator, resamples=resamples, level=level)
        estimates[first, second] = estimate(better(runs), interval)
    return Improvement(estimates, level, _notes(known))


# performance profiles ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PerformanceProfiles(Result):
    """Which share of runs scores above each threshold.

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
        """By method the scores that 75, 50 and 25 % of the runs exceed, on the grid of thresholds."""
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
            axes.step(x, shares.tolist(), where="post", color=colour, linestyle=LINES[at % len(LINES)], label=method)
            band = self.bands[method]
            if band is not None:
                axes.fill_between(x, band[0].tolist(), band[1].tolist(), step="post", color=colour, alpha=0.15, linewidth=0)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel(self.unit)
        axes.set_ylabel(f"share of runs above it, {100 * self.level:g} % band")
        axes.set_title(self.title, fontsize=10)
        axes.grid(color="0.9")
        axes.legend(frameon=False, fontsize=8)
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
        resamples, level: see `bootstrap_interval`.
        unit: what a score is, for tables and plots.

    Raises:
        DataError: if there are no scores, one isn't finite, methods have different tasks, or thresholds don't increase.
    """
    known = _checked(scores)
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
    return PerformanceProfiles(at, shares, bands, level, unit, _notes(known))


# shared ------------------------------------------------------------------------------------------------------------------


def estimate(value: Tensor, interval: tuple[Tensor, Tensor] | None) -> Estimate:
    """An `Estimate` from tensors without dims."""
    low, high = (None, None) if interval is None else (end.item() for end in interval)
    return Estimate(value.item(), low, high)


def _plain(found: Estimate) -> dict[str, float | None]:
    return {"value": found.value, "low": found.low, "high": found.high}


def _checked(scores: Mapping[str, Scores]) -> dict[str, dict[str, Tensor]]:
    if not scores:
        raise DataError("expected scores of at least one method, got none; give {method: {task: scores of its runs}}.")
    known: dict[str, dict[str, Tensor]] = {}
    first: str | None = None
    for method, tasks in scores.items():
        first = method if first is None else first
        if not tasks or set(tasks) != set(scores[first]):
            raise DataError(
                f"expected scores of the same tasks for every method, got {sorted(scores[first])} of {first} and "
                f"{sorted(tasks)} of {method}; leave out what not all have."
            )
        known[method] = {}
        for task in scores[first]:  # one order of tasks, so that pairs match
            runs = torch.as_tensor(tasks[task], dtype=torch.float64).cpu()
            if runs.ndim != 1 or not len(runs):
                raise DataError(
                    f"expected a score of each run of {method} on {task}, got a tensor of shape {tuple(runs.shape)}; give R "
                    "numbers."
                )
            wrong = (~runs.isfinite()).nonzero()[:, 0].tolist()
            if wrong:
                raise DataError(
                    f"expected finite scores of {method} on {task}, got {runs[wrong[0]].item()} of run {wrong[0]}; say "
                    "what a run that failed scored (such as the lowest possible), since leaving it out flatters the method."
                )
            known[method][task] = runs
    return known


def _notes(known: Mapping[str, Mapping[str, Tensor]]) -> list[str]:
    single = [f"{method} on {task}" for method, tasks in known.items() for task, runs in tasks.items() if len(runs) == 1]
    fewest = min(len(runs) for tasks in known.values() for runs in tasks.values())
    notes = []
    if single:
        notes.append(f"No interval: only one run of {', '.join(single)}.")
    return notes + few_runs(fewest)


def few_runs(fewest: int) -> list[str]:
    """The note on intervals of few runs, if it applies."""
    if 1 < fewest < FEW:
        return [f"Bootstrap intervals of {fewest} runs are too narrow: read them as a hint."]
    return []


def _draw_estimate(axes: Any, row: int, found: Estimate) -> None:
    if found.low is not None and found.high is not None:
        axes.plot([found.low, found.high], [row, row], color="0.6", linewidth=6, solid_capstyle="butt")
    axes.plot([found.value], [row], "|", color="black", markersize=11, markeredgewidth=2)


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)  # the first on top
