"""`UncertaintyAgainstError`: a score for each measure and set of states, and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from mbrl.analysis.axes import legend_beside, whole_numbers
from mbrl.analysis.correlations import roc_curve
from mbrl.analysis.model_error.uncertainty_scores import DATASET, ROLLOUTS, Score
from mbrl.analysis.result import Result
from mbrl.analysis.written_numbers import rounded
from mbrl.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FEWEST = 20  # rows of a depth whose correlation is drawn


@dataclass(frozen=True)
class UncertaintyAgainstError(Result):
    """Each measure against the true one-step error.

    Attributes:
        scores: one per measure, set of states and depth; of a measure that the model can't have, without numbers.
        percentiles: of the reference errors, above which a row is an event.
        thresholds: the errors that these are, normalised.
        uncertainty: by set of states and measure, `B` float64 on the CPU.
        error: by set of states, `B`, what that was compared with.
        rollouts_skipped: why there are no states of model rollouts, or None.
        notes: see `Result`.
    """

    name: ClassVar[str] = "uncertainty"
    title: ClassVar[str] = "Does uncertainty find error?"

    scores: Sequence[Score]
    percentiles: Sequence[float]
    thresholds: Mapping[float, float]
    uncertainty: Mapping[str, Mapping[str, Tensor]]
    error: Mapping[str, Tensor]
    rollouts_skipped: str | None
    notes: Sequence[str] = ()

    @property
    def measures(self) -> list[str]:
        """Names of the measures."""
        return list(dict.fromkeys(score.measure for score in self.scores))

    def score(self, measure: str, states: str = DATASET, depth: int | None = None) -> Score | None:
        """That of one measure on one set of states, or None if there is none."""
        for score in self.scores:
            if (score.measure, score.states, score.depth) == (measure, states, depth):
                return score
        return None

    def table(self) -> dict[str, list[Any]]:
        """A row for each measure, set of states and depth (None: all depths); errors are normalised."""
        columns: dict[str, list[Any]] = {
            name: [getattr(score, name) for score in self.scores]
            for name in ("measure", "states", "depth", "rows", "spearman", "pearson", "pearson_within")
        }
        for percentile in self.percentiles:
            for name in ("auc", "precision", "events"):
                column = [getattr(score, name).get(percentile) for score in self.scores]
                columns[f"{'average_precision' if name == 'precision' else name}_{percentile:g}"] = column
        columns["mean_uncertainty"] = [score.uncertainty for score in self.scores]
        columns["mean_error_normalised"] = [score.error for score in self.scores]
        return columns

    def summary(self) -> dict[str, Any]:
        """Correlations, AUC and average precision by set of states and measure; and the covariate shift's size."""
        found: dict[str, Any] = {}
        for states in (DATASET, ROLLOUTS):
            found[states] = {
                score.measure: {
                    "spearman": score.spearman,
                    "pearson": score.pearson,
                    "pearson_within": score.pearson_within,
                    "auc": {f"{key:g}": value for key, value in score.auc.items()},
                    "average_precision": {f"{key:g}": value for key, value in score.precision.items()},
                }
                for score in self.scores
                if score.states == states and score.depth is None
            }
        return {
            **found,
            "mean_error_normalised": {states: float(error.mean()) for states, error in self.error.items() if len(error)},
            "error_thresholds_normalised": {f"{key:g}": value for key, value in self.thresholds.items()},
            "model_rollouts_skipped": self.rollouts_skipped,
        }

    def in_short(self) -> list[str]:
        """The measure that finds the error best, on real states and on those of rollouts."""
        sentences = []
        for states, where in ((DATASET, "On real states"), (ROLLOUTS, "On states of the model's rollouts")):
            best = self._best(states)
            if best is None or best.spearman is None:
                continue
            if best.spearman > 0:
                sentences.append(
                    f"{where} {best.measure} finds the error best, with a rank correlation of {rounded(best.spearman)}."
                )
            else:
                sentences.append(
                    f"{where} no measure finds the error: the highest rank correlation, of {best.measure}, is "
                    f"{rounded(best.spearman)}."
                )
        return sentences or ["Undefined: see the notes."]

    def figures(self) -> list[Figure]:
        """All measures, their correlations by depth, and the ROC curves of the best one on real states."""
        drawn, best = [self.plot()], self._best(DATASET)
        if any(score.depth is not None and score.spearman is not None for score in self.scores):
            drawn.append(self.plot_by_depth())
        if best is not None:
            drawn.append(self.plot_roc(best.measure))
        return drawn

    def _best(self, states: str) -> Score | None:
        """The score of the measure with the highest rank correlation, over all depths."""
        known = [
            (score.spearman, score)
            for score in self.scores
            if score.states == states and score.depth is None and score.spearman is not None
        ]
        return max(known, key=lambda pair: pair[0], default=(None, None))[1]

    def plot(self) -> Figure:
        """Spearman's correlation and the detection of large errors, on real states and on those of rollouts."""
        from matplotlib.figure import Figure

        percentile = self._shown_percentile()
        measures = self.measures
        figure = Figure(figsize=(8.0, 1.7 + 0.42 * max(3, len(measures))), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        styles = {DATASET: {"marker": "o", "color": "C0"}, ROLLOUTS: {"marker": "s", "color": "C1", "markerfacecolor": "w"}}
        shown = [DATASET] if self.rollouts_skipped is not None else [DATASET, ROLLOUTS]
        for number, states in enumerate(shown):
            places = [place + 0.12 * (2 * number - 1) * (len(shown) > 1) for place in range(len(measures))]
            found = [self.score(measure, states) for measure in measures]
            for axes, values in (
                (left, [None if score is None else score.spearman for score in found]),
                (right, [None if score is None else score.auc.get(percentile) for score in found]),
            ):
                drawn = [(value, place) for value, place in zip(values, places, strict=True) if value is not None]
                axes.plot(*(zip(*drawn, strict=True) if drawn else ([], [])), linestyle="", label=states, **styles[states])
        for place, measure in enumerate(measures):
            for axes in (left, right):
                if all(self._drawn(measure, states, axes is right, percentile) is None for states in shown):
                    axes.text(0.5, place, "undefined", va="center", ha="center", color="0.45", fontsize=8,
                              transform=axes.get_yaxis_transform())  # fmt: skip
        left.set_yticks(range(len(measures)), measures)
        left.set_ylim(len(measures) - 0.5, -0.5)
        left.axvline(0, color="0.6", linestyle=":")
        left.set_xlabel("rank correlation of\nuncertainty and error")
        left.set_xlim(-1.02, 1.02)
        right.axvline(0.5, color="0.6", linestyle=":")
        right.set_xlabel(f"ROC AUC of finding errors\nabove the {percentile:g} % point")
        right.set_xlim(-0.02, 1.02)
        if len(shown) > 1:
            legend_beside(left)
        figure.suptitle("How well uncertainty finds the model's error\n(right is better; dotted: chance)")
        return figure

    def _drawn(self, measure: str, states: str, detection: bool, percentile: float) -> float | None:
        score = self.score(measure, states)
        if score is None:
            return None
        return score.auc.get(percentile) if detection else score.spearman

    def _shown_percentile(self) -> float:
        return min(self.percentiles, key=lambda percentile: abs(percentile - 95.0))

    def plot_by_depth(self) -> Figure:
        """Spearman's correlation of each measure at each depth of the model's rollouts, above the error there.

        Depths with fewer than 20 rows are left out of the correlations: two rows always agree or disagree entirely.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8.0, 5.0), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        lines, markers = ("-", "--", "-.", ":"), "osv^Dx+*P"
        errors: dict[int, float | None] = {}
        for number, measure in enumerate(self.measures):
            found = [score for score in self.scores if score.measure == measure and score.depth is not None]
            points = [(one.depth, one.spearman) for one in found if one.spearman is not None and one.rows >= _FEWEST]
            if points:
                upper.plot(
                    *zip(*points, strict=True),
                    linestyle=lines[number % len(lines)],
                    marker=markers[number % len(markers)],
                    markersize=4,
                    label=measure,
                )
            errors |= {score.depth: score.error for score in found if score.depth is not None}
        depths = [depth for depth, error in errors.items() if error is not None]
        lower.plot(depths, [errors[depth] for depth in depths], color="0.3", marker="o", markersize=4)
        upper.set_ylabel("rank correlation with the error")
        upper.axhline(0, color="0.6", linestyle=":")
        lower.set_ylabel("mean one-step error\n(sds of the change)")
        lower.set_xlabel("steps of the model's rollout before the state")
        lower.set_ylim(bottom=0)
        lower.xaxis.set_major_locator(whole_numbers())
        figure.suptitle("Does uncertainty find error along the model's own rollouts?")
        if upper.lines[:-1]:
            legend_beside(upper)
        return figure

    def plot_roc(self, measure: str) -> Figure:
        """The ROC curves of one measure, by percentile, on the dataset's states.

        Raises:
            DataError: if the measure has no numbers.
        """
        from matplotlib.figure import Figure

        if measure not in self.uncertainty.get(DATASET, {}):
            raise DataError(f"plot_roc: expected a measure with numbers, got {measure}; see the notes and measures.")
        figure = Figure(figsize=(4.6, 4.4), layout="constrained")
        axes = figure.subplots()
        for percentile, line in zip(self.percentiles, ("-", "--", "-.", ":") * len(self.percentiles), strict=False):
            event = self.error[DATASET] > self.thresholds[percentile]
            if event.any() and not event.all():
                axes.plot(
                    *roc_curve(self.uncertainty[DATASET][measure], event),
                    linestyle=line,
                    label=f"errors above the {percentile:g} % point",
                )
        axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="chance")
        axes.set_xlabel("false alarms (share of other rows)")
        axes.set_ylabel("events found (share)")
        axes.set_title(f"Finding large errors by\n{measure}")
        legend_beside(axes)
        return figure
