"""Scores of several runs in numbers that can be trusted: aggregates with intervals, who is better, performance profiles.

All take scores as `{method: {task: scores of its runs}}` and follow Agarwal et al. (2021, arXiv 2108.13264). Over more than
one task scores must be in one unit first: `normalized_scores`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from mbrl.arguments import check_argument
from mbrl.errors import DataError
from mbrl.training.output import drawn

Scores: TypeAlias = Mapping[str, Sequence[float] | Tensor]  # task → a score of each run
FEW = 5  # runs a task below which a note says that intervals are too narrow

# Colours, lines and markers that differ in grey too; five and four, so that twenty combinations are distinct.
COLOURS = ("C0", "C1", "C2", "C3", "C4")  # of the one style
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v")


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
                f"expected references of {task} that differ, got {references.get(task, 'none')}; give a random policy's and "
                "an expert's."
            )
        found[task] = (torch.as_tensor(values, dtype=torch.float64) - low) / (high - low)
    return found


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: the statistic of the runs there are.
        low: lower end of its bootstrap interval; None where a task has a single run.
        high: upper end; None likewise.
    """

    value: float
    low: float | None
    high: float | None


def estimate(value: Tensor, interval: tuple[Tensor, Tensor] | None) -> Estimate:
    """An `Estimate` from tensors without dims."""
    low, high = (None, None) if interval is None else (end.item() for end in interval)
    return Estimate(value.item(), low, high)


def plain(found: Estimate) -> dict[str, float | None]:
    """An estimate as plain data."""
    return {"value": found.value, "low": found.low, "high": found.high}


def checked(scores: Mapping[str, Scores]) -> dict[str, dict[str, Tensor]]:
    """Scores by method and task, float64, every method with its tasks in the same order.

    Raises:
        DataError: if there are no scores, one isn't finite, or methods have different tasks.
    """
    if not scores:
        raise DataError("expected scores of at least one method, got none; give {method: {task: scores of its runs}}.")
    known: dict[str, dict[str, Tensor]] = {}
    first: str | None = None
    for method, tasks in scores.items():
        first = method if first is None else first
        check_argument(f"scores of {method}", tasks, Mapping)
        if not tasks or set(tasks) != set(scores[first]):
            raise DataError(
                f"expected the same tasks of all, got {sorted(scores[first])} of {first} and {sorted(tasks)} of {method}."
            )
        known[method] = {}
        for task in scores[first]:  # one order of tasks, so that pairs match
            runs = torch.as_tensor(tasks[task], dtype=torch.float64).cpu()
            if runs.ndim != 1 or not len(runs):
                raise DataError(f"expected a score per run of {method} on {task}, got shape {tuple(runs.shape)}.")
            wrong = (~runs.isfinite()).nonzero()[:, 0].tolist()
            if wrong:
                raise DataError(
                    f"expected finite scores of {method} on {task}, got {runs[wrong[0]].item()} of run {wrong[0]}; say "
                    "what a run that failed scored (such as the lowest possible), since leaving it out flatters the method."
                )
            known[method][task] = runs
    return known


def notes_on_runs(known: Mapping[str, Mapping[str, Tensor]]) -> list[str]:
    """Notes on intervals that aren't there, or that few runs make too narrow."""
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


def draw_estimate(axes: Any, row: int, found: Estimate) -> None:
    """A bar for the interval with a tick at the value."""
    if found.low is not None and found.high is not None:
        axes.plot([found.low, found.high], [row, row], color="0.6", linewidth=6, solid_capstyle="butt")
    axes.plot([found.value], [row], "|", color="black", markersize=11, markeredgewidth=2)


def name_rows(axes: Any, names: Sequence[str]) -> None:
    """The rows' names beside the axis, the first on top."""
    axes.set_yticks(range(len(names)), [drawn(name) for name in names], fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)  # the first on top
