"""History of a search: the observed values, and the configurations that its model would have recommended on the way."""

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
from mbrl.search.study.expected_values import in_words, interval
from mbrl.search.study.outcome import label_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mbrl.search.sampler import BOSampler, Moment


@dataclass(frozen=True)
class SearchHistory(Result):
    """The trials in order, and moments at which the model was asked for its recommendation.

    Attributes:
        metric: name of the values.
        trials: settled ones.
        best: the best value observed up to each of them; None before the first.
        moments: each with the number of trials that the model knew.
        maximize: whether more of the values is better.
    """

    name = "history"
    title = "Best recommended configuration"

    metric: str
    trials: Sequence[FrozenTrial]
    best: Sequence[float | None]
    moments: Sequence[Moment]
    maximize: bool
    notes: Sequence[str] = ()

    def table(self) -> dict[str, list[Any]]:
        known = {moment.trials: moment.recommended for moment in self.moments}
        found = [known.get(count) for count in range(1, len(self.trials) + 1)]
        return {
            "trial": [trial.number for trial in self.trials],
            "outcome": [label_of(trial) for trial in self.trials],
            "value": [trial.value for trial in self.trials],
            "best_observed": list(self.best),
            "recommended_trial": [None if one is None else one.trial.number for one in found],
            "expected": [None if one is None else one.mean for one in found],
            "sd": [None if one is None else one.sd for one in found],
        }

    def summary(self) -> dict[str, Any]:
        last = self.moments[-1].recommended if self.moments else None
        return {
            "trials": len(self.trials),
            "failed": sum(trial.value is None for trial in self.trials),
            "best observed": self.best[-1] if self.best else None,
            "recommended trial": None if last is None else last.trial.number,
            "expected": None if last is None else last.mean,
            "sd": None if last is None else last.sd,
        }

    def in_short(self) -> list[str]:
        if not self.moments:
            return [f"{counted(len(self.trials), 'trial')}."]
        last = self.moments[-1].recommended
        expected = in_words(float(last.mean), float(last.sd), last.log[0], digits=4)  # type: ignore[arg-type]
        failed = sum(trial.value is None for trial in self.trials)
        said = [counted(len(self.trials), "trial") + (f", {failed} of which failed." if failed else ".")]
        said.append(
            f"Trial {last.trial.number} is recommended: {self.metric} {last.trial.value:.4g} observed, {expected} expected. "
            f"The best observed value, {self.best[-1]:.4g}, has luck in it."
        )
        return said

    def plot(self) -> Figure:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.0, 4.0), layout="constrained")
        axes = figure.subplots()
        at = [trial.number for trial in self.trials if trial.value is not None]
        values = [trial.value for trial in self.trials if trial.value is not None]
        axes.plot(at, values, "o", color="0.55", markerfacecolor="white", markersize=5, label="observed, a run or few")
        draw_failed(axes, [trial.number for trial in self.trials if trial.value is None], 0.02 if self.maximize else 0.98)
        steps = [(trial.number, best) for trial, best in zip(self.trials, self.best, strict=True) if best is not None]
        axes.step(*zip(*steps, strict=True), where="post", color="0.4", linestyle=":", label="best observed")
        if self.moments:
            x = [self.trials[moment.trials - 1].number for moment in self.moments]
            mean = [float(moment.recommended.mean) for moment in self.moments]  # type: ignore[arg-type]
            sd = [float(moment.recommended.sd) for moment in self.moments]  # type: ignore[arg-type]
            log = self.moments[-1].recommended.log[0]
            low, high = zip(*(interval(m, s, log) for m, s in zip(mean, sd, strict=True)), strict=True)
            axes.fill_between(x, low, high, color="0.85", label="± standard deviation")
            axes.plot(x, mean, "-s", color="black", markersize=3, label="recommended, expected")
        axes.set_xlabel("trial")
        axes.xaxis.set_major_locator(whole_numbers())
        axes.set_ylabel(self.metric)
        legend_beside(axes)
        axes.set_title("What the model would have recommended after each trial")
        return figure


def search_history(study: optuna.Study, sampler: BOSampler, *, points: int = 20, metric: str = "value") -> SearchHistory:
    """Reads the history of a search.

    Args:
        study: with one objective and a trial with a value.
        sampler: of the study, or one made for its space.
        points: moments at which the model is asked; more cost a fit each.
        metric: name of the values, for labels.

    Raises:
        UnsupportedError: with several objectives.
    """
    from mbrl.search.sampler import history  # botorch takes seconds to import

    moments = history(study, sampler, points)
    # those that the model takes, since moments count them: which failures those are is the sampler's to say
    known = {trial.number for trial in sampler.rows(study).trials}
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.number in known]
    notes = ["Expectations are of the objective without a run's noise, so that the best of noisy runs lies above them."]
    more = study.direction == StudyDirection.MAXIMIZE
    return SearchHistory(metric, trials, best_so_far(trials, study.direction), moments, more, notes)


def best_so_far(trials: Sequence[FrozenTrial], direction: StudyDirection) -> list[float | None]:
    """Finds the best value up to each trial; None before the first."""
    choose = max if direction == StudyDirection.MAXIMIZE else min
    found: list[float | None] = []
    for trial in trials:
        before = [value for value in (*found[-1:], trial.value) if value is not None]
        found.append(choose(before) if before else None)
    return found


def draw_failed(axes: Axes, at: Sequence[float], height: float) -> None:
    """Draws failed trials as crosses at a height from 0 to 1, by the edge beyond the worst values."""
    if at:
        axes.plot(
            at, [height] * len(at), "x", color="black", transform=axes.get_xaxis_transform(), markersize=5, label="failed"
        )
