"""The trials of a study as the rows that the model is fitted to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from torch import Tensor

from mbrl.errors import ConfigError
from mbrl.search.sampler.codec import Codec

VISIBLE_FAILURES = ("diverged", "oom", "timeout")
EVERY_FAILURE = "all"

MOST_ROWS, BEST_ROWS = 500, 300  # of which a model is made; a suggestion's time grows with their cube

_PRIOR_RUNS = 4.0  # runs' worth of belief that all configurations are equally noisy


@dataclass(frozen=True)
class Rows:
    """What is known: `B` finished trials, in order of their numbers, and those that are under way.

    Attributes:
        trials: the finished trials.
        x: their configurations, `B x columns`.
        y: their values, larger is better, `B x objectives`. A failed trial has the worst value of any that didn't fail.
        failed: which failed, `B`.
        noise: variance of the values, `B x objectives`; None where no trial has replicates, so that it must be inferred.
        pending: configurations under way or queued, `P x columns`.
        signs: 1 for an objective that is maximised, −1 for one that is minimised and whose `y` is therefore negated.
    """

    trials: tuple[FrozenTrial, ...]
    x: Tensor
    y: Tensor
    failed: Tensor
    noise: Tensor | None
    pending: Tensor
    signs: Tensor

    def __len__(self) -> int:
        return len(self.trials)

    @property
    def informative(self) -> bool:
        """Whether any trial has a value of its own, without which there is nothing to fit."""
        return bool((~self.failed).any())

    def fewer(self) -> Rows:
        """The rows that are worth their cost in a model: the best and the latest of a long search, all of another."""
        if len(self) <= MOST_ROWS:
            return self
        best = self.y[:, 0].argsort(descending=True, stable=True)[:BEST_ROWS]
        latest = torch.arange(len(self) - (MOST_ROWS - BEST_ROWS), len(self))
        return self.at(torch.unique(torch.cat([best, latest])))

    def at(self, index: Tensor) -> Rows:
        """Some of the rows."""
        noise = None if self.noise is None else self.noise[index]
        trials = tuple(self.trials[i] for i in index.tolist())
        return Rows(trials, self.x[index], self.y[index], self.failed[index], noise, self.pending, self.signs)


def suggestion_index(trials: Sequence[FrozenTrial], number: int) -> int:
    """Which suggestion of the study a trial is: its number, less the retries before it, which take no suggestion.

    A search that lost a trial and repeated it so goes on with the numbers of one that never did.
    """
    return number - sum(trial.number < number and _is_retry(trial) for trial in trials)


def _is_retry(trial: FrozenTrial) -> bool:
    return trial.user_attrs.get("root", trial.number) != trial.number


def read_rows(
    trials: Sequence[FrozenTrial],
    directions: Sequence[StudyDirection],
    codec: Codec,
    failures: Sequence[str] = VISIBLE_FAILURES,
    but: int | None = None,
    foreign: bool = False,
) -> Rows:
    """The rows of a study.

    Completed trials count with their value, pruned ones with the last finite one that they reported (without one, as
    failed), failed ones if their user attribute `outcome` is in `failures`, or if that is `("all",)`. A value that is not
    finite counts as failed.

    Args:
        trials: of any state.
        directions: of the objectives.
        codec: the search space.
        failures: outcomes of failed trials that a configuration is to blame for.
        but: number of the trial that is being suggested.
        foreign: whether the trials are of another study, whose ranges may be others.

    Raises:
        ConfigError: if a trial was made in another space.
    """
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
        finished.append((trial, _values(trial, len(directions))))
    signs = torch.tensor([1.0 if d == StudyDirection.MAXIMIZE else -1.0 for d in directions], dtype=torch.float64)
    failed = torch.tensor([values is None for _, values in finished], dtype=torch.bool)
    y = torch.zeros(len(finished), len(directions), dtype=torch.float64)
    for i, (_, values) in enumerate(finished):
        if values is not None:
            y[i] = torch.tensor(values, dtype=torch.float64) * signs
    if (~failed).any():
        y[failed] = y[~failed].min(dim=0).values
    x = [codec.encode(trial.params) for trial, _ in finished]
    width = len(codec.columns)
    return Rows(
        tuple(trial for trial, _ in finished),
        torch.tensor(x, dtype=torch.float64).reshape(len(x), width),
        y,
        failed,
        _noise([trial for trial, _ in finished], y, failed),
        torch.tensor(pending, dtype=torch.float64).reshape(len(pending), width),
        signs,
    )


def queued_or_own(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters that a trial has, and those that whoever queued it fixed."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _values(trial: FrozenTrial, objectives: int) -> list[float] | None:
    """The trial's values, or None if it failed."""
    if trial.state == TrialState.FAIL:
        return None
    values = trial.values
    if trial.state == TrialState.PRUNED and objectives == 1:
        reported = [value for _, value in sorted(trial.intermediate_values.items()) if math.isfinite(value)]
        values = reported[-1:] or values
    if not values or len(values) != objectives or not all(math.isfinite(value) for value in values):
        return None
    return [float(value) for value in values]


def _check_space(trial: FrozenTrial, codec: Codec) -> None:
    theirs = trial.distributions
    for name, distribution in codec.distributions.items():
        if name in theirs and theirs[name] != distribution:
            raise ConfigError(
                f"BOSampler: expected '{name}' of trial {trial.number} to be {distribution!r} as declared, got "
                f"{theirs[name]!r}; start another study for another space."
            )
    if lacking := codec.missing(trial.params):
        raise ConfigError(
            f"BOSampler: expected trial {trial.number} to have every active parameter, got none of {lacking}; start another "
            "study for another space, or suggest all active parameters."
        )


def _noise(trials: Sequence[FrozenTrial], y: Tensor, failed: Tensor) -> Tensor | None:
    """Variances of the values, from the trials that are means of replicates (user attributes `yvar` and `seeds`).

    A few replicates say little about their own variance, so each is drawn towards that of all; single runs get the latter.
    """
    columns = []
    for objective in range(y.shape[1]):
        found = [_replicates(trial.user_attrs, objective) for trial in trials]
        replicated = {i: pair for i, pair in enumerate(found) if pair is not None and not failed[i]}
        degrees = sum(count - 1 for _, count in replicated.values())
        if degrees == 0:
            return None
        pooled = sum((count - 1) * count * variance for variance, count in replicated.values()) / degrees
        column = torch.full((len(trials),), pooled, dtype=torch.float64)
        for i, (variance, count) in replicated.items():
            single = ((count - 1) * count * variance + _PRIOR_RUNS * pooled) / (count - 1 + _PRIOR_RUNS)
            column[i] = single / count
        spread = float(y[:, objective].var()) if len(trials) > 1 else 0.0
        columns.append(column.clamp(min=max(1e-6 * spread, 1e-12)))
    return torch.stack(columns, -1)


def _replicates(attrs: Mapping[str, Any], objective: int) -> tuple[float, int] | None:
    """Variance of the mean and number of replicates of a trial, or None if it is a single run."""
    variance, seeds = attrs.get("yvar"), attrs.get("seeds")
    if isinstance(variance, list | tuple):
        variance = variance[objective] if objective < len(variance) else None
    count = len(seeds) if isinstance(seeds, list | tuple) else 2  # the least that has a variance
    if variance is None or not math.isfinite(variance) or variance < 0 or count < 2:
        return None
    return float(variance), count
