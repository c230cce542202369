"""Optuna's own plots of a study, as PNG files: those of them that can be read in grey."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from mbrl.search.report.names import renamed

_DPI = 110
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
                _draw("pareto_front", "What no other trial beats", lambda: _front(short, metrics), complete),
                _draw(
                    "hypervolume", "Hypervolume", lambda: plots.plot_hypervolume_history(short, _reference(short)), complete
                ),
            ]
        for number, metric in enumerate(metrics):
            pictures += _of_one(plots, short, complete, number, metric, several=len(metrics) > 1)
    return pictures


def _of_one(
    plots: Any, study: optuna.Study, complete: Sequence[FrozenTrial], number: int, metric: str, *, several: bool
) -> list[Picture]:
    """The plots of one objective."""
    options: dict[str, Any] = {"target": lambda trial: trial.values[number], "target_name": metric}
    # importances are of what is good: with a target, of a low one; without one, of what the study wants
    more = study.directions[number] == optuna.study.StudyDirection.MAXIMIZE
    good: Callable[[FrozenTrial], float] = lambda trial: -trial.values[number] if more else trial.values[number]  # noqa: E731
    target = good if several else None
    where, of = (f"_{number}", f" of {metric}") if several else ("", "")
    varied = _varied(complete)
    always = [name for name in varied if all(name in trial.params for trial in complete)]
    important = (
        list(optuna.importance.get_param_importances(study, params=always, target=target))
        if len(complete) > 1 and always
        else []
    )
    first = [*important, *(name for name in varied if name not in important)][:_MOST]
    differ = "two trials that differ"
    draws: list[tuple[str, str, Callable[[], Any], bool, str]] = [
        (
            "importances", "Which parameters mattered (PED-ANOVA)",
            lambda: plots.plot_param_importances(study, params=always, target=target, target_name=metric),
            bool(important), differ,
        ),
        (
            "parallel", "Trials as lines", lambda: plots.plot_parallel_coordinate(study, always, **options),
            len(always) > 1, "two parameters that always count",
        ),
        (
            "contour", "The two most important parameters", lambda: plots.plot_contour(study, important[:2], **options),
            len(important) > 1, "two parameters that always count",
        ),
    ]  # fmt: skip
    if several:  # of one objective the model's effects show the trials too
        draws.append(
            ("slice", "Trials by parameter", lambda: plots.plot_slice(study, first, **options), bool(first), differ)
        )
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
    if name.startswith("parallel"):
        figure.set_size_inches(11, 5)  # an axis for each parameter
    try:
        return Picture(name, title, _png(figure))
    finally:
        plt.close(figure)


def _png(figure: Any) -> bytes:
    """As a PNG file, with labels that stand beyond the figure's edge."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI, bbox_inches="tight", metadata={"Software": None})
    return file.getvalue()


@contextmanager
def _as_before() -> Iterator[None]:
    """Keeps Optuna's style, its remarks on unfinished interfaces and its log to itself."""
    import matplotlib as mpl

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with mpl.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # that importances are of low targets, which is what they are given
            warnings.filterwarnings(
                "ignore", "PedAnovaImportanceEvaluator computes the importances of params to achieve low"
            )
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


def _front(study: optuna.Study, metrics: Sequence[str]) -> Any:
    """Ours: in grey the front of Optuna's can't be told from the other trials."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5.5, 4.5))
    best = {trial.number for trial in study.best_trials}
    for on_front, look, label in ((False, "o", "beaten"), (True, "s", "not beaten")):
        values = [
            trial.values
            for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if (trial.number in best) is on_front
        ]
        face = "black" if on_front else "white"
        axes.plot(
            [row[0] for row in values], [row[1] for row in values], look, color="black", markerfacecolor=face, label=label
        )
    axes.set_xlabel(metrics[0])
    axes.set_ylabel(metrics[1])
    axes.legend()
    figure.suptitle("The first two objectives")
    return axes


def _reference(study: optuna.Study) -> list[float]:
    """A point that is worse than every trial in every objective, by a tenth of the range."""
    values = np.array([trial.values for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))])
    low, high = values.min(0), values.max(0)
    room = 0.1 * np.maximum(high - low, 1e-12)
    signs = [direction == optuna.study.StudyDirection.MAXIMIZE for direction in study.directions]
    return [float(low[i] - room[i] if up else high[i] + room[i]) for i, up in enumerate(signs)]
