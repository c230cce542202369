"""`OneStepError`: errors by region, by distance to other data and under a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mbrl.analysis.axes import legend_beside, log_scale
from mbrl.analysis.forecasts.normalised_errors import ALL
from mbrl.analysis.result import EXACT, Result
from mbrl.analysis.written_numbers import number, rounded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATASET, POLICY_ROWS, POLICY_ACTIONS = "dataset", "rows of the policy", "policy's actions in the dataset's states"
TRAINING_DATA, OTHER_EPISODES = "training data", "other episodes"


@dataclass(frozen=True)
class Region:
    """One-step errors of the rows of a region; dims `S+1` are the observation's and, last, the normalised total.

    Attributes:
        label: which.
        rows: that count.
        distance: 10, 50 and 90 % quantiles of the distance to the nearest training row, or of another episode.
        rmse: `S+1`, environment units (the total: normalised).
        bands: `3 x (S+1)`, 10, 50 and 90 % quantiles of the absolute error, units likewise.
    """

    label: str
    rows: int
    distance: Tensor
    rmse: Tensor
    bands: Tensor


@dataclass(frozen=True)
class OneStepError(Result):
    """One-step errors by distance to the training data (or other episodes), and under a policy beside the dataset.

    Attributes:
        groups: by where rows are from: the dataset, and the policy if there is one.
        bins: the dataset's rows by distance, nearest first; without those that are training rows themselves.
        dimensions: names, `S`.
        scale: `S`, the standard deviation of the observation's change in a step of the dataset, by which errors are
            normalised; 0 if it doesn't vary.
        distance_to: whose nearest row distances are to: `training data`, `other episodes`, or None where there is neither.
        correlation: Spearman's, of distance and total error over the rows in bins; None where undefined.
        training_rows_met: rows of the dataset that are training rows themselves, at distance 0.
        not_finite: rows with a prediction that isn't finite.
        exact: whether the errors are zero to rounding.
        notes: see `Result`.
    """

    name: ClassVar[str] = "one_step"
    title: ClassVar[str] = "One-step error near the data and far from them"

    groups: list[Region]
    bins: list[Region]
    dimensions: list[str]
    scale: Tensor
    distance_to: str | None
    correlation: float | None
    training_rows_met: int
    not_finite: int
    exact: bool
    notes: Sequence[str] = ()

    def table(self) -> dict[str, list[Any]]:
        """A row for each region and dimension.

        `rmse` is in environment units (None for the total, whose dims differ in theirs); the columns that say so are
        normalised by `scale`, the standard deviation of the change in one step.
        """
        columns: dict[str, list[Any]] = {}
        scales = [*self.scale.tolist(), 1.0]
        for kind, regions in (("rows", self.groups), ("distance", self.bins)):
            for region in regions:
                for dim, (label, scale) in enumerate(zip([*self.dimensions, ALL], scales, strict=True)):
                    per_scale = 1 / scale if scale else float("nan")
                    bands = region.bands[:, dim] * per_scale
                    cells = {
                        "by": kind,
                        "region": region.label,
                        "dimension": label,
                        "rows": region.rows,
                        "distance_q10": number(region.distance[0]),
                        "distance_q50": number(region.distance[1]),
                        "distance_q90": number(region.distance[2]),
                        "rmse": None if label == ALL else number(region.rmse[dim]),
                        "rmse_normalised": number(region.rmse[dim] * per_scale),
                        "q10_normalised": number(bands[0]),
                        "q50_normalised": number(bands[1]),
                        "q90_normalised": number(bands[2]),
                        "scale": None if label == ALL else scale,
                    }
                    for key, cell in cells.items():
                        columns.setdefault(key, []).append(cell)
        return columns

    def summary(self) -> dict[str, Any]:
        """Rows, median errors and distances of each group, and how much the error grows from near to far."""
        near, far = (self.bins[0], self.bins[-1]) if len(self.bins) > 1 else (None, None)
        return {
            "groups": {
                group.label: {
                    "rows": group.rows,
                    "rmse_normalised": number(group.rmse[-1]),
                    "median_error_normalised": number(group.bands[1, -1]),
                    "median_distance": number(group.distance[1]),
                    "error_relative_to_dataset": self._relative(group, self.groups[0]),
                }
                for group in self.groups
            },
            "median_error_nearest_tenth": None if near is None else number(near.bands[1, -1]),
            "median_error_farthest_tenth": None if far is None else number(far.bands[1, -1]),
            "farthest_relative_to_nearest": None if near is None or far is None else self._relative(far, near),
            "distance_to": self.distance_to,
            "rank_correlation_of_distance_and_error": self.correlation,
            "rows_that_are_training_rows": self.training_rows_met,
            "exact_to_rounding": self.exact,
            "rows_not_finite": self.not_finite,
        }

    def in_short(self) -> list[str]:
        """The median error, how it grows with distance, and what it is under the policy."""
        if self.exact:
            return [EXACT]
        said = self.summary()
        sentences = [f"{self.not_finite} predictions are not finite."] if self.not_finite else []
        first = said["groups"][self.groups[0].label]["median_error_normalised"]
        sentences.append(f"The median error is {rounded(first)} standard deviations of the change in one step.")
        farther = said["farthest_relative_to_nearest"]
        if farther is not None:
            sentences.append(
                f"Farthest from {self.distance_to} it is {rounded(farther)} times what it is nearest (rank correlation of "
                f"distance and error: {rounded(self.correlation)})."
            )
        for label, where in ((POLICY_ROWS, "On the policy's own rows"), (POLICY_ACTIONS, "Under the policy's actions")):
            ratio = said["groups"].get(label, {}).get("error_relative_to_dataset")
            if ratio is not None:
                sentences.append(f"{where} it is {rounded(ratio)} times the dataset's.")
        return sentences

    def _relative(self, region: Region, to: Region) -> float | None:
        """Ratio of the median errors; undefined between errors that are rounding."""
        return None if self.exact else number(region.bands[1, -1] / to.bands[1, -1])

    def plot(self) -> Figure:
        """The total error against the distance, and where the policy's rows lie on it."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        drawn = []
        if self.bins:
            at = [float(region.distance[1]) for region in self.bins]
            low, middle, high = torch.stack([region.bands[:, -1] for region in self.bins], 1).tolist()
            axes.plot(at, middle, "-o", color="C0", markersize=4, label="dataset by distance, median")
            axes.fill_between(at, low, high, color="C0", alpha=0.2, linewidth=0, label="10 to 90 %")
            drawn += middle
        markers = zip(("D", "s", "^"), ("0.2", "C1", "C3"), strict=True)
        for place, (group, (marker, color)) in enumerate(zip(self.groups, markers, strict=False)):
            low, middle, high = group.bands[:, -1].tolist()
            if not middle >= 0:  # no row that counts
                continue
            x = float(place) if self.distance_to is None else float(group.distance[1])
            spread = [[middle - low], [high - middle]]
            axes.errorbar(
                [x],
                [middle],
                spread,
                color=color,
                marker=marker,
                markersize=6,
                capsize=3,
                linestyle="none",
                label=group.label,
            )
            drawn.append(middle)
        if drawn and min(drawn) > 0:
            log_scale(axes)
        if self.distance_to is None:
            axes.set_xticks(range(len(self.groups)), [group.label for group in self.groups])
            axes.set_xlim(-0.5, len(self.groups) - 0.5)
            axes.set_title("One-step error: median, and 10 to 90 % of the rows")
        else:
            axes.set_xlabel(f"distance to the nearest row of {self.distance_to}\n(standard deviations of obs and action)")
            axes.set_title(f"One-step error against distance to {self.distance_to}")
            legend_beside(axes)
        axes.set_ylabel("one-step error, all dimensions\n(standard deviations of the change)")
        return figure
