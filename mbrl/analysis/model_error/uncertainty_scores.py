"""`Score`: how well a measure's numbers find the errors, of all rows and of each depth of a rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from mbrl.analysis.correlations import average_precision, is_constant, pearson, roc_auc, spearman, within_correlation
from mbrl.analysis.model_error.measured_states import MeasuredStates

DATASET, ROLLOUTS = "dataset", "model rollouts"

_ROUNDING = 1e-5  # of the largest: numbers of float32 networks that differ by less are equal


@dataclass(frozen=True)
class Score:
    """Correlation and detection of the error by one measure on one set of states; None where undefined.

    Attributes:
        measure: its name.
        states: `dataset` or `model rollouts`.
        depth: steps of the rollout before the state, or None for all of them (and for the dataset).
        rows: rows that count.
        spearman: rank correlation of uncertainty and error.
        pearson: correlation of uncertainty and error.
        pearson_within: that without what rollouts, and depths, have in common: whether the measure finds the hard steps
            of a rollout, and not only that late steps and bad rollouts are hard. Of rollouts as a whole only.
        auc: by percentile, ROC AUC of detecting the rows whose error exceeds it.
        precision: by percentile, average precision of the same.
        events: by percentile, the share of such rows, which is the average precision by chance.
        uncertainty: mean over rows.
        error: mean over rows, normalised.
    """

    measure: str
    states: str
    depth: int | None
    rows: int
    spearman: float | None = None
    pearson: float | None = None
    pearson_within: float | None = None
    auc: Mapping[float, float | None] = field(default_factory=dict)
    precision: Mapping[float, float | None] = field(default_factory=dict)
    events: Mapping[float, float | None] = field(default_factory=dict)
    uncertainty: float | None = None
    error: float | None = None


def scores_of(
    measure: str, states: str, part: MeasuredStates, thresholds: Mapping[float, float], exact: bool
) -> list[Score]:
    """The scores of one measure on one set of states: of all rows, and of each depth.

    Args:
        measure: its name; one that has no numbers there gets a score without any.
        states: `dataset` or `model rollouts`.
        part: what was measured.
        thresholds: by percentile, the error above which a row is an event.
        exact: whether errors are no more than rounding, so that nothing is defined.
    """
    uncertainty = part.uncertainty.get(measure)
    if uncertainty is None:
        known = part.error.isfinite()
        error = float(part.error[known].mean()) if known.any() else None
        return [Score(measure, states, None, int(known.sum()), error=error)]
    scores = [_score(measure, states, None, uncertainty, part, None, thresholds, exact)]
    if part.depth is not None:
        scores += [
            _score(measure, states, depth, uncertainty, part, part.depth == depth, thresholds, exact)
            for depth in part.depth.unique().tolist()
        ]
    return scores


def _score(
    measure: str,
    states: str,
    depth: int | None,
    uncertainty: Tensor,
    part: MeasuredStates,
    chosen: Tensor | None,
    thresholds: Mapping[float, float],
    exact: bool,
) -> Score:
    fine = uncertainty.isfinite() & part.error.isfinite()
    if chosen is not None:
        fine = fine & chosen
    u, e = uncertainty[fine], part.error[fine]
    rows = len(u)
    mean_u, mean_e = (float(u.mean()), float(e.mean())) if rows else (None, None)
    if exact or is_constant(u, _ROUNDING):
        return Score(measure, states, depth, rows, uncertainty=mean_u, error=mean_e)
    events = {percentile: e > threshold for percentile, threshold in thresholds.items()}
    within = None
    if depth is None and part.depth is not None and part.rollout is not None:
        within = within_correlation(u, e, part.rollout[fine], part.depth[fine], _ROUNDING)
    return Score(
        measure,
        states,
        depth,
        rows,
        spearman=spearman(u, e, _ROUNDING),
        pearson=pearson(u, e, _ROUNDING),
        pearson_within=within,
        auc={percentile: roc_auc(u, event) for percentile, event in events.items()},
        precision={percentile: average_precision(u, event) for percentile, event in events.items()},
        events={percentile: float(event.double().mean()) for percentile, event in events.items()},
        uncertainty=mean_u,
        error=mean_e,
    )


def notes_on_constants(scores: Sequence[Score], exact: bool) -> list[str]:
    """A sentence for each measure that is the same everywhere, or judged by errors that are; none of an exact model."""
    if exact:
        return []
    flat = [score for score in scores if score.depth is None and score.uncertainty is not None and score.spearman is None]
    return [
        f"The error is the same for all rows ({score.states}), so that the correlation of {score.measure} is undefined."
        if score.auc  # which a measure that is the same everywhere hasn't got
        else f"{score.measure} is the same for all rows ({score.states}), so that its correlation and detection are "
        "undefined."
        for score in flat
    ]
