"""Outcomes of trials, and the protocol between a worker and what runs a configuration."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState

VISIBLE = ("diverged", "oom", "timeout")  # failures of the configuration itself, which samplers learn from
INTERRUPTED = "interrupted"  # never stored: such a trial is given back
DROPPED = ("surplus", "duplicate")  # trials that were asked for and never run

Report = Callable[[float, int], None]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a configuration's runs.

    Args:
        outcome: `ok`, `pruned`, `diverged`, `oom` (out of memory), `timeout`, `error` (anything else that failed), or
            `interrupted` (the worker was told to end).
        values: one number per objective, the mean over seeds; only with `ok`.
        seed_values: one row per seed, one number per objective.
        variances: of the means, one per objective; empty with one seed.
        wall_s: seconds that it took.
        env_steps: real environment steps of all seeds; None where runs don't count them.
        detail: cause of a failure, one line.
        argv: the command line of the first seed.
    """

    outcome: str
    values: tuple[float, ...] = ()
    seed_values: tuple[tuple[float, ...], ...] = ()
    variances: tuple[float, ...] = ()
    wall_s: float = 0.0
    env_steps: int | None = None
    detail: str = ""
    argv: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """A configuration to run.

    Args:
        number: of the trial.
        params: chosen numbers and labels, by name.
        seeds: of its runs, one after the other.
        folder: of its runs, `seed<k>` within; the same when a trial that was lost is run again.
        tries: times that it was lost before.
        device: `cpu`, `cuda:0`, …; None leaves the choice to the run.
        report: takes a value and its step.
        should_prune: asks the study's pruner whether to end the run by its reported values.
        should_stop: tells whether the worker was told to end.
    """

    number: int
    params: Mapping[str, Any]
    seeds: Sequence[int]
    folder: Path
    tries: int = 0
    device: str | None = None
    report: Report = field(default_factory=lambda: _tell_no_one)
    should_prune: Callable[[], bool] = field(default_factory=lambda: bool)  # bool() is False
    should_stop: Callable[[], bool] = field(default_factory=lambda: bool)


def _tell_no_one(value: float, step: int) -> None:
    """A report where no study listens."""


class Problem(Protocol):
    """A problem that a worker searches: it chooses configurations and measures them."""

    def suggest(self, trial: optuna.Trial) -> Mapping[str, Any]:
        """Chooses every active parameter at once, parents first; returns them by name."""

    def run(self, job: Job) -> Outcome:
        """Runs a configuration to its end."""


def root_of(trial: FrozenTrial) -> int:
    """Finds the number of the trial whose configuration and run folder this one goes on with; its own for a first try."""
    return int(trial.user_attrs.get("root", trial.number))


def is_lost(trial: FrozenTrial) -> bool:
    """Tells whether a trial's worker died before the outcome was known."""
    return trial.state == TrialState.FAIL and trial.user_attrs.get("outcome") not in (*VISIBLE, "error", *DROPPED)


def is_settled(trial: FrozenTrial) -> bool:
    """Tells whether a trial is settled: finished with a value, pruned, or failed by its configuration and no error."""
    if trial.state == TrialState.FAIL:
        return trial.user_attrs.get("outcome") in VISIBLE
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED)


def label_of(trial: FrozenTrial) -> str:
    """Names a trial's outcome in one word: `waiting`, `running`, `lost`, or as in `Outcome`."""
    if is_lost(trial):
        return "lost"
    if trial.state == TrialState.FAIL:
        return str(trial.user_attrs["outcome"])
    return "ok" if trial.state == TrialState.COMPLETE else str(trial.state.name).lower()


def counts_of(trials: Sequence[FrozenTrial]) -> str:
    """Counts the trials of each outcome, in words; empty without trials."""
    labels = [label_of(trial) for trial in trials]
    return ", ".join(f"{labels.count(label)} {label}" for label in dict.fromkeys(labels))


def spent(trials: Sequence[FrozenTrial]) -> int:
    """Counts the used part of the budget: configurations that are settled or running; lost ones and errors are free."""
    return len({root_of(trial) for trial in trials if is_settled(trial) or trial.state == TrialState.RUNNING})


def order_of(trials: Sequence[FrozenTrial], number: int) -> int:
    """Numbers the configuration of a trial within its study, from 0: the least number that no other one has.

    Random numbers that are seeded with it are the same whether or not a worker died on the way. A trial keeps the number as
    its user attribute `order`, and hands it on to its retries; one that was lost before it had chosen gives it back. Earlier
    trials that have begun and not said which is theirs are counted as if they had taken the first that are free.

    Args:
        trials: of the study, this one among them or not.
        number: of the trial.
    """
    mine = next((trial for trial in trials if trial.number == number), None)
    if mine is not None and "order" in mine.user_attrs:
        return int(mine.user_attrs["order"])
    root = number if mine is None else root_of(mine)
    taken: dict[int, int] = {}
    unsaid: set[int] = set()
    for trial in trials:
        if root_of(trial) == root or not _has_place(trial):
            continue
        if "order" in trial.user_attrs:
            taken[root_of(trial)] = int(trial.user_attrs["order"])
        elif trial.number < number:
            unsaid.add(root_of(trial))
    free = (order for order in itertools.count() if order not in taken.values())
    return next(itertools.islice(free, len(unsaid - taken.keys()), None))


def _has_place(trial: FrozenTrial) -> bool:
    """Tells whether a configuration was chosen for it or may yet be; for a lost one without seeds none had been."""
    if trial.user_attrs.get("outcome") in DROPPED:
        return False
    return not is_lost(trial) or "seeds" in trial.user_attrs


def enqueue(study: optuna.Study, trial: FrozenTrial, tries: int, **marks: Any) -> bool:
    """Queues the configuration of a trial again, under the same root; False if it had not been chosen yet.

    Args:
        study: of the trial.
        trial: lost, or asked for again.
        tries: times that the configuration was lost.
        **marks: further attributes.
    """
    fixed = dict(trial.system_attrs.get("fixed_params", {}))
    if "seeds" in trial.user_attrs:  # all was chosen, and its folder may hold a checkpoint of just that
        fixed |= trial.params
    if not fixed:
        return False
    attributes: dict[str, Any] = {"root": root_of(trial), "tries": tries, "retry_of": trial.number}
    for name in ("order", "seeds", "acq", "warm", "asked"):
        if name in trial.user_attrs:
            attributes[name] = trial.user_attrs[name]
    study.enqueue_trial(fixed, user_attrs={**attributes, **marks})
    return True
