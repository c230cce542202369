"""The timeline of a search's trials, and their learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from mbrl.analysis.axes import legend_beside, whole_numbers
from mbrl.analysis.result import Result
from mbrl.counted import counted
from mbrl.search.study.outcome import label_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Timeline(Result):
    """The times at which each trial ran.

    Attributes:
        trials: number, outcome, host, and hours since the first began, of its beginning and its end; None while it runs.
    """

    name = "timeline"
    title = "When trials ran"

    trials: Sequence[tuple[int, str, str, float, float | None]]
    notes: Sequence[str] = ()

    def table(self) -> dict[str, list[Any]]:
        names = ("trial", "outcome", "host", "began_h", "ended_h")
        return {name: [trial[i] for trial in self.trials] for i, name in enumerate(names)}

    def summary(self) -> dict[str, Any]:
        ended = [end for *_, end in self.trials if end is not None]
        worked = sum(end - began for *_, began, end in self.trials if end is not None)
        return {
            "hours from first to last": max(ended, default=None),
            "hours of trials": worked,
            "machines": len({host for _, _, host, _, _ in self.trials}),
            "without a result": sum(outcome in ("lost", "error") for _, outcome, *_ in self.trials),
        }

    def in_short(self) -> list[str]:
        found = self.summary()
        if found["hours from first to last"] is None:
            return []
        unit, scale = _unit(found["hours from first to last"])
        worked, lasted = (scale * found[name] for name in ("hours of trials", "hours from first to last"))
        return [f"{worked:.3g} {unit} of trials in {lasted:.3g} {unit} on {counted(found['machines'], 'machine')}."]

    def plot(self) -> Figure:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.0, min(9.0, 1.6 + 0.09 * len(self.trials))), layout="constrained")
        axes = figure.subplots()
        latest = max(begin if end is None else end for *_, begin, end in self.trials)
        unit, scale = _unit(latest)
        looks = {"ok": ("0.5", ""), "pruned": ("0.8", ""), "running": ("white", "...")}
        seen: set[str] = set()
        for number, outcome, _, began, end in self.trials:
            what = outcome if outcome in looks else "lost or error" if outcome in ("lost", "error") else "failed"
            colour, hatch = looks.get(what, ("white", "////" if what == "failed" else ""))
            width = (latest if end is None else end) - began
            label = None if what in seen else what
            axes.barh(
                number,
                scale * width,
                left=scale * began,
                color=colour,
                hatch=hatch,
                edgecolor="black",
                linewidth=0.5,
                label=label,
            )
            seen.add(what)
        axes.set_xlabel(f"{unit} since the first began")
        axes.set_ylabel("trial")
        axes.yaxis.set_major_locator(whole_numbers())
        axes.invert_yaxis()
        axes.set_axisbelow(True)
        legend_beside(axes)
        axes.set_title("When each trial ran, and how it ended")
        return figure


def _unit(hours: float) -> tuple[str, float]:
    """The unit in which times of so many hours are told, and how many of it an hour has."""
    return ("hours", 1.0) if hours >= 2 else ("minutes", 60.0)


@dataclass(frozen=True)
class Curves(Result):
    """Values that trials reported before their end.

    Attributes:
        metric: name of the values.
        curves: by trial, (step, value) in order.
        best: the trial with the best last value.
    """

    name = "curves"
    title = "Curves of the trials"

    metric: str
    curves: dict[int, list[tuple[int, float]]]
    best: int
    notes: Sequence[str] = ()

    def table(self) -> dict[str, list[Any]]:
        rows = [(number, *point) for number, curve in self.curves.items() for point in curve]
        return {name: [row[i] for row in rows] for i, name in enumerate(("trial", "step", "value"))}

    def summary(self) -> dict[str, Any]:
        return {"trials": len(self.curves), "best at the end": self.best, "its last value": self.curves[self.best][-1][1]}

    def plot(self) -> Figure:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.0, 4.0), layout="constrained")
        axes = figure.subplots()
        for number, curve in self.curves.items():
            if number != self.best:
                axes.plot(*zip(*curve, strict=True), color="0.7", linewidth=1)
        label = f"trial {self.best}, the best at its end"
        axes.plot(*zip(*self.curves[self.best], strict=True), "-o", color="black", markersize=3, label=label)
        axes.set_xlabel("step")
        axes.set_ylabel(self.metric)
        legend_beside(axes)
        axes.set_title("What each trial would have counted as at each step")
        return figure


def timeline(study: optuna.Study) -> Timeline | None:
    """Reads when trials ran; None for a study in which none began."""
    began = [trial for trial in study.get_trials(deepcopy=False) if trial.datetime_start is not None]
    if not began:
        return None
    first = min(trial.datetime_start for trial in began if trial.datetime_start is not None)

    def hours(when: Any) -> float | None:
        return None if when is None else float((when - first).total_seconds() / 3600)

    return Timeline(
        [
            (
                trial.number,
                label_of(trial),
                str(trial.user_attrs.get("host", "")),
                hours(trial.datetime_start) or 0.0,
                hours(trial.datetime_complete),
            )
            for trial in began
            if label_of(trial) not in ("surplus", "duplicate")
        ]
    )


def curves(study: optuna.Study, metric: str) -> Curves | None:
    """Reads the reports of trials with a value, in the study's one objective; None if none reported twice."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if _reported(trial) and trial.value is not None]
    if not trials:
        return None
    found = {trial.number: sorted(trial.intermediate_values.items()) for trial in trials}
    choose = max if study.direction == StudyDirection.MAXIMIZE else min
    return Curves(metric, found, choose(found, key=lambda number: found[number][-1][1]))


def _reported(trial: FrozenTrial) -> bool:
    return len(trial.intermediate_values) > 1
