"""The trials of a study as the rows that the model is fitted to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from torch import Tensor

from mbrl.errors import ConfigError, UnsupportedError
from mbrl.search.sampler.codec import Codec
from mbrl.search.sampler.reported_values import Reports, is_usable, read_reports, reported, whole_length
from mbrl.search.study.outcome import VISIBLE, root_of

EVERY_FAILURE = "all"

MOST_ROWS, BEST_ROWS = 500, 300  # of which a model is made; a suggestion's time grows with their cube

# A value further below the lower quartile than so many distances between the quartiles counts as one that lies there: one
# diverged run of -1e4 among values above -990 would otherwise flatten all others in the model's eyes.
FENCE, FEWEST_FOR_FENCE = 5.0, 5

_PRIOR_RUNS = 4.0  # runs' worth of belief that all configurations are equally noisy


@dataclass(frozen=True)
class Rows:
    """The known trials: `B` finished ones, in order of their numbers, and those that are under way.

    Attributes:
        trials: the finished trials.
        x: their configurations, `B x columns`.
        y: their values, larger is better, `B x objectives`. A failed trial has the worst value of any that didn't fail.
            Of an objective in `log`, logarithms.
        failed: whether each failed, `B`.
        noise: variance of the values, `B x objectives`; None where no trial has replicates, so that it must be inferred.
        pending: configurations under way or queued, `P x columns`.
        signs: 1 for an objective that is maximised, −1 for one that is minimised and whose `y` is therefore negated.
        log: whether `y` is the logarithm, by objective; empty if none is.
        reports: values that trials reported before their end; None where nobody asked for them or none reported.
        cut: whether each trial's value lay so far on the bad side that `y` has the fence in its place, `B`; None: none.
    """

    trials: tuple[FrozenTrial, ...]
    x: Tensor
    y: Tensor
    failed: Tensor
    noise: Tensor | None
    pending: Tensor
    signs: Tensor
    log: tuple[bool, ...] = ()
    reports: Reports | None = None
    cut: Tensor | None = None

    def __len__(self) -> int:
        return len(self.trials)

    @property
    def informative(self) -> bool:
        """Tells whether any trial has a value of its own, without which there is nothing to fit."""
        return bool((~self.failed).any())

    @property
    def whole(self) -> Tensor:
        """Marks the trials whose values are of whole runs, `B`: where reports are rows, a pruned one's last is no value."""
        if self.reports is None:
            return torch.ones(len(self), dtype=torch.bool)
        return torch.tensor([trial.state != TrialState.PRUNED for trial in self.trials], dtype=torch.bool) | self.failed

    def observed(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Lists the rows that a model is fitted to: first the whole runs, in order of their trials, then the reports.

        Returns:
            Configurations (`N x columns`), values (`N x objectives`), their noise, and the share of each run that was still
            to come (`N`); the latter two are None where there is none to give.
        """
        if self.reports is None:
            return self.x, self.y, self.noise, None
        whole, reports = self.whole, self.reports
        noise = None
        if self.noise is not None and reports.noise is not None:
            noise = torch.cat([self.noise[whole], reports.noise])
        left = torch.cat([torch.zeros(int(whole.sum()), dtype=torch.float64), reports.left])
        return torch.cat([self.x[whole], self.x[reports.of]]), torch.cat([self.y[whole], reports.y]), noise, left

    def own(self, y: Tensor) -> Tensor:
        """Converts the model's values to the objectives' units and signs, `B… x objectives`; a log's mean is a median."""
        values = y * self.signs
        return torch.where(torch.tensor(self.log, dtype=torch.bool), values.exp(), values) if any(self.log) else values

    def known(self) -> Rows:
        """Keeps the trials with whole runs, among which the best is looked for; all where there is none."""
        whole = self.whole
        return self if whole.all() or not whole.any() else self.at(whole.nonzero()[:, 0])

    def fewer(self) -> Rows:
        """Keeps the rows that are worth their cost in a model: the best and the latest of a long search, all of another."""
        cost = self.whole.long()
        if self.reports is not None:
            cost = cost + torch.bincount(self.reports.of, minlength=len(self))
        if cost.sum() <= MOST_ROWS:
            return self
        merit = torch.where(self.whole, self.y[:, 0], torch.full_like(self.y[:, 0], -math.inf))
        best = merit.argsort(descending=True, stable=True)
        latest = torch.arange(len(self)).flip(0)
        kept = [order[cost[order].cumsum(0) <= most] for order, most in ((best, BEST_ROWS), (latest, MOST_ROWS - BEST_ROWS))]
        return self.at(torch.unique(torch.cat(kept)))

    def at(self, index: Tensor) -> Rows:
        """Keeps some of the trials."""
        noise = None if self.noise is None else self.noise[index]
        trials = tuple(self.trials[i] for i in index.tolist())
        reports = None if self.reports is None else self.reports.at(index)
        return Rows(
            trials,
            self.x[index],
            self.y[index],
            self.failed[index],
            noise,
            self.pending,
            self.signs,
            self.log,
            reports,
            None if self.cut is None else self.cut[index],
        )


def suggestion_index(trials: Sequence[FrozenTrial], number: int) -> int:
    """Numbers a trial's suggestion, so that a study that lost trials goes on with the numbers of one that did not.

    Where whoever asked for it counts, that is its user attribute `order`; else its number, less the retries before it, which
    take no suggestion.
    """
    order = next((trial.user_attrs.get("order") for trial in trials if trial.number == number), None)
    if order is not None:
        return int(order)
    return number - sum(trial.number < number and root_of(trial) != trial.number for trial in trials)


def read_rows(
    trials: Sequence[FrozenTrial],
    directions: Sequence[StudyDirection],
    codec: Codec,
    failures: Sequence[str] = VISIBLE,
    but: int | None = None,
    foreign: bool = False,
    fidelity: bool = False,
    log_objectives: Sequence[int] = (),
) -> Rows:
    """Reads the rows of a study.

    Completed trials count with their value, pruned ones with the last finite one that they reported (without one, as
    failed), failed ones if their user attribute `outcome` is in `failures`, or if that is `("all",)`. A value that is not
    finite counts as failed, and so does one that has no logarithm where that is asked for.

    Args:
        trials: of any state.
        directions: of the objectives.
        codec: the search space.
        failures: outcomes of failed trials that a configuration is to blame for.
        but: number of the trial that is being suggested.
        foreign: whether the trials are of another study, whose ranges may be others.
        fidelity: whether reports are rows of their own. A pruned trial then has no others.
        log_objectives: indices of objectives whose logarithms the model is to see.

    Raises:
        ConfigError: if a trial was made in another space, or there is no such objective.
        UnsupportedError: for `fidelity` with several objectives.
    """
    log = _logarithms(log_objectives, len(directions))
    if fidelity and len(directions) > 1:
        raise UnsupportedError(f"BOSampler(fidelity=True): expected one objective, got {len(directions)}; leave it out.")
    finished: list[tuple[FrozenTrial, list[float] | None]] = []
    pending: list[list[float]] = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.number == but:
            continue
        if trial.state in (TrialState.RUNNING, TrialState.WAITING):
            params = queued_or_own(trial)
            if params and not codec.missing(params):
                pending.append(codec.encode(params))
            continue
        if trial.state == TrialState.FAIL:
            blamed = EVERY_FAILURE in failures or trial.user_attrs.get("outcome") in failures
            if not blamed or codec.missing(trial.params):
                continue  # a bug or a lost machine says nothing about the configuration
        if not foreign:
            _check_space(trial, codec)
        finished.append((trial, _values(trial, log, fidelity)))
    signs = torch.tensor([1.0 if d == StudyDirection.MAXIMIZE else -1.0 for d in directions], dtype=torch.float64)
    failed = torch.tensor([values is None for _, values in finished], dtype=torch.bool)
    y = torch.zeros(len(finished), len(directions), dtype=torch.float64)
    for i, (_, values) in enumerate(finished):
        if values is not None:
            y[i] = torch.tensor(values, dtype=torch.float64) * signs
    kept = [trial for trial, _ in finished]
    pruned = torch.tensor([fidelity and trial.state == TrialState.PRUNED for trial in kept], dtype=torch.bool)
    compared = ~failed & ~pruned  # a run that was cut short isn't worse than all for that
    compared = compared if compared.any() else ~failed
    own = y.clone()  # noise is measured on what came, not on fences
    fence = _fence(y[compared])
    cut = (y < fence).any(-1) & ~failed
    y = torch.maximum(y, fence)
    if compared.any():
        y[failed] = y[compared].min(dim=0).values
    noise, single = _noise(kept, own * signs, failed, log)
    reports = None
    if fidelity:
        length = whole_length([trial for trial in trials if trial.number != but])
        reports = read_reports(kept, failed, length, float(signs[0]), log[0], single)
        if reports is not None:
            reports = replace(reports, y=torch.maximum(reports.y, fence))
    x = [codec.encode(trial.params) for trial, _ in finished]
    width = len(codec.columns)
    return Rows(
        tuple(kept),
        torch.tensor(x, dtype=torch.float64).reshape(len(x), width),
        y,
        failed,
        noise,
        torch.tensor(pending, dtype=torch.float64).reshape(len(pending), width),
        signs,
        log,
        reports,
        cut,
    )


def _fence(y: Tensor) -> Tensor:
    """The least value that is told apart from worse ones, by objective; −inf where there are too few to tell what is odd."""
    if len(y) < FEWEST_FOR_FENCE:
        return torch.full(y.shape[1:], -math.inf, dtype=y.dtype)
    least, low, high, most = y.quantile(torch.tensor([0.1, 0.25, 0.75, 0.9], dtype=y.dtype), dim=0)
    spread = torch.where(high > low, high - low, most - least)  # where half of the values are one, that of the others
    return torch.where(spread > 0, low - FENCE * spread, torch.full_like(low, -math.inf))


def queued_or_own(trial: FrozenTrial) -> dict[str, Any]:
    """Merges the parameters that a trial has with those that its queue entry fixed."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _values(trial: FrozenTrial, log: Sequence[bool], fidelity: bool) -> list[float] | None:
    """The trial's values as the model takes them, or None if it failed."""
    if trial.state == TrialState.FAIL:
        return None
    values = trial.values
    if trial.state == TrialState.PRUNED and len(log) == 1:
        values = [value for _, value in reported(trial, log[0])][-1:] or (None if fidelity else values)
    if not values or len(values) != len(log) or not all(map(is_usable, values, log)):
        return None
    return [math.log(value) if has_log else float(value) for value, has_log in zip(values, log, strict=True)]


def _logarithms(chosen: Sequence[int], objectives: int) -> tuple[bool, ...]:
    """A flag per objective: whether the model sees its logarithm."""
    if beyond := [index for index in chosen if index >= objectives]:
        raise ConfigError(f"BOSampler(log_objectives=…): expected indices of objectives below {objectives}, got {beyond}.")
    return tuple(index in chosen for index in range(objectives))


def _check_space(trial: FrozenTrial, codec: Codec) -> None:
    theirs = trial.distributions
    for name, distribution in codec.distributions.items():
        if name in theirs and theirs[name] != distribution:
            raise ConfigError(
                f"expected '{name}' of trial {trial.number} to be {distribution!r}, got {theirs[name]!r}; start a new study."
            )
    if lacking := codec.missing(trial.params):
        raise ConfigError(
            f"BOSampler: expected trial {trial.number} to have every active parameter, got none of {lacking}; suggest all."
        )


def _noise(
    trials: Sequence[FrozenTrial], values: Tensor, failed: Tensor, log: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Variances of the values, from the trials that are means of replicates (user attributes `yvar` and `seeds`).

    A few replicates say little about their own variance, so each is drawn towards that of all; single runs get the latter.
    The variance of a logarithm is, to first order, that of the value divided by its square.

    Returns:
        Those of the trials' values, and those of a single run of each, `B x objectives`; None without replicates.
    """
    columns, singles = [], []
    for objective in range(values.shape[1]):
        found = [_replicates(trial.user_attrs, objective) for trial in trials]
        replicated = {i: pair for i, pair in enumerate(found) if pair is not None and not failed[i]}
        if log[objective]:
            replicated = {
                i: (variance * math.exp(-2 * float(values[i, objective])), count)
                for i, (variance, count) in replicated.items()
            }
        degrees = sum(count - 1 for _, count in replicated.values())
        if degrees == 0:
            return None, None
        pooled = sum((count - 1) * count * variance for variance, count in replicated.values()) / degrees
        column = torch.full((len(trials),), pooled, dtype=torch.float64)
        alone = column.clone()
        for i, (variance, count) in replicated.items():
            single = ((count - 1) * count * variance + _PRIOR_RUNS * pooled) / (count - 1 + _PRIOR_RUNS)
            column[i] = single / count
            alone[i] = single
        spread = float(values[:, objective].var()) if len(trials) > 1 else 0.0
        least = 1e-6 * spread if spread > 0 else 1e-12
        columns.append(column.clamp(min=least))
        singles.append(alone.clamp(min=least))
    return torch.stack(columns, -1), torch.stack(singles, -1)


def _replicates(attrs: Mapping[str, Any], objective: int) -> tuple[float, int] | None:
    """Variance of the mean and number of replicates of a trial, or None if it is a single run."""
    variance, seeds = attrs.get("yvar"), attrs.get("seeds")
    if isinstance(variance, list | tuple):
        variance = variance[objective] if objective < len(variance) else None
    count = len(seeds) if isinstance(seeds, list | tuple) else 2  # the least that has a variance
    if variance is None or not math.isfinite(variance) or variance < 0 or count < 2:
        return None
    return float(variance), count
