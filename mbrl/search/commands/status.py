"""`mbrl search status`: shows how far a study is, who works on it, and its best configuration."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from mbrl.search.commands.workers import TRIALS
from mbrl.search.file.export import Parse
from mbrl.search.file.search_file import SearchFile
from mbrl.search.study.best_yaml import best_of
from mbrl.search.study.expected_time import time_left
from mbrl.search.study.outcome import counts_of, spent
from mbrl.search.study.storage import load_study, redacted
from mbrl.search.study.study import read_search
from mbrl.search.work.worker import STOP
from mbrl.training.output import plain_warnings, quiet, tell


def run(given: Namespace, allow: Sequence[str], parse: Parse) -> int:
    """Prints a study's state, and changes nothing."""
    with plain_warnings(), quiet("optuna"):
        study = load_study(given.study, given.storage)
        lines = status(study, read_search(study), redacted(given.storage))
    tell("\n".join(lines))
    return 0


def status(study: optuna.Study, search: SearchFile, where: str) -> list[str]:
    """Lines that `mbrl search status` prints.

    Args:
        study: of the search.
        search: its file.
        where: the storage, without secrets.
    """
    trials = study.get_trials(deepcopy=False)
    most = study.user_attrs.get(TRIALS, search.budget.trials)
    budget = "no limit" if most is None else f"{spent(trials)} of {most}"
    stopping = "; workers are asked to stop" if study.user_attrs.get(STOP) else ""
    lines = [
        f"{study.study_name} in {where}",
        f"  trials    {counts_of(trials) or 'none yet'}",
        f"  budget    {budget}{stopping}",
    ]
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    lines += [f"  running   {_lease(trial)}" for trial in running]
    left = time_left(most, trials, len(running), len(running))
    lines += [] if left is None else [f"  time left about {left}, if trials go on to take as long"]
    return lines + _best(study, search)


def _best(study: optuna.Study, search: SearchFile) -> list[str]:
    """Lines on the recommended configuration; of several objectives on the front, whose parameters the report writes."""
    if len(search.objectives) > 1:
        return [f"  front     trial {best.trial}: {best.brief}" for best in best_of(study, search)]
    lines = []
    for best in best_of(study, search):
        lines.append(f"  best      trial {best.trial}: {best.values[0]}")
        lines += [f"    {name} = {value}" for name, value in best.params.items()]  # where a broken line goes on, too
    return lines


def _lease(trial: FrozenTrial) -> str:
    attributes = trial.user_attrs
    lease: dict[str, Any] | None = attributes.get("lease")
    age = "no beat yet"
    if lease is not None:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(lease["at"])).total_seconds()
        age = f"last beat {max(0, round(seconds))} s ago by its clock"
    where = " ".join(str(attributes[name]) for name in ("host", "device") if name in attributes)
    return f"trial {trial.number}  {where}  {age}".replace("    ", "  ")
