"""`mbrl search run`: starts a search, or goes on with it; the same command after a kill continues."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

import optuna

from mbrl.counted import counted
from mbrl.search.commands.workers import ONE_OF_SEVERAL, check_work, show_run, work
from mbrl.search.file.export import Parse, check, example_command
from mbrl.search.file.search_file import SearchFile, read_search_file
from mbrl.search.study.best_yaml import leave_best
from mbrl.search.study.expected_time import expected_time
from mbrl.search.study.outcome import counts_of
from mbrl.search.study.storage import load_study, redacted
from mbrl.search.study.study import RUNS, ask_to_stop, exists, open_study
from mbrl.search.study.warm_start import earlier, queue_from
from mbrl.search.work.worker import DONE
from mbrl.training.output import plain_warnings, quiet, tell


def run(given: argparse.Namespace, allow: Sequence[str], parse: Parse) -> int:
    """Checks a new search, makes its study or takes it up again, and works."""
    search = read_search_file(given.search)
    check_work(given)
    with plain_warnings(), quiet("optuna"):
        new = not exists(search.study, given.storage)
        if given.earlier is not None:
            earlier(given.earlier, given.storage)  # refuses one that isn't there before anything is written
        if new or given.dry_run:
            check(search, parse)
        if given.dry_run:
            tell(_plan(search, given, new=new))
            return 0
        study = open_study(search, given.storage)
        if given.earlier is not None:
            queue_from(study, search, given.earlier, given.storage)
        ask_to_stop(study, False)
        if ONE_OF_SEVERAL not in os.environ:
            show_run("\n".join([_plan(search, given, new=new), f"  time     {_time(study, search, given)}"]))
        code = work(study, search, given, allow, ["search", "run", given.search])
        if code == DONE:
            leave_best(study, search, RUNS / search.study, parse)
        return code


def _time(study: optuna.Study, search: SearchFile, given: argparse.Namespace) -> str:
    trials = search.budget.trials if given.trials is None else given.trials
    hours = search.budget.hours if given.hours is None else given.hours
    return expected_time(trials, study.get_trials(deepcopy=False), given.workers, hours, search.limits.trial_minutes)


def _plan(search: SearchFile, given: argparse.Namespace, *, new: bool) -> str:
    """Says what a run does, or would do."""
    trials = search.budget.trials if given.trials is None else given.trials
    hours = search.budget.hours if given.hours is None else given.hours
    budget = [] if trials is None else [counted(trials, "trial")]
    budget += [] if hours is None else [f"{hours:g} h"]
    state = "a new study"
    if not new:
        state = f"goes on after {counts_of(load_study(search.study, given.storage).trials) or 'none'}"
    lines = [
        f"{search.study} in {redacted(given.storage)}: {state}",
        f"  budget   {', '.join(budget)}, {given.workers} at a time",
        f"  sampler  {search.sampler.name}, pruner {search.pruner.name}",
        f"  a trial  {example_command(search)}",
    ]
    return "\n".join(lines)
