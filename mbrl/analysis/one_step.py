"""`one_step_error`: where a model's one-step prediction is wrong, near its training data and far from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mbrl.analysis.forecasts import (
    ALL,
    NotFinite,
    Progress,
    check_episodes,
    dimension_names,
    left_out,
    member_predictions,
    number,
    quantiles,
    root_mean_square,
    scale_of,
    total_of,
    within_rounding,
)
from mbrl.analysis.rank import spearman
from mbrl.analysis.result import Result
from mbrl.analysis.truth import really_next
from mbrl.data import Transitions
from mbrl.errors import ConfigError, check_at_least
from mbrl.models import DynamicsModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATASET, POLICY_ROWS, POLICY_ACTIONS = "dataset", "rows of the policy", "policy's actions in the dataset's states"

_BINS = 10  # of the distance, equally many rows each
_QUERIES, _TABLE = 256, 16384  # rows of a block of distances: 32 MB


@dataclass(frozen=True)
class Region:
    """One-step errors of the rows of a region; dims `S+1` are the observation's and, last, the normalised total.

    Attributes:
        label: which.
        rows: that count.
        distance: 10, 50 and 90 % quantiles of the distance to the nearest training row.
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
    """One-step errors by distance to the training data, and under a policy beside the dataset.

    Attributes:
        groups: by where rows are from: the dataset, and the policy if there is one.
        bins: the dataset's rows by distance, nearest first; without those that are training rows themselves.
        dimensions: names, `S`.
        scale: `S`, the standard deviation of the observation's change in a step of the dataset, by which errors are
            normalised; 0 if it doesn't vary.
        correlation: Spearman's, of distance and total error over the rows in bins; None where undefined.
        training_rows_met: rows of the dataset that are training rows themselves, at distance 0.
        not_finite: rows with a prediction that isn't finite.
        exact: whether the errors are zero to rounding.
        notes: see `Result`.
    """

    name: ClassVar[str] = "one_step"
    title: ClassVar[str] = "One-step error by distance to the training data"

    groups: list[Region]
    bins: list[Region]
    dimensions: list[str]
    scale: Tensor
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
            "rank_correlation_of_distance_and_error": self.correlation,
            "rows_that_are_training_rows": self.training_rows_met,
            "exact_to_rounding": self.exact,
            "rows_not_finite": self.not_finite,
        }

    def _relative(self, region: Region, to: Region) -> float | None:
        """Ratio of the median errors; undefined between errors that are rounding."""
        return None if self.exact else number(region.bands[1, -1] / to.bands[1, -1])

    def plot(self) -> Figure:
        """The total error against the distance, and where the policy's rows lie on it."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        drawn = []
        if self.bins:
            at = [float(region.distance[1]) for region in self.bins]
            low, middle, high = torch.stack([region.bands[:, -1] for region in self.bins], 1).tolist()
            axes.plot(at, middle, "-o", color="C0", markersize=4, label="dataset by distance, median")
            axes.fill_between(at, low, high, color="C0", alpha=0.2, linewidth=0, label="10 to 90 %")
            drawn += middle
        markers = zip(("D", "s", "^"), ("0.2", "C1", "C3"), strict=True)
        for group, (marker, color) in zip(self.groups, markers, strict=False):
            low, middle, high = group.bands[:, -1].tolist()
            if not middle >= 0:  # no row that counts
                continue
            x, spread = float(group.distance[1]), [[middle - low], [high - middle]]
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
            axes.set_yscale("log")
        axes.set_xlabel("distance to the nearest training row (standard deviations of obs and action)")
        axes.set_ylabel("one-step error, all dimensions\n(standard deviations of the change)")
        axes.set_title("One-step error against distance to the training data")
        axes.grid(color="0.9")
        axes.legend(frameon=False, fontsize=8)
        return figure


@torch.no_grad()
def one_step_error(
    model: DynamicsModel,
    episodes: list[Transitions],
    *,
    generator: torch.Generator,
    training_rows: Transitions | None = None,
    policy_rows: Transitions | None = None,
    policy: Callable[[Tensor], Tensor] | None = None,
    truth: DynamicsModel | None = None,
    most: int = 5000,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> OneStepError:
    """Compares the mean prediction of the drawn members with what happened, by distance to the training data.

    A row's error in all dims is the root mean square of the dims' errors, each in units of the standard deviation of that
    dim's change in one step of `episodes`: at 1 a model says no more than that the average change happens. The distance is
    the Euclidean one of [obs, action] to the nearest training row, each column in units of its standard deviation there.

    Under a policy there are two ways. Rows that it collected (`policy_rows`) are judged as they are, and differ from the
    dataset in states and actions. The policy's own actions in the dataset's states (`policy` and `truth`) differ in the
    actions alone, and take an exact model that says what they would have led to.

    Args:
        model: built and fitted.
        episodes: real ones, from `split_episodes`.
        generator: draws the rows.
        training_rows: what the model was fitted to. Without them the distance is that to rows of other episodes.
        policy_rows: real rows that the policy collected.
        policy: gives actions (`B x A` in [−1, 1]) in observations (`B x S`), such as `learner.policy.mode`.
        truth: an exact model, to say where the policy's actions lead.
        most: rows at most of each group, drawn uniformly; the time of distances grows in proportion.
        names: of the observation's dims.
        progress: told a sentence now and then.

    Raises:
        DataError: for an empty list, or numbers that aren't finite.
        ConfigError: for one of `policy` and `truth` without the other.
    """
    check_at_least("one_step_error", "most", most, 1)
    check_episodes("one_step_error", episodes)
    if (policy is None) != (truth is None):
        given = "policy" if truth is None else "truth"
        raise ConfigError(
            f"one_step_error: expected policy and truth together, got {given} alone; give an exact model as truth, which "
            "says where the policy's actions lead, or rows that the policy collected as policy_rows."
        )
    numbered = [
        replace(episode, extras={**episode.extras, _PLACE: _places(at, len(episode), episode.obs.device)})
        for at, episode in enumerate(episodes)
    ]
    every = Transitions.cat(numbered)
    rows = _some(every, most, generator)
    dimensions = dimension_names("one_step_error", names, rows.obs.shape[-1])
    scale = scale_of(every.next_obs - every.obs, every.obs)
    notes = left_out(scale, dimensions, "the change in one step")
    if len(every) > most:
        notes.append(f"{most} rows were drawn from {len(every)}.")
    if progress is not None:
        progress(f"one-step error: {len(rows)} rows")
    bad = NotFinite("predictions")
    groups: list[tuple[str, Transitions, Tensor]] = []  # where from, rows, errors B x S
    errors, predicted_exactly = _errors(model, rows, rows.next_obs, generator, bad)
    groups.append((DATASET, rows, errors))
    if policy_rows is not None:
        check_episodes("one_step_error", [policy_rows])
        own = _some(policy_rows, most, generator)
        groups.append((POLICY_ROWS, own, _errors(model, own, own.next_obs, generator, None)[0]))
    if policy is not None and truth is not None:
        acted = replace(rows, action=policy(rows.obs.to(model.device)).to(rows.action))
        led_to, _ = really_next(truth, acted, generator)
        groups.append((POLICY_ACTIONS, acted, _errors(model, acted, led_to, generator, None)[0]))

    if training_rows is None:
        table, other = every, every.extras[_PLACE][:, 0]
        if len(episodes) == 1:
            notes.append("There are no training rows and only one episode, so distances are undefined.")
        else:
            notes.append("Distances are to rows of other episodes of the same data, since no training rows were given.")
    else:
        table, other = training_rows, None
    nearest = _Nearest(table, other)
    regions, distances = [], []
    for label, some, error in groups:
        if progress is not None:
            progress(f"one-step error: distances of {len(some)} rows to {len(table)} ({label})")
        of = some.extras[_PLACE][:, 0] if other is not None and label != POLICY_ROWS else None
        distance = nearest(some, of)
        regions.append(_region(label, error, scale, distance))
        distances.append(distance)
    met = torch.zeros(len(rows), dtype=torch.bool)
    if training_rows is not None:
        met = distances[0] == 0
        if met.any():
            notes.append(
                f"{int(met.sum())} of {len(rows)} rows are training rows themselves and in no bin of the distance: a model "
                "is judged by rows that it wasn't fitted to."
            )
    bins = _bins(errors[~met], scale, distances[0][~met])
    notes += bad.notes(dimensions)
    for region, (_, some, _) in zip(regions[1:], groups[1:], strict=True):
        if region.rows < len(some):
            notes.append(f"{len(some) - region.rows} of {len(some)} {region.label} have no finite error and don't count.")
    exact = predicted_exactly and not bad.count
    correlation = None
    if exact:
        notes.append(f"Every error is zero to rounding: the total is {float(regions[0].rmse[-1]):.1g} standard deviations.")
    else:
        total = total_of(errors, scale)
        known = ~(met | total.isnan() | distances[0].isnan())
        correlation = spearman(distances[0][known], total[known])
    return OneStepError(
        groups=regions,
        bins=bins,
        dimensions=dimensions,
        scale=scale,
        correlation=correlation,
        training_rows_met=int(met.sum()),
        not_finite=bad.count,
        exact=exact,
        notes=tuple(notes),
    )


_PLACE = "place in the episodes"


def _places(episode: int, length: int, device: torch.device) -> Tensor:
    step = torch.arange(length, device=device)
    return torch.stack([torch.full_like(step, episode), step], -1)  # T x 2


def _some(rows: Transitions, most: int, generator: torch.Generator) -> Transitions:
    """`rows`, or `most` of them, drawn without replacement."""
    if len(rows) <= most:
        return rows
    chosen = torch.randperm(len(rows), generator=generator, device=generator.device)[:most]
    return rows.select(chosen.to(rows.obs.device))


def _errors(
    model: DynamicsModel, rows: Transitions, led_to: Tensor, generator: torch.Generator, bad: NotFinite | None
) -> tuple[Tensor, bool]:
    """Absolute errors `B x S` of the members' mean, NaN where not finite, and whether they are rounding."""
    real = led_to.double().cpu()
    errors = torch.empty_like(real)
    for part, mean, _ in member_predictions(model, rows, generator):
        errors[part] = (mean.mean(0) - real[part]).abs()
        if bad is not None:
            place = rows.extras[_PLACE][part].cpu()
            bad.look(mean.unsqueeze(2), place[:, 0], place[:, 1])
    errors = torch.where(errors.isfinite(), errors, torch.nan)
    return errors, within_rounding(errors, rows.obs)


class _Nearest:
    """Distances to the nearest of the training rows: exact, block by block.

    Args:
        table: `T` training rows.
        episode: `T` int64, their episodes, where rows of the query's own don't count.
    """

    def __init__(self, table: Transitions, episode: Tensor | None) -> None:
        x = _columns(table)
        sd = x.std(0, correction=0)
        self.kept = sd > 1e-6 * x.abs().amax(0)  # a constant column says nothing of distance
        self.mean, self.sd = x.mean(0)[self.kept], sd[self.kept]
        self.points = (x[:, self.kept] - self.mean) / self.sd  # T x D
        self.squares = self.points.square().sum(-1)  # T
        self.episode = None if episode is None else episode.to(self.points.device)

    def __call__(self, rows: Transitions, episode: Tensor | None) -> Tensor:
        """Of each of `rows`, `B` float64 on the CPU; NaN where there is no other episode.

        Args:
            rows: `B`.
            episode: `B` int64, the episodes that `rows` are from, or None if from none of the table's.
        """
        points = (_columns(rows).to(self.points.device)[:, self.kept] - self.mean) / self.sd  # B x D
        return torch.cat([self._block(points, episode, at) for at in range(0, len(points), _QUERIES)]).cpu()

    def _block(self, points: Tensor, episode: Tensor | None, at: int) -> Tensor:
        points = points[at : at + _QUERIES]  # q x D
        own = None if episode is None else episode[at : at + _QUERIES].to(points.device)  # q
        best = points.new_full((len(points),), torch.inf)
        index = torch.zeros(len(points), dtype=torch.int64, device=points.device)
        for start in range(0, len(self.points), _TABLE):
            block = slice(start, start + _TABLE)
            # |x − y|² − |x|², whose rounding in float64 decides only between rows that are equally near
            square = torch.addmm(self.squares[block], points, self.points[block].T, alpha=-2)  # q x t
            if own is not None and self.episode is not None:
                square.masked_fill_(own[:, None] == self.episode[block], torch.inf)
            low, where = square.min(1)
            closer = low < best
            best = torch.where(closer, low, best)
            index = torch.where(closer, where + start, index)
        distance = (points - self.points[index]).square().sum(-1).sqrt()  # exact, and 0 for a row that is in the table
        return torch.where(best < torch.inf, distance, torch.nan)


def _columns(rows: Transitions) -> Tensor:
    return torch.cat((rows.obs.double(), rows.action.double()), -1)  # B x (S+A)


def _region(label: str, errors: Tensor, scale: Tensor, distance: Tensor) -> Region:
    both = torch.cat((errors, total_of(errors, scale).unsqueeze(-1)), -1)  # B x (S+1)
    known = ~both[:, :-1].isnan().any(-1)
    return Region(label, int(known.sum()), quantiles(distance), root_mean_square(both), quantiles(both))


def _bins(errors: Tensor, scale: Tensor, distance: Tensor) -> list[Region]:
    """Tenths of the rows, nearest first; fewer of fewer than ten rows."""
    known = ~(distance.isnan() | errors.isnan().any(-1))
    errors, distance = errors[known], distance[known]
    parts = distance.argsort(stable=True).tensor_split(max(1, min(_BINS, len(distance)))) if len(distance) else ()
    return [
        _region(f"{place} of {len(parts)} by distance", errors[part], scale, distance[part])
        for place, part in enumerate(parts, 1)
    ]
