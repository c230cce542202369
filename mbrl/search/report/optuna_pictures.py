"""Optuna's own plots of a study, as PNG files: those of them that can be read in grey."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from mbrl.analysis.axes import legend_beside, log_scale, whole_numbers
from mbrl.analysis.short_names import short_names
from mbrl.figure_style import STYLE, in_style
from mbrl.search.report.renamed import renamed

_DPI = 200
_THEIRS = "ggplot"
_TEXTS = {  # what needs one
    "importances": "A parameter is important if it lies elsewhere in the best tenth of the trials than in all of them; "
    "bars add up to 1 (PED-ANOVA, Watanabe2023). It says nothing of which values are good.",
    "parallel": "Each line is a trial, from setting to setting; its colour is the value that it reached.",
    "contour": "What was observed, between the trials interpolated; dots are trials.",
}
_MOST = 8  # parameters in one picture: the most important ones


@dataclass(frozen=True)
class Picture:
    """A plot, or the reason why there is none.

    Attributes:
        name: of the file.
        title: for people.
        image: PNG; None for one that was left out.
        reason: why it was left out.
        text: what it shows, in a sentence or two.
    """

    name: str
    title: str
    image: bytes | None
    reason: str = ""
    text: str = ""


@in_style
def optuna_pictures(
    study: optuna.Study,
    metrics: Sequence[str],
    front: Mapping[int, Sequence[tuple[float, float, float]]],
    important: Sequence[str] = (),
) -> list[Picture]:
    """Draws the plots that a study has enough trials for.

    Args:
        study: with a settled trial.
        metrics: of the objectives, for labels.
        front: trials whose configurations are recommended with several objectives; by number the expected value of each
            objective and a standard deviation below and above it, or nothing where there is no model.
        important: parameters by the importance that the search's model gives them, the most important first; without them
            Optuna's own is drawn, and orders the others.
    """
    from optuna.visualization import matplotlib as plots

    with _as_before():
        short = renamed(study)
        names = short_names(dict.fromkeys(name for trial in study.get_trials(deepcopy=False) for name in trial.params))
        complete = short.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        pictures = []
        if len(metrics) > 1:
            pictures += [
                _draw("pareto_front", "What none is expected to beat", lambda: _front(complete, metrics, front), complete),
                _draw(
                    "hypervolume", "Hypervolume", lambda: plots.plot_hypervolume_history(short, _reference(short)), complete
                ),
            ]
        for number, metric in enumerate(metrics):
            one = renamed(study, number)  # with a target in its place, Optuna would take a low one for the best
            pictures += _of_one(plots, one, number, metric, [names[name] for name in important], several=len(metrics) > 1)
    return pictures


def _of_one(
    plots: Any, study: optuna.Study, number: int, metric: str, known: Sequence[str], *, several: bool
) -> list[Picture]:
    """The plots of a study of one objective, the `number`-th of `several` or the only one."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    where, of = (f"_{number}", f" of {metric}") if several else ("", "")
    varied = _varied(complete)
    always = [name for name in varied if all(name in trial.params for trial in complete)]
    important = [name for name in known if name in always]
    if not known and len(complete) > 1 and always:
        important = list(optuna.importance.get_param_importances(study, params=always))
    first = [*important, *(name for name in varied if name not in important)][:_MOST]
    differ = "two trials that differ"
    draws: list[tuple[str, str, Callable[[], Any], bool, str]] = [
        (
            "importances", "Which parameters mattered (PED-ANOVA)",
            lambda: plots.plot_param_importances(study, params=always, target_name=metric),
            bool(important), differ,
        ),
        (
            "parallel", "Trials as lines", lambda: plots.plot_parallel_coordinate(study, always, target_name=metric),
            len(always) > 1, "two parameters that always count",
        ),
        (
            "contour", "The two most important parameters",
            lambda: plots.plot_contour(study, important[:2], target_name=metric),
            len(important) > 1, "two parameters that always count",
        ),
    ]  # fmt: skip
    if several:  # of one objective the model's effects show the trials too
        draws.append(
            ("slice", "Trials by parameter", lambda: plots.plot_slice(study, first, target_name=metric), bool(first), differ)
        )
    return [
        replace(_draw(name + where, title + of, draw, complete), text=_TEXTS.get(name, ""))
        if enough
        else Picture(name + where, title + of, None, f"it needs {what}")
        for name, title, draw, enough, what in draws
        if not (known and name == "importances")  # there is one importance, and this would be another
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
        axes.set_facecolor("0.9")  # on which the palest line can be seen
    if name == "hypervolume":
        axes.xaxis.set_major_locator(whole_numbers())
    for one in figure.axes:  # of a range below some decades Optuna writes labels over each other
        for x, scale in ((True, one.get_xscale()), (False, one.get_yscale())):
            if scale == "log":
                log_scale(one, x=x)
    try:
        return Picture(name, title, _png(figure))
    finally:
        plt.close(figure)


def _png(figure: Any) -> bytes:
    """A figure as a PNG file, with labels that stand beyond its edge."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI, bbox_inches="tight", metadata={"Software": None})
    return file.getvalue()


@contextmanager
def _as_before() -> Iterator[None]:
    """Keeps Optuna's style, for which its plots ask by name, its remarks on unfinished interfaces and its log to itself."""
    import matplotlib as mpl
    from matplotlib import style

    level, named = optuna.logging.get_verbosity(), style.library[_THEIRS]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    style.library[_THEIRS] = mpl.rc_params_from_file(STYLE, use_default_template=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        style.library[_THEIRS] = named
        optuna.logging.set_verbosity(level)


def _varied(trials: Sequence[FrozenTrial]) -> list[str]:
    """Parameters with more than one value among trials."""
    values: dict[str, set[Any]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(value)
    return [name for name, seen in values.items() if len(seen) > 1]


def _front(
    trials: Sequence[FrozenTrial], metrics: Sequence[str], front: Mapping[int, Sequence[tuple[float, float, float]]]
) -> Any:
    """Ours: Optuna's is of what was observed, while the report recommends by what is expected."""
    from matplotlib import pyplot as plt

    axes = plt.subplots(figsize=(6.5, 4.8), layout="constrained")[1]
    axes.plot(
        [trial.values[0] for trial in trials], [trial.values[1] for trial in trials], "o", color="0.55",
        markerfacecolor="white", markersize=5, label="observed",
    )  # fmt: skip
    observed = {trial.number: trial.values for trial in trials}
    label = "recommended, expected ± standard deviation" if any(front.values()) else "recommended"
    for number, expected in front.items():
        (x, *x_ends), (y, *y_ends) = expected[:2] if expected else [(value,) * 3 for value in observed[number][:2]]
        for xs, ys in ((x_ends, (y, y)), ((x, x), y_ends)):
            axes.plot(xs, ys, "-", color="black", linewidth=1)
        axes.plot([x], [y], "s", color="black", markersize=4, label=label)
        axes.annotate(str(number), (x, y), xytext=(4, -10), textcoords="offset points", fontsize=8)
        label = ""  # once
    axes.set_xlabel(metrics[0])
    axes.set_ylabel(metrics[1])
    legend_beside(axes)
    axes.set_title("The first two objectives, and the numbers of the recommended trials")
    return axes


def _reference(study: optuna.Study) -> list[float]:
    """A point that is worse than every trial in every objective, by a tenth of the range."""
    values = np.array([trial.values for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))])
    low, high = values.min(0), values.max(0)
    room = 0.1 * np.maximum(high - low, 1e-12)
    signs = [direction == optuna.study.StudyDirection.MAXIMIZE for direction in study.directions]
    return [float(low[i] - room[i] if up else high[i] + room[i]) for i, up in enumerate(signs)]
