"""`Improvement`: the probability that one method scores higher than another (Agarwal et al. 2021)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mbrl.analysis.result import Result
from mbrl.analysis.runs.bootstrap import bootstrap_interval
from mbrl.analysis.runs.run_scores import (
    FEW,
    Estimate,
    Scores,
    checked,
    draw_estimate,
    estimate,
    name_rows,
    notes_on_runs,
    plain,
)
from mbrl.errors import DataError
from mbrl.training.output import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Improvement(Result):
    """Probabilities that a run of one method scores higher than one of another.

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
        return {f"{first} > {second}": plain(found) for (first, second), found in self.estimates.items()}

    def plot(self) -> Figure:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 1.3 + 0.35 * len(self.estimates)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0.5, color="0.4", linestyle="--", linewidth=1)
        for row, found in enumerate(self.estimates.values()):
            draw_estimate(axes, row, found)
        name_rows(axes, [f"{first} > {second}" for first, second in self.estimates])
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel(f"probability of improvement, {100 * self.level:g} % bootstrap interval (0.5: no difference)")
        axes.set_title(drawn(self.title))
        return figure


def probability_of_improvement(
    scores: Mapping[str, Scores], *, generator: torch.Generator, resamples: int = 10_000, level: float = 0.95
) -> Improvement:
    """P(X > Y) of every two methods, in the order given: over the pairs of their runs (Mann–Whitney), mean over tasks.

    Ties count ½, so P(Y > X) = 1 − P(X > Y). An interval without 0.5 says that one is better, not how much; of few runs it
    says so too often, as `notes` then tells.

    Args:
        scores: by method and task, the same tasks of each method; the number of runs may differ.
        generator: draws the resamples, the runs of X and of Y independently.
        resamples: see `bootstrap_interval`.
        level: see `bootstrap_interval`.

    Raises:
        DataError: if there are fewer than two methods, a score isn't finite, or methods have different tasks.
    """
    known = checked(scores)
    if len(known) < 2:
        raise DataError(f"probability_of_improvement: expected two methods or more, got only {next(iter(known))}.")

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
    counts = [len(runs) for tasks in known.values() for runs in tasks.values()]
    return Improvement(estimates, level, [*notes_on_runs(known), *false_findings(counts)])


def false_findings(runs: Iterable[int]) -> list[str]:
    """The note on how often the interval finds a difference between equal methods, if any of them has few runs.

    Shares are of all orders in which the runs of two methods can come on one task, each as likely as another.

    Args:
        runs: numbers of them; single ones have no interval.
    """
    fewest = min((number for number in runs if number > 1), default=FEW + 1)
    if fewest > FEW:
        return []
    return [
        f"With {fewest} runs an interval of P(X > Y) without 0.5 is weak evidence: of equal methods, 33 % of the 95 % "
        "intervals lie so with 2 runs of each, 20 % with 3, 6 % with 4 and 10 % with 5."
    ]
