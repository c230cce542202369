"""The workers of one `mbrl search run` or `join`: one in this process, or several in their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from rich.console import Console

from mbrl.errors import ConfigError, MbrlWarning
from mbrl.search.file.search_file import SearchFile
from mbrl.search.study.outcome import Outcome, spent
from mbrl.search.study.storage import DEFAULT, patiently
from mbrl.search.study.study import RUNS, pruner_of, sampler_of
from mbrl.search.work.command_runner import CommandRunner
from mbrl.search.work.run_process import CHILD, environment
from mbrl.search.work.worker import DONE, TOO_MANY_ERRORS, Worker, handled

TRIALS = "trials"  # study attribute: the budget of whoever came last, where it isn't the search file's


def add_storage(parser: ArgumentParser) -> None:
    """Adds `--storage`."""
    parser.add_argument(
        "--storage",
        metavar="URL",
        default=DEFAULT,
        help=f"where the study lies (default: {DEFAULT}): sqlite:///FILE for one machine; journal://FILE for several on one "
        "shared file system, where SQLite may break; postgresql://USER@HOST/DATABASE or mysql://… for several anywhere, "
        "with the password in PGPASSWORD (MYSQL_PWD) or a pgpass file",
    )


def add_work(parser: ArgumentParser) -> None:
    """Adds what `run` and `join` share."""
    add_storage(parser)
    parser.add_argument("--trials", type=int, help="trials of the whole study (default: budget.trials)")
    parser.add_argument("--hours", type=float, help="begin no trial after so many hours (default: budget.hours)")
    parser.add_argument("--workers", type=int, default=1, help="runs at the same time (default: 1)")
    parser.add_argument("--device", help="a worker's device: cpu, or a list such as cuda:0,cuda:1 that they share out")


def check_work(given: Namespace) -> None:
    """Refuses numbers and devices that can't be used, before anything is written.

    Raises:
        ConfigError: naming the option.
    """
    for name, least in (("trials", 1), ("workers", 1)):
        number = getattr(given, name)
        if number is not None and number < least:
            raise ConfigError(f"--{name}: expected at least {least}, got {number}; raise it.")
    if given.hours is not None and not given.hours > 0:
        raise ConfigError(f"--hours: expected more than 0, got {given.hours}; raise it.")
    for device in devices_of(given):
        environment(device, os.environ)


def work(
    study: optuna.Study,
    search: SearchFile,
    given: Namespace,
    allow: Sequence[str],
    again: Sequence[str],
    previous: Sequence[FrozenTrial] = (),
) -> int:
    """Works on a study until its budget is spent, and returns the exit code.

    Args:
        study: of the search.
        search: the search file.
        given: what `add_work` takes.
        allow: modules that runs may import names from.
        again: the arguments after `mbrl`, but for options, of a process that does the same.
        previous: trials of an earlier study, for the sampler.
    """
    if given.workers > 1:
        return several(given, allow, again)
    study.pruner = pruner_of(search)
    limits, budget = search.limits, search.budget
    trials = budget.trials if given.trials is None else given.trials
    if patiently(lambda: study.user_attrs).get(TRIALS, budget.trials) != trials:
        patiently(lambda: study.set_user_attr(TRIALS, trials))
    folder = RUNS / search.study
    worker = Worker(
        study,
        CommandRunner(search, folder, allow=allow),
        folder,
        trials=trials,
        tune_seeds=search.seeds.tune,
        per_trial=search.seeds.per_trial,
        hours=budget.hours if given.hours is None else given.hours,
        retries=limits.retries,
        errors_in_a_row=limits.errors_in_a_row,
        device=devices_of(given)[0],
        sampler=sampler_of(search, previous),
        show=Progress(study, search, trials).show,
    )
    code = worker.work()
    if code == TOO_MANY_ERRORS:
        sys.stderr.write(
            f"mbrl: {limits.errors_in_a_row} trials in a row ended by an error; look at stderr.log in their run folders, "
            "mend the cause, and give the same command again.\n"
        )
    elif code != DONE:
        sys.stderr.write("mbrl: interrupted; what ran is queued again, and the same command goes on.\n")
    return code


class Progress:
    """A line on stderr for every trial that this worker finished.

    Args:
        study: of the trials.
        search: its file.
        trials: the budget; None for none.
    """

    def __init__(self, study: optuna.Study, search: SearchFile, trials: int | None) -> None:
        self.study, self.search, self.trials = study, search, trials
        self._console = Console(stderr=True)

    def show(self, trial: FrozenTrial, outcome: Outcome) -> None:
        """Prints it."""
        names = [objective.metric for objective in self.search.objectives]
        what = [f"{name} {value:.5g}" for name, value in zip(names, outcome.values, strict=False)] or [outcome.detail]
        done = spent(self.study.get_trials(deepcopy=False))
        budget = f"{done}" if self.trials is None else f"{done}/{self.trials}"
        seeds = ", ".join(str(seed) for seed in trial.user_attrs.get("seeds", []))
        parts = [f"trial {trial.number}", outcome.outcome, *what, f"seed {seeds}", f"{outcome.wall_s:.0f} s"]
        parts.append(f"{budget} done")
        self._console.print("  ".join(part for part in parts if part), highlight=False, soft_wrap=True, markup=False)


def several(given: Namespace, allow: Sequence[str], again: Sequence[str]) -> int:
    """Starts a process a worker, hands them signals, and waits for all; returns the worst of their exit codes.

    Args:
        given: what `add_work` takes.
        allow: modules that runs may import names from.
        again: the arguments after `mbrl`, but for options, of each process.
    """
    options = [option for module in allow for option in ("--allow", module)]
    devices = devices_of(given)
    workers: list[subprocess.Popen[bytes]] = []
    told: list[int] = []

    def hand_on(number: int, frame: Any) -> None:
        told.append(number)
        for worker in workers:
            worker.send_signal(number)

    with handled(hand_on):
        for number in range(given.workers):
            device = devices[number % len(devices)]
            mine = [*options, *again, "--storage", given.storage, "--workers", "1", *_limits(given)]
            mine += [] if device is None else ["--device", device]
            command = [sys.executable, *CHILD, str(os.getpid()), *mine]
            if not told:
                workers.append(subprocess.Popen(command, start_new_session=True))
        codes = [worker.wait() for worker in workers]
    for code in codes:
        if code < 0:
            sys.stderr.write(
                f"mbrl: a worker was ended by {signal.Signals(-code).name}; the same command runs its trial again.\n"
            )
    return max((128 - code if code < 0 else code for code in codes), default=0)


def _limits(given: Namespace) -> list[str]:
    pairs = [(name, getattr(given, name)) for name in ("trials", "hours")]
    return [text for name, value in pairs if value is not None for text in (f"--{name}", str(value))]


def devices_of(given: Namespace) -> list[str | None]:
    """The devices of `--device`, which workers share out; a single None leaves the choice to the runs."""
    return [None] if given.device is None else [device.strip() for device in given.device.split(",")]


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna's own log lines give way to ours."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


@contextmanager
def remarks() -> Iterator[None]:
    """Our warnings as one line on stderr each."""
    show = warnings.showwarning

    def showwarning(message: Any, category: Any, *rest: Any, **options: Any) -> None:
        if issubclass(category, MbrlWarning):
            sys.stderr.write(f"mbrl: warning: {message}\n")
        else:
            show(message, category, *rest, **options)

    with warnings.catch_warnings():
        warnings.simplefilter("always", MbrlWarning)
        warnings.showwarning = showwarning
        yield
