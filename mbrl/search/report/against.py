"""Comparison of a search with another of the same problem, such as a random one of the same budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from mbrl.analysis.axes import legend_beside, whole_numbers
from mbrl.analysis.result import Result
from mbrl.analysis.runs.run_scores import LINES
from mbrl.errors import DataError
from mbrl.search.report.search_history import best_so_far
from mbrl.search.study.outcome import is_settled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("C0", "C1")


@dataclass(frozen=True)
class Against(Result):
    """The observed values of two searches.

    Attributes:
        metric: name of the values.
        maximize: whether more of it is better.
        values: by study, in order of trials; None for a failed one.
        best: by study, the best value up to each trial.
    """

    name = "against"
    title = "Beside another search"

    metric: str
    maximize: bool
    values: Mapping[str, Sequence[float | None]]
    best: Mapping[str, Sequence[float | None]]
    notes: Sequence[str] = ()

    def table(self) -> dict[str, list[Any]]:
        rows = [
            (name, order, value, best)
            for name, values in self.values.items()
            for order, (value, best) in enumerate(zip(values, self.best[name], strict=True), 1)
        ]
        return {column: [row[i] for row in rows] for i, column in enumerate(("study", "order", "value", "best_observed"))}

    def summary(self) -> dict[str, Any]:
        found = {}
        for name, values in self.values.items():
            ordered = sorted(self._counted(values))
            middle = (
                ordered[len(ordered) // 2]
                if len(ordered) % 2
                else (ordered[len(ordered) // 2 - 1] / 2 + ordered[len(ordered) // 2] / 2)
            )
            found[name] = {
                "trials": len(values),
                "failed": sum(value is None for value in values),
                "median": middle,
                "best observed": self.best[name][-1],
            }
        return found

    def in_short(self) -> list[str]:
        return [
            f"{name}: {said['trials']} trials, median {said['median']:.4g}, best observed {said['best observed']:.4g}"
            + (f", {said['failed']} failed." if said["failed"] else ".")
            for name, said in self.summary().items()
        ]

    def plot(self) -> Figure:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.0, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        for (name, values), colour, line in zip(self.values.items(), _COLOURS, LINES, strict=False):
            label = f"{name} ({len(values)} trials)"
            seen = [(order, best) for order, best in enumerate(self.best[name], 1) if best is not None]
            right.step(*zip(*seen, strict=True), where="post", color=colour, linestyle=line, label=label)
            ordered = sorted(value for value in self._counted(values) if math.isfinite(value))
            below = sum(value == -math.inf for value in self._counted(values))
            shares = [(below + order) / len(values) for order in range(1, len(ordered) + 1)]
            left.step(
                [ordered[0], *ordered],
                [below / len(values), *shares],
                where="post",
                color=colour,
                linestyle=line,
                label=label,
            )
        left.set_xlabel(self.metric)
        left.locator_params(axis="x", nbins=5)  # labels such as −1460 need room
        left.set_ylabel("share of trials with at most that")
        left.set_ylim(-0.02, 1.02)
        right.set_xlabel("trials")
        right.xaxis.set_major_locator(whole_numbers())
        right.set_ylabel(f"best observed {self.metric}")
        legend_beside(left)
        figure.suptitle(f"All trials, and the best so far; {'more' if self.maximize else 'less'} is better")
        return figure

    def _counted(self, values: Sequence[float | None]) -> list[float]:
        """The values, failed ones as worse than all."""
        worst = -math.inf if self.maximize else math.inf
        return [worst if value is None else value for value in values]


def against(study: optuna.Study, other: optuna.Study, *, metric: str = "value") -> Against:
    """Compares the observed values of two studies with one and the same objective.

    Args:
        study: with a trial that has a value.
        other: another such study, of another name.
        metric: name of the values, for labels.

    Raises:
        DataError: if the studies have other objectives, one has no value, or they are the same.
    """
    if study.directions != other.directions or len(study.directions) > 1:
        raise DataError(
            f"against: expected two studies with one and the same objective, got {_said(study)} of {study.study_name} and "
            f"{_said(other)} of {other.study_name}; give another study."
        )
    if study.study_name == other.study_name:
        raise DataError(f"against: expected another study, got {study.study_name} twice; name another.")
    trials = {one.study_name: _trials(one) for one in (study, other)}
    counts = [len(ones) for ones in trials.values()]
    notes = ["Best observed values are single runs and have luck in them; compare confirmed configurations too."]
    if counts[0] != counts[1]:
        notes.append(f"The searches have {counts[0]} and {counts[1]} trials: only equal budgets compare.")
    return Against(
        metric,
        study.direction == StudyDirection.MAXIMIZE,
        {name: [trial.value for trial in ones] for name, ones in trials.items()},
        {name: best_so_far(ones, study.direction) for name, ones in trials.items()},
        notes,
    )


def _trials(study: optuna.Study) -> list[FrozenTrial]:
    found = [trial for trial in study.get_trials(deepcopy=False) if is_settled(trial)]
    if all(trial.value is None for trial in found):
        raise DataError(f"against: expected a study with a value, got {study.study_name}, which has none; run some trials.")
    return found


def _said(study: optuna.Study) -> str:
    return ", ".join(direction.name.lower() for direction in study.directions)
