"""`mbrl search confirm`: what a search's best configurations are worth on seeds that it never used."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from mbrl.errors import ConfigError
from mbrl.search.commands.workers import add_storage, check_work, devices_of, quiet, remarks, several
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
from mbrl.search.study.storage import check_url
from mbrl.search.study.study import RUNS, join_study
from mbrl.search.work.command_runner import CommandRunner
from mbrl.search.work.worker import DONE, TOO_MANY_ERRORS, Worker

_TOP = 3


def run(arguments: list[str], allow: Sequence[str], parse: Parse) -> int:
    """Runs the best configurations on select seeds, keeps one, and runs that on test seeds beside the start."""
    parser = argparse.ArgumentParser(
        prog="mbrl search confirm",
        description="Runs the configurations that a search recommends most on its select seeds, keeps the best of them, and "
        "runs that one and the search's start on its test seeds. The same command after a kill goes on.",
        epilog="Exit codes: 0 done, 2 a study that can't be confirmed, 3 runs that ended by an error, 130 and 143 "
        "interrupted.",
    )
    parser.add_argument("study", metavar="STUDY", help="the study's name")
    add_storage(parser)
    parser.add_argument("--top", type=int, help=f"configurations to select among (default: {_TOP})")
    parser.add_argument("--again", action="store_true", help="take the best configurations anew, after more trials")
    parser.add_argument("--workers", type=int, default=1, help="runs at the same time (default: 1)")
    parser.add_argument("--device", help="a worker's device: cpu, or a list such as cuda:0,cuda:1 that they share out")
    parser.add_argument("--queued", action="store_true", help=argparse.SUPPRESS)  # what is queued, as one of several workers
    parser.set_defaults(trials=None, hours=None)  # all that is queued
    given = parser.parse_args(arguments[1:])
    check_url(given.storage)
    check_work(given)
    if given.top is not None and given.top < 1:
        raise ConfigError(f"--top: expected at least 1, got {given.top}; raise it.")
    with remarks(), quiet():
        study, search = join_study(given.study, given.storage, allow)
        confirmation = confirmation_study(search, given.storage)
        if given.queued:
            return _work(confirmation, search, given, allow)
        made = _round(study, confirmation, search, given)
        code = _run_all(study, confirmation, search, made, given, allow)
        found = read_confirmation(confirmation, search, study)
    if code != DONE or found is None:
        return code
    sys.stdout.write(_said(found, search) + "\n")
    return DONE


def _round(study: optuna.Study, confirmation: optuna.Study, search: SearchFile, given: argparse.Namespace) -> Round:
    """The candidates: those of the round that was begun, or new ones."""
    made = last_round(confirmation)
    if made is None or given.again:
        made = new_round(study, search, _TOP if given.top is None else given.top)
        store_round(confirmation, made)
        return made
    if given.top is not None and given.top != made.top:
        raise ConfigError(
            f"--top: expected {made.top}, with which the confirmation of {search.study} began, got {given.top}; leave it "
            "out, or take the best anew with --again."
        )
    settled = sum(is_settled(trial) for trial in study.get_trials(deepcopy=False))
    if settled > made.after:
        sys.stderr.write(
            f"mbrl: the candidates were taken after {made.after} trials, and now there are {settled}; --again takes the "
            "best anew.\n"
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
    """Both stages; the start, which is measured whatever is selected, runs with the first, so that no worker waits."""
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
    assert chosen is not None  # all of the first stage has come to something
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
    """Queues what is due of candidates on seeds, and works until it has come to something."""
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
        running = any(trial.state == TrialState.RUNNING for trial in confirmation.get_trials(deepcopy=False))
        code = TOO_MANY_ERRORS
        if running:
            sys.stderr.write(f"mbrl: {left} runs are still under way elsewhere; give the same command when they are done.\n")
            return code
    if code == TOO_MANY_ERRORS:
        sys.stderr.write(
            f"mbrl: {left} runs have come to nothing; look at stderr.log in their folders below "
            f"{_folder(search)}, mend the cause, and give the same command again.\n"
        )
    return code


def _work(confirmation: optuna.Study, search: SearchFile, given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Runs what is queued, in this process."""
    folder = _folder(search)
    worker = Worker(
        confirmation,
        CommandRunner(search, folder, allow=allow),
        folder,
        trials=0,
        retries=search.limits.retries,
        errors_in_a_row=search.limits.errors_in_a_row,
        device=devices_of(given)[0],
        show=_show,
    )
    return worker.work()


def _show(trial: FrozenTrial, outcome: Outcome) -> None:
    """A line on stderr for every run."""
    what = f"{outcome.values[0]:.5g}" if outcome.values else outcome.detail
    seed = trial.user_attrs["seeds"][0]
    text = f"run {trial.number}  seed {seed}  {outcome.outcome}  {what}  {outcome.wall_s:.0f} s"
    Console(stderr=True).print(text, highlight=False, soft_wrap=True, markup=False)


def _said(found: Confirmation, search: SearchFile) -> str:
    """What is printed at the end."""
    lines = [f"{search.study}: {found.metric}", *(f"  {sentence}" for sentence in found.in_short())]
    lines += [f"    {name} = {value}" for name, value in found.chosen.params.items()]
    lines += [f"  {note}" for note in found.notes]
    table = RUNS / search.study / "confirmation.csv"
    table.parent.mkdir(parents=True, exist_ok=True)  # of runs that were all elsewhere
    found.to_csv(table)
    return "\n".join([*lines, f"  runs     {table}"])


def _folder(search: SearchFile) -> Path:
    return RUNS / search.study / "confirmation"
