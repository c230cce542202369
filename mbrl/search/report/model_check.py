"""Effects of the parameters by the model of a search, and a check of that model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from mbrl.analysis.axes import legend_beside, log_scale, whole_numbers
from mbrl.analysis.correlations import spearman
from mbrl.analysis.result import Result
from mbrl.analysis.short_names import short_names
from mbrl.search.study.expected_values import deviation, interval
from mbrl.training.output import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mbrl.search.sampler import Effect, LeaveOneOut, Predictions

_ACROSS = 3  # panels
_TWO_SIDED = 1.96  # standard deviations of a 95 % interval


@dataclass(frozen=True)
class ParameterEffects(Result):
    """Expected values as one parameter changes and the others stay as recommended.

    Attributes:
        metric: name of the values.
        effects: of the parameters, the one whose change matters most first.
        recommended: their values.
        trials: with a value, for the points.
        distributions: of the parameters.
        maximize: whether more of the values is better.
    """

    name = "effects"
    title = "What each parameter does"

    metric: str
    effects: Sequence[Effect]
    recommended: Mapping[str, Any]
    trials: Sequence[FrozenTrial]
    distributions: Mapping[str, BaseDistribution]
    maximize: bool
    notes: Sequence[str] = ()

    @property
    def importance(self) -> dict[str, float]:
        """How far the expected value moves while a parameter alone goes through its range, the most important one first."""
        return {effect.name: max(effect.mean) - min(effect.mean) for effect in self.effects}

    def table(self) -> dict[str, list[Any]]:
        rows = [
            (effect.name, value, mean, *interval(mean, sd, effect.log, _TWO_SIDED))
            for effect in self.effects
            for value, mean, sd in zip(effect.values, effect.mean, effect.sd, strict=True)
        ]
        names = ("parameter", "value", "expected", "low", "high")
        return {name: [row[i] for row in rows] for i, name in enumerate(names)}

    def summary(self) -> dict[str, Any]:
        worst, best = (min, max) if self.maximize else (max, min)
        return {
            effect.name: {
                "recommended": self.recommended[effect.name],
                "expected at worst": worst(effect.mean),
                "expected at best": best(effect.mean),
                "largest sd": max(effect.sd),
            }
            for effect in self.effects
        }

    def in_short(self) -> list[str]:
        short = short_names([effect.name for effect in self.effects])
        first = [
            f"{short[effect.name]} (expected {min(effect.mean):.4g} to {max(effect.mean):.4g})"
            for effect in self.effects[:3]
        ]
        return [f"Around the recommended configuration most depends on {', '.join(first)}."] if first else []

    def figures(self) -> list[Figure]:
        """Effects, and what they say of importance."""
        return [self.plot(), self.plot_importance()]

    def plot_importance(self) -> Figure:
        """How far each parameter moves the expected value."""
        from matplotlib.figure import Figure

        short = short_names([effect.name for effect in self.effects])
        figure = Figure(figsize=(6.4, 0.3 * len(self.effects) + 1.2), layout="constrained")
        axes = figure.subplots()
        axes.barh([drawn(short[name]) for name in self.importance], list(self.importance.values()), color="0.4")
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"range of the expected {self.metric}")
        axes.set_title("Importance: how far each parameter alone moves what is expected")
        return figure

    def plot(self) -> Figure:
        from matplotlib.figure import Figure

        down = -(-len(self.effects) // _ACROSS)
        figure = Figure(figsize=(3.1 * min(_ACROSS, len(self.effects)) + 0.6, 2.5 * down + 0.5), layout="constrained")
        panels = figure.subplots(down, min(_ACROSS, len(self.effects)), squeeze=False, sharey=True).flatten()
        short = short_names([effect.name for effect in self.effects])
        for axes, effect in zip(panels, self.effects, strict=False):
            self._panel(axes, effect)
            axes.set_xlabel(short[effect.name], fontsize=9)
        for axes in panels[len(self.effects) :]:
            axes.set_axis_off()
        figure.supylabel(self.metric, fontsize=9)
        figure.suptitle("Expected value (line or tick) and 95 % interval; circles: trials; dotted: recommended")
        return figure

    def _panel(self, axes: Axes, effect: Effect) -> None:
        distribution = self.distributions[effect.name]
        ends = (interval(mean, sd, effect.log, _TWO_SIDED) for mean, sd in zip(effect.mean, effect.sd, strict=True))
        low, high = zip(*ends, strict=True)
        points = [(trial.params[effect.name], trial.value) for trial in self.trials if effect.name in trial.params]
        if isinstance(distribution, CategoricalDistribution):
            places = {value: place for place, value in enumerate(effect.values)}
            axes.vlines(list(places.values()), low, high, color="0.75", linewidth=7)
            axes.plot(list(places.values()), effect.mean, "_", color="black", markersize=13, markeredgewidth=2)
            points = [(places[value], seen) for value, seen in points]
            axes.set_xticks(list(places.values()), [str(value) for value in places], rotation=30, ha="right", fontsize=8)
            axes.set_xlim(-0.6, len(places) - 0.4)
            axes.axvline(places[self.recommended[effect.name]], color="0.3", linestyle=":", linewidth=1)
        else:
            axes.fill_between(effect.values, low, high, color="0.85")
            axes.plot(effect.values, effect.mean, color="black")
            axes.axvline(self.recommended[effect.name], color="0.3", linestyle=":", linewidth=1)
        axes.plot(*_columns(points), "o", color="0.4", markerfacecolor="none", markersize=4, markeredgewidth=0.8)
        if getattr(distribution, "log", False):
            log_scale(axes, x=True)
        elif isinstance(distribution, IntDistribution):
            axes.xaxis.set_major_locator(whole_numbers())


@dataclass(frozen=True)
class ModelCheck(Result):
    """Predictions of each trial by the model of all others, beside the observed values.

    Attributes:
        metric: name of the values.
        left_out: predictions.
        correlation: of the ranks of predicted and observed values; None for fewer than three trials.
        within: shares of the observed values within one and two standard deviations.
    """

    name = "model_check"
    title = "Is the model to be believed?"

    metric: str
    left_out: LeaveOneOut
    correlation: float | None
    within: tuple[float, float]
    notes: Sequence[str] = ()

    def table(self) -> dict[str, list[Any]]:
        found = self.left_out
        return {
            "trial": list(found.numbers),
            "observed": list(found.observed),
            "predicted": list(found.mean),
            "sd": list(found.sd),
            "failed": list(found.failed),
        }

    def summary(self) -> dict[str, Any]:
        return {
            "rank correlation": self.correlation,
            "within one sd": self.within[0],
            "within two sd": self.within[1],
            "trials": len(self.left_out.numbers),
        }

    def in_short(self) -> list[str]:
        if self.correlation is None:
            return ["Too few trials, or too equal ones, to check the model on."]
        one, _two = self.within
        belief = "it ranks no better than chance" if self.correlation < 0.2 else "it ranks trials that it hasn't seen"
        return [
            f"Each trial predicted from all others: {belief} (rank correlation {self.correlation:.2f}); {100 * one:.0f} % "
            "of the observed values lie within one standard deviation (68 % if it is calibrated)."
        ]

    def plot(self) -> Figure:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.2, 4.8), layout="constrained")
        axes = figure.subplots()
        found = self.left_out
        pairs = [(mean, interval(mean, sd, found.log)) for mean, sd in zip(found.mean, found.sd, strict=True)]
        lengths = [[mean - low for mean, (low, _) in pairs], [high - mean for mean, (_, high) in pairs]]
        axes.errorbar(found.observed, found.mean, lengths, linestyle="", color="0.7", elinewidth=1, zorder=1)
        for failed, shape, label in ((False, "o", "trial"), (True, "x", "failed, counted as the worst")):
            here = [pair for pair, bad in zip(zip(found.observed, found.mean, strict=True), found.failed, strict=True)
                    if bad is failed]  # fmt: skip
            if here:
                axes.plot(*_columns(here), shape, color="black", markerfacecolor="white", markersize=5, label=label)
        ends = [min(*found.observed, *found.mean), max(*found.observed, *found.mean)]
        axes.plot(ends, ends, color="0.4", linestyle="--", linewidth=1, label="as observed")
        axes.set_xlabel(f"observed {self.metric}")
        axes.set_ylabel("predicted from all other trials, ± standard deviation")
        legend_beside(axes)
        axes.set_title("Each trial predicted without itself")
        return figure


def parameter_effects(
    study: optuna.Study,
    said: Predictions,
    distributions: Mapping[str, BaseDistribution],
    *,
    metric: str = "value",
) -> ParameterEffects:
    """Orders the effects of the parameters, the largest first.

    Args:
        study: of the trials.
        said: by `mbrl.search.sampler.predictions`.
        distributions: of all parameters.
        metric: name of the values, for labels.
    """
    order = sorted(said.effects, key=lambda effect: min(effect.mean) - max(effect.mean))
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.values is not None]
    more = study.direction == StudyDirection.MAXIMIZE
    notes = [
        "The importance of a parameter is how far the expected value moves while it alone goes through its range, and all "
        "others stay as recommended.",
        "Only parameters that count in the recommended configuration have an effect there.",
        "The trials' other parameters differ from the recommended ones, so circles needn't lie on the line.",
    ]
    return ParameterEffects(metric, order, dict(said.recommended.params), trials, distributions, more, notes)


def model_check(said: Predictions, *, metric: str = "value") -> ModelCheck:
    """Checks how well the model predicts trials that it doesn't know.

    Args:
        said: by `mbrl.search.sampler.predictions`.
        metric: name of the values, for labels.
    """
    found = said.leave_one_out
    count = len(found.numbers)
    off = [abs(deviation(o, m, s, found.log)) for o, m, s in zip(found.observed, found.mean, found.sd, strict=True)]
    within = (sum(one <= 1 for one in off) / count, sum(one <= 2 for one in off) / count)
    observed, mean = (torch.tensor(values, dtype=torch.float64) for values in (found.observed, found.mean))
    correlation = spearman(mean, observed) if count >= 3 else None
    notes = ["Hyperparameters of the model are those of all trials, so that this check is a little kind."]
    if any(found.cut) or any(found.failed):
        notes.append(
            f"Of {count} trials the model takes {sum(found.cut)} for less bad than they were, since values far below all "
            f"others would hide what sets those apart, and {sum(found.failed)} that failed for as bad as the worst."
        )
    return ModelCheck(metric, found, correlation, within, notes)


def _columns(pairs: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [one for one, _ in pairs], [other for _, other in pairs]
