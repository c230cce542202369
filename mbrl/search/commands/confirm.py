"""`mbrl search confirm`: measures a search's best configurations on seeds that it never used."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from mbrl.errors import ConfigError
from mbrl.options.search import TOP
from mbrl.search.commands.workers import check_work, several, show_run, worker_on
from mbrl.search.confirmation.confirmation import Confirmation, chosen_of, read_confirmation, tested_candidates
from mbrl.search.confirmation.runs import (
    Candidate,
    Round,
    confirmation_study,
    last_round,
    missing,
    new_round,
    queue,
    store_choice,
    store_round,
)
from mbrl.search.file.export import Parse
from mbrl.search.file.search_file import SearchFile
from mbrl.search.study.outcome import Outcome, is_settled
from mbrl.search.study.study import RUNS, join_study
from mbrl.search.work.worker import DONE, TOO_MANY_ERRORS
from mbrl.training.output import plain_warnings, quiet, say, tell


def run(given: argparse.Namespace, allow: Sequence[str], parse: Parse) -> int:
    """Runs the best configurations on select seeds, keeps one, and runs that on test seeds beside the start."""
    check_work(given)
    with plain_warnings(), quiet("optuna"):
        study, search = join_study(given.study, given.storage, allow)
        confirmation = confirmation_study(search, given.storage)
        if given.queued:
            return _work(confirmation, search, given, allow)
        made = _round(study, confirmation, search, given)
        code = _run_all(study, confirmation, search, made, given, allow)
        found = read_confirmation(confirmation, search, study)
    if code != DONE or found is None:
        return code
    tell(_said(found, search))
    return DONE


def _round(study: optuna.Study, confirmation: optuna.Study, search: SearchFile, given: argparse.Namespace) -> Round:
    """Takes the candidates of the round that was begun, or new ones."""
    made = last_round(confirmation)
    if made is None or given.again:
        made = new_round(study, search, TOP if given.top is None else given.top)
        store_round(confirmation, made)
        return made
    if given.top is not None and given.top != made.top:
        raise ConfigError(f"--top: expected {made.top}, with which it began, got {given.top}; leave it out or give --again.")
    settled = sum(is_settled(trial) for trial in study.get_trials(deepcopy=False))
    if settled > made.after:
        say(
            f"the candidates were taken after {made.after} trials, and now there are {settled}; --again takes the best anew."
        )
    return made


def _run_all(
    study: optuna.Study,
    confirmation: optuna.Study,
    search: SearchFile,
    made: Round,
    given: argparse.Namespace,
    allow: Sequence[str],
) -> int:
    """Runs both stages; the start, which is measured in any case, runs with the first, so that no worker waits."""
    select, test = search.seeds.select, search.seeds.test
    stages = []
    if len(made.candidates) > 1:
        stages.append((made.candidates, select))
    if made.start is not None:
        stages.append(((made.start,), test))
    code = _stage(confirmation, search, stages, given, allow)
    if code != DONE:
        return code
    chosen = chosen_of(confirmation, search, study)
    assert chosen is not None  # all runs of the first stage are settled
    if made.chosen is None:
        store_choice(confirmation, chosen)
    return _stage(confirmation, search, [(tested_candidates(made, chosen), test)], given, allow)


def _stage(
    confirmation: optuna.Study,
    search: SearchFile,
    runs: Sequence[tuple[Sequence[Candidate], Sequence[int]]],
    given: argparse.Namespace,
    allow: Sequence[str],
) -> int:
    """Queues the runs of candidates on seeds that are missing, and works until all are settled."""
    if not any(missing(confirmation, candidates, seeds) for candidates, seeds in runs):
        return DONE
    for candidates, seeds in runs:
        queue(confirmation, candidates, seeds)
    if given.workers > 1:
        code = several(given, allow, ["search", "confirm", search.study, "--queued"])
    else:
        code = _work(confirmation, search, given, allow)
    left = sum(missing(confirmation, candidates, seeds) for candidates, seeds in runs)
    if code == DONE and left:
        code = TOO_MANY_ERRORS
        if any(trial.state == TrialState.RUNNING for trial in confirmation.get_trials(deepcopy=False)):
            say(f"{left} runs are still under way elsewhere; give the same command when they are done.")
            return code
    if code == TOO_MANY_ERRORS:
        say(
            f"{left} runs ended without a result; look at stderr.log in their folders below {_folder(search)}, mend the "
            "cause, and give the same command again."
        )
    return code


def _work(confirmation: optuna.Study, search: SearchFile, given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Runs what is queued, in this process."""
    return worker_on(confirmation, search, _folder(search), given, allow, _show, trials=0).work()


def _show(trial: FrozenTrial, outcome: Outcome) -> None:
    value = f"{outcome.values[0]:.5g}" if outcome.values else outcome.detail
    seed = trial.user_attrs["seeds"][0]
    show_run(f"run {trial.number}", f"seed {seed}", outcome.outcome, value, f"{outcome.wall_s:.0f} s")


def _said(found: Confirmation, search: SearchFile) -> str:
    """Writes the table of runs, and says what the confirmation found."""
    lines = [f"{search.study}: {found.metric}", *(f"  {sentence}" for sentence in found.in_short())]
    lines += [f"    {name} = {value}" for name, value in found.chosen.params.items()]
    lines += [f"  {note}" for note in found.notes]
    table = RUNS / search.study / "confirmation.csv"
    table.parent.mkdir(parents=True, exist_ok=True)  # of runs that were all elsewhere
    found.to_csv(table)
    return "\n".join([*lines, f"  runs     {table}"])


def _folder(search: SearchFile) -> Path:
    return RUNS / search.study / "confirmation"
