"""`one_step_error`: where a model's one-step prediction is wrong, near its training data and far from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mbrl.analysis.correlations import spearman
from mbrl.analysis.forecasts.exact_model import really_next
from mbrl.analysis.forecasts.nan_statistics import quantiles, root_mean_square
from mbrl.analysis.forecasts.nearest_rows import NearestRows
from mbrl.analysis.forecasts.normalised_errors import dimension_names, left_out, scale_of, total_of, within_rounding
from mbrl.analysis.forecasts.not_finite import NotFinite
from mbrl.analysis.forecasts.one_step_predictions import predict_rows
from mbrl.analysis.forecasts.windows import PLACE, check_episodes, numbered
from mbrl.analysis.model_error.one_step_result import (
    DATASET,
    OTHER_EPISODES,
    POLICY_ACTIONS,
    POLICY_ROWS,
    TRAINING_DATA,
    OneStepError,
    Region,
)
from mbrl.analysis.progress import Progress
from mbrl.arguments import check_argument, check_whole
from mbrl.data import Transitions
from mbrl.errors import ConfigError
from mbrl.models import DynamicsModel

_BINS = 10  # of the distance, equally many rows each


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
    """Compares the mean prediction of the drawn members with what happened, by distance to other data.

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
    check_argument("one_step_error(model=…)", model, DynamicsModel)
    check_whole("one_step_error(most=…)", most, 1)
    check_episodes("one_step_error", episodes)
    if (policy is None) != (truth is None):
        given = "policy" if truth is None else "truth"
        raise ConfigError(f"one_step_error: expected policy and truth, got {given} alone; give both, or policy_rows.")
    every = numbered(episodes)
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

    distance_to: str | None = TRAINING_DATA
    if training_rows is None:
        distance_to = OTHER_EPISODES if len(episodes) > 1 else None
        table, other = every, every.extras[PLACE][:, 0]
        if len(episodes) == 1:
            notes.append("There are no training rows and only one episode, so distances are undefined.")
        else:
            notes.append("Distances are to rows of other episodes of the same data, since no training rows were given.")
    else:
        table, other = training_rows, None
    nearest = NearestRows(table, other)
    regions, distances = [], []
    for label, some, error in groups:
        if progress is not None:
            progress(f"one-step error: distances of {len(some)} rows to {len(table)} ({label})")
        of = some.extras[PLACE][:, 0] if other is not None and label != POLICY_ROWS else None
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
        distance_to=distance_to,
        correlation=correlation,
        training_rows_met=int(met.sum()),
        not_finite=bad.count,
        exact=exact,
        notes=tuple(notes),
    )


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
    for said in predict_rows(model, rows, generator):
        mean, _ = said.members()
        errors[said.part] = (mean.mean(0) - real[said.part]).abs()
        if bad is not None:
            place = rows.extras[PLACE][said.part].cpu()
            bad.look(mean.unsqueeze(2), place[:, 0], place[:, 1])
    errors = torch.where(errors.isfinite(), errors, torch.nan)
    return errors, within_rounding(errors, rows.obs)


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
