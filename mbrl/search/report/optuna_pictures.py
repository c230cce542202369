"""Optuna's own plots of a study, as PNG files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from mbrl.analysis.html import png
from mbrl.search.report.names import renamed

_MOST = 8  # parameters in one picture: the most important ones


@dataclass(frozen=True)
class Picture:
    """A plot, or why there is none.

    Attributes:
        name: of the file.
        title: for people.
        image: PNG, None of one that was left out.
        reason: why it was.
    """

    name: str
    title: str
    image: bytes | None
    reason: str = ""


def optuna_pictures(study: optuna.Study, metrics: Sequence[str]) -> list[Picture]:
    """The plots that a study has enough trials for.

    Args:
        study: with a trial that came to something.
        metrics: of the objectives, for labels.
    """
    from optuna.visualization import matplotlib as plots

    with _as_before():
        short = renamed(study)
        complete = short.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        pictures = []
        if len(metrics) > 1:
            pictures += [
                _draw("pareto_front", "What no other trial beats", lambda: _front(plots, short, metrics), complete),
                _draw(
                    "hypervolume", "Hypervolume", lambda: plots.plot_hypervolume_history(short, _reference(short)), complete
                ),
            ]
        for number, metric in enumerate(metrics):
            pictures += _of_one(plots, short, complete, number, metric, several=len(metrics) > 1)
        if len(metrics) == 1:
            curves = [trial for trial in short.get_trials(deepcopy=False) if len(trial.intermediate_values) > 1]
            pictures.append(
                _draw(
                    "curves", "Curves of the trials", lambda: plots.plot_intermediate_values(short), curves, "with a curve"
                )
            )
        ended = [trial for trial in short.get_trials(deepcopy=False) if trial.datetime_start is not None]
        pictures.append(_draw("timeline", "Workers and failures", lambda: plots.plot_timeline(short), ended, "that began"))
    return pictures


def _of_one(
    plots: Any, study: optuna.Study, complete: Sequence[FrozenTrial], number: int, metric: str, *, several: bool
) -> list[Picture]:
    """The plots of one objective."""
    options: dict[str, Any] = {"target": lambda trial: trial.values[number], "target_name": metric}
    where, of = (f"_{number}", f" of {metric}") if several else ("", "")
    varied = _varied(complete)
    always = [name for name in varied if all(name in trial.params for trial in complete)]
    important = list(_importances(study, always, options)) if len(complete) > 1 and always else []
    first = [*important, *(name for name in varied if name not in important)][:_MOST]
    differ = "two trials that differ"
    draws: list[tuple[str, str, Callable[[], Any], bool, str]] = [
        (
            "importances", "Which parameters mattered (PED-ANOVA, of those that always count)",
            lambda: plots.plot_param_importances(study, params=always, **options), bool(important), differ,
        ),
        ("slice", "Trials by parameter", lambda: plots.plot_slice(study, first, **options), bool(first), differ),
        (
            "parallel", "Trials as lines", lambda: plots.plot_parallel_coordinate(study, always, **options),
            len(always) > 1, "two parameters that always count",
        ),
        (
            "contour", "The two most important parameters", lambda: plots.plot_contour(study, important[:2], **options),
            len(important) > 1, "two parameters that always count",
        ),
        (
            "rank", "Ranks by the two most important parameters", lambda: plots.plot_rank(study, important[:2], **options),
            len(important) > 1, "two parameters that always count",
        ),
    ]  # fmt: skip
    return [
        _draw(name + where, title + of, draw, complete)
        if enough
        else Picture(name + where, title + of, None, f"it needs {what}")
        for name, title, draw, enough, what in draws
    ]


def _draw(name: str, title: str, draw: Callable[[], Any], trials: Sequence[Any], what: str = "that finished") -> Picture:
    from matplotlib import pyplot as plt

    if not trials:
        return Picture(name, title, None, f"it needs a trial {what}")
    drawn = draw()
    axes = drawn.flat[0] if isinstance(drawn, np.ndarray) else drawn
    figure = axes.figure
    try:
        return Picture(name, title, png(figure))
    finally:
        plt.close(figure)


@contextmanager
def _as_before() -> Iterator[None]:
    """Keeps Optuna's style, its remarks on unfinished interfaces and its log to itself."""
    import matplotlib as mpl

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with mpl.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


def _varied(trials: Sequence[FrozenTrial]) -> list[str]:
    """Parameters with more than one value among trials."""
    values: dict[str, set[Any]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(value)
    return [name for name, seen in values.items() if len(seen) > 1]


def _importances(study: optuna.Study, names: Sequence[str], options: dict[str, Any]) -> dict[str, float]:
    return optuna.importance.get_param_importances(study, params=list(names), target=options["target"])


def _front(plots: Any, study: optuna.Study, metrics: Sequence[str]) -> Any:
    return plots.plot_pareto_front(study, target_names=list(metrics))


def _reference(study: optuna.Study) -> list[float]:
    """A point that is worse than every trial in every objective, by a tenth of the range."""
    values = np.array([trial.values for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))])
    low, high = values.min(0), values.max(0)
    room = 0.1 * np.maximum(high - low, 1e-12)
    signs = [direction == optuna.study.StudyDirection.MAXIMIZE for direction in study.directions]
    return [float(low[i] - room[i] if up else high[i] + room[i]) for i, up in enumerate(signs)]
