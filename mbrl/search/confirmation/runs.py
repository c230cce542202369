"""The runs that confirm a search: their candidates, their queue and their results.

They are trials of a study of their own beside the search's, one per configuration and seed, so that leases, retries, several
workers and machines are those of the search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from mbrl.errors import ConfigError, DataError, UnsupportedError
from mbrl.search.file.search_file import SearchFile
from mbrl.search.study.best_configurations import best_configurations
from mbrl.search.study.outcome import counts_of, is_settled
from mbrl.search.study.storage import open_storage, patiently

ROUNDS = "rounds"  # attribute of the confirmation's study: one entry each time that candidates were taken

_SUFFIX = " confirmation"  # with a space, which no search's name has


@dataclass(frozen=True)
class Candidate:
    """A configuration to confirm.

    Attributes:
        trial: number of the search's first trial of it; None for the start where the search never ran it.
        params: numbers and labels of its parameters.
        mean: value that the search's model expected; None for the start.
        sd: standard deviation of that expectation.
    """

    trial: int | None
    params: Mapping[str, Any]
    mean: float | None = None
    sd: float | None = None

    @property
    def label(self) -> str:
        """A name for people."""
        return "the start" if self.trial is None else f"trial {self.trial}"


@dataclass(frozen=True)
class Round:
    """The candidates that were taken at some time.

    Attributes:
        after: number of the search's trials that were settled.
        top: number of candidates that were asked for.
        candidates: best first.
        start: the search's start, which is measured beside the one that is kept; None if the file gives none.
        chosen: index of the candidate that was kept; None before that.
    """

    after: int
    top: int
    candidates: tuple[Candidate, ...]
    start: Candidate | None
    chosen: int | None = None


def confirmation_study(search: SearchFile, url: str) -> optuna.Study:
    """Makes the study of the confirmation's runs, or takes it up again.

    Raises:
        UnsupportedError: for a search with several objectives.
        ConfigError: if it belongs to another search of the same name.
    """
    if len(search.objectives) > 1:
        raise UnsupportedError(
            f"{search.study}: expected a search with one objective, got {len(search.objectives)}; compare runs by mbrl plot."
        )
    study = optuna.create_study(
        study_name=search.study + _SUFFIX,
        storage=open_storage(url),
        direction=search.objectives[0].direction,
        load_if_exists=True,
        sampler=RandomSampler(seed=0),  # draws nothing: all is queued
        pruner=NopPruner(),
    )
    known = patiently(lambda: study.user_attrs).get("hash")
    if known is None:
        patiently(lambda: study.set_user_attr("hash", search.hash))
    elif known != search.hash:
        raise ConfigError(
            f"{search.study}: expected its own confirmation, got that of another search of this name; rename this one."
        )
    return study


def find_confirmation(study: optuna.Study, storage: BaseStorage) -> optuna.Study | None:
    """Finds the study of a search's confirmation; None if there is none in its storage."""
    name = study.study_name + _SUFFIX
    if name not in [other.study_name for other in storage.get_all_studies()]:
        return None
    return optuna.load_study(study_name=name, storage=storage)


def last_round(confirmation: optuna.Study) -> Round | None:
    """Reads the newest round; None before the first."""
    rounds = patiently(lambda: confirmation.user_attrs).get(ROUNDS)
    if not rounds:
        return None
    stored = rounds[-1]
    start = stored["start"]
    return Round(
        stored["after"],
        stored["top"],
        tuple(Candidate(**entry) for entry in stored["candidates"]),
        None if start is None else Candidate(**start),
        stored.get("chosen"),
    )


def new_round(study: optuna.Study, search: SearchFile, top: int) -> Round:
    """Makes a round of the best configurations of a search by its model, and its start.

    Raises:
        DataError: if no trial has finished with a value.
        ConfigError: if a trial ran on a seed that is to select or to test.
    """
    trials = study.get_trials(deepcopy=False)
    kept = {*search.seeds.select, *search.seeds.test}
    for trial in trials:
        if used := sorted(kept & set(trial.user_attrs.get("seeds", []))):
            raise ConfigError(
                f"seeds: expected trials on seeds of tune only, got trial {trial.number} on {used}; choose unused ones."
            )
    best = best_configurations(study, search, top)
    if not best:
        got = counts_of(trials) or "none"
        raise DataError(f"{search.study}: expected a trial that finished with a value, got {got}; run some.")
    found = [Candidate(entry.trial.number, dict(entry.trial.params), _one(entry.mean), _one(entry.sd)) for entry in best]
    start = search.space.start()
    beside = None
    if start is not None:
        ran = [trial.number for trial in trials if trial.params == start and is_settled(trial)]
        beside = Candidate(ran[0] if ran else None, start)
    return Round(sum(is_settled(trial) for trial in trials), top, tuple(found), beside)


def store_round(confirmation: optuna.Study, made: Round) -> None:
    """Stores a round, so that the same candidates are gone on with after a stop."""
    rounds = list(patiently(lambda: confirmation.user_attrs).get(ROUNDS, ()))
    entry = {
        "after": made.after,
        "top": made.top,
        "candidates": [vars(candidate) for candidate in made.candidates],
        "start": None if made.start is None else vars(made.start),
        "chosen": made.chosen,
    }
    patiently(lambda: confirmation.set_user_attr(ROUNDS, [*rounds, entry]))


def store_choice(confirmation: optuna.Study, chosen: Candidate) -> None:
    """Stores which candidate of the newest round runs on test seeds, so that nothing that comes later chooses another."""
    *rounds, last = patiently(lambda: confirmation.user_attrs)[ROUNDS]
    place = [Candidate(**entry) for entry in last["candidates"]].index(chosen)
    patiently(lambda: confirmation.set_user_attr(ROUNDS, [*rounds, {**last, "chosen": place}]))


def settled_runs(confirmation: optuna.Study) -> dict[tuple[str, int], FrozenTrial]:
    """Finds the settled runs, by configuration (see `key`) and seed: with a value, or failed by their setting."""
    found: dict[tuple[str, int], FrozenTrial] = {}
    for trial in patiently(lambda: confirmation.get_trials(deepcopy=False)):
        if is_settled(trial):
            found.setdefault((key(trial.params), trial.user_attrs["seeds"][0]), trial)
    return found


def queue(confirmation: optuna.Study, candidates: Sequence[Candidate], seeds: Sequence[int]) -> int:
    """Queues the runs that are neither settled nor on their way, and returns their number.

    Those that ended by an error are queued again.
    """
    there = set(settled_runs(confirmation))
    for trial in patiently(lambda: confirmation.get_trials(deepcopy=False)):
        if trial.state in (TrialState.WAITING, TrialState.RUNNING):
            params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            there |= {(key(params), seed) for seed in trial.user_attrs.get("seeds", ())}
    due = [(candidate, seed) for candidate in candidates for seed in seeds if (key(candidate.params), seed) not in there]
    for candidate, seed in due:
        confirmation.enqueue_trial(dict(candidate.params), user_attrs={"seeds": [seed], "asked": True})
    return len(due)


def missing(confirmation: optuna.Study, candidates: Sequence[Candidate], seeds: Sequence[int]) -> int:
    """Counts the runs that are not settled yet."""
    there = settled_runs(confirmation)
    return sum((key(candidate.params), seed) not in there for candidate in candidates for seed in seeds)


def key(params: Mapping[str, Any]) -> str:
    """Makes a key that is the same for the same configuration, whether a whole number was written as 2 or as 2.0."""
    return repr(sorted((name, value if isinstance(value, str) else float(value)) for name, value in params.items()))


def _one(value: float | tuple[float, ...]) -> float:
    assert isinstance(value, float)  # of one objective
    return value
