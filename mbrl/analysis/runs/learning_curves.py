"""`learning_curves`: a metric over a run's clock, of groups of runs, with bands over their seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mbrl.analysis.runs.bootstrap import bootstrap_interval, interquartile_mean
from mbrl.analysis.runs.learning_curves_result import Band, Curve, LearningCurves, short
from mbrl.analysis.runs.run_scores import estimate, few_runs
from mbrl.arguments import check_known, check_whole
from mbrl.errors import DataError

STATISTICS = {"iqm": interquartile_mean, "mean": lambda runs: runs.mean(-1)}


def learning_curves(
    groups: Mapping[str, Sequence[Curve]],
    *,
    generator: torch.Generator,
    metric: str = "eval/return",
    x_name: str = "env_steps",
    statistic: str = "iqm",
    points: int = 200,
    resamples: int = 2000,
    level: float = 0.95,
) -> LearningCurves:
    """The interquartile mean (or mean) over each group's runs, with pointwise bootstrap bands.

    A group's curve covers the x that all its runs cover: it ends where the first of them ends. Its points are those of all
    its runs together, each run straight between its own points; where that makes more than `points`, as many evenly spaced
    instead. Runs that were evaluated at the same steps aren't interpolated.

    Args:
        groups: runs that differ in nothing but their seed, by the group's name.
        generator: draws the resamples.
        metric: name of the curves' values, for tables and plots.
        x_name: name of their horizontal axis.
        statistic: over runs, `iqm` or `mean`.
        points: of a group at most.
        resamples: see `bootstrap_interval`.
        level: see `bootstrap_interval`.

    Raises:
        DataError: if a group is empty, or its runs cover no x in common.
    """
    check_known("learning_curves(statistic=…)", statistic, STATISTICS, DataError)
    check_whole("learning_curves(points=…)", points, 2)
    if not groups:
        raise DataError("learning_curves: expected at least one group of runs, got none; give {name: curves}.")
    over_runs = STATISTICS[statistic]
    bands: dict[str, Band] = {}
    notes: list[str] = []
    for group, curves in groups.items():
        grid = _grid(group, curves, points, x_name)
        values = torch.stack([curve.at(grid) for curve in curves], -1)  # G x R
        interval = bootstrap_interval(
            lambda strata: over_runs(strata[0]), [values], generator=generator, resamples=resamples, level=level
        )
        low, high = (None, None) if interval is None else interval
        last = torch.stack([curve.y[-1] for curve in curves])
        final = None
        if bool(last.isfinite().all()):
            ends = bootstrap_interval(
                lambda strata: over_runs(strata[0]), [last], generator=generator, resamples=resamples, level=level
            )
            final = estimate(over_runs(last), ends)
        bands[group] = Band(grid, over_runs(values), low, high, list(curves), final)
        notes += _notes(group, bands[group], metric, x_name)
    single = [group for group, curves in groups.items() if len(curves) == 1]
    if single:
        notes.append(f"One run, so no interval: {', '.join(single)}.")
    if x_name in ("env_steps", "updates") and len({band.ends for band in bands.values()}) > 1:
        notes.append(
            f"Groups end at different {x_name}, so final values aren't after equal "
            f"{'experience' if x_name == 'env_steps' else 'training'}."
        )
    several = [len(curves) for curves in groups.values() if len(curves) > 1]
    notes += few_runs(min(several, default=1))
    return LearningCurves(bands, metric, x_name, statistic, level, notes)


def _grid(group: str, curves: Sequence[Curve], points: int, x_name: str) -> Tensor:
    if not curves:
        raise DataError(f"learning_curves: expected at least one run of {group}, got none; leave the group out.")
    late = max(curves, key=lambda curve: curve.x[0].item())
    early = min(curves, key=lambda curve: curve.x[-1].item())
    first, last = late.x[0], early.x[-1]
    if first > last:
        raise DataError(
            f"expected the runs of {group} to have some {x_name} in common, but {early.run} ends at {short(last.item())} "
            f"and {late.run} begins at {short(first.item())}; put them into groups of their own."
        )
    grid = torch.cat([curve.x for curve in curves]).unique()
    grid = grid[(grid >= first) & (grid <= last)]
    if len(grid) > points:
        grid = torch.linspace(first.item(), last.item(), points, dtype=grid.dtype)
        grid[-1] = last  # rounding must not put it outside
    return grid


def _notes(group: str, band: Band, metric: str, x_name: str) -> list[str]:
    notes = []
    first, last = band.ends
    if first < last:
        shortest = min(band.curves, key=lambda curve: curve.x[-1].item())
        notes.append(
            f"{group}: the curve ends at {x_name} {short(first)}, where {shortest.run} ends; the longest run goes on to "
            f"{short(last)}. Final values are each run's own last."
        )
    for curve in band.curves:
        gone = ~curve.y.isfinite()
        if bool(gone.any()):
            where = short(curve.x[gone][0].item())
            notes.append(f"{group}: {metric} of {curve.run} isn't finite at {int(gone.sum())} points, first at {where}.")
    if band.final is None:
        notes.append(f"{group}: no final value, since the last of a run isn't finite.")
    return notes
