"""The processes that work on one study, here or in several of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mbrl.analysis.short_names import short_names
from mbrl.arguments import Positive, check_argument, check_whole
from mbrl.errors import shown, wrapped
from mbrl.handled_signals import handled
from mbrl.search.file.search_file import SearchFile
from mbrl.search.study.expected_time import time_left
from mbrl.search.study.outcome import Outcome, spent
from mbrl.search.study.storage import check_url, patiently
from mbrl.search.study.study import RUNS, pruner_of, sampler_of
from mbrl.search.study.warm_start import previous_trials
from mbrl.search.work.command_runner import CommandRunner
from mbrl.search.work.worker import DONE, TOO_MANY_ERRORS, Worker
from mbrl.training.output import say
from mbrl.training.processes.run_process import CHILD, environment

ONE_OF_SEVERAL = "MBRL_ONE_OF_SEVERAL"  # environment variable of a worker whose parent has said what the search is
TRIALS = "trials"  # study attribute: the budget of whoever came last, where it isn't the search file's


def check_work(given: Namespace) -> None:
    """Refuses a storage, numbers and devices that can't be used, before anything is written.

    Raises:
        ConfigError: naming the option.
    """
    check_url(given.storage)
    for name in ("trials", "workers", "top"):
        if (number := getattr(given, name, None)) is not None:
            check_whole(f"--{name}", number)
    if given.hours is not None:
        check_argument("--hours", given.hours, Positive)
    for device in _devices(given):
        environment(device, os.environ)


def work(study: optuna.Study, search: SearchFile, given: Namespace, allow: Sequence[str], again: Sequence[str]) -> int:
    """Works on a study until its budget is spent, and returns the exit code.

    Args:
        study: of the search.
        search: the search file.
        given: the options of `mbrl search run` or `join`.
        allow: modules that runs may import names from.
        again: the arguments after `mbrl`, but for options, of a process that does the same.
    """
    previous = previous_trials(study, search, given.storage)
    if given.workers > 1:
        return several(given, allow, again)
    study.pruner = pruner_of(search)
    limits, budget = search.limits, search.budget
    trials = budget.trials if given.trials is None else given.trials
    if patiently(lambda: study.user_attrs).get(TRIALS, budget.trials) != trials:
        patiently(lambda: study.set_user_attr(TRIALS, trials))

    short = short_names(search.space.distributions())

    def show(trial: FrozenTrial, outcome: Outcome) -> None:
        names = [objective.metric for objective in search.objectives]
        values = [f"{name} {value:.5g}" for name, value in zip(names, outcome.values, strict=False)] or [outcome.detail]
        seeds = ", ".join(str(seed) for seed in trial.user_attrs.get("seeds", []))
        everything = study.get_trials(deepcopy=False)
        done = f"{spent(everything)}{'' if trials is None else f'/{trials}'} done"
        others = sum(one.state == TrialState.RUNNING and one.number != trial.number for one in everything)
        left = time_left(trials, everything, 1 + others, others) if trials is None or spent(everything) < trials else None
        chosen = ", ".join(f"{short[name]} {_brief(value)}" for name, value in trial.params.items())
        show_run(
            f"trial {trial.number}", outcome.outcome, *values, f"seed {seeds}", f"{outcome.wall_s:.0f} s",
            done if left is None else f"{done}, {left} left", then=(chosen, _best_of(study, everything, names)),
        )  # fmt: skip

    code = worker_on(
        study,
        search,
        RUNS / search.study,
        given,
        allow,
        show,
        trials=trials,
        tune_seeds=search.seeds.tune,
        per_trial=search.seeds.per_trial,
        hours=budget.hours if given.hours is None else given.hours,
        sampler=sampler_of(search, previous),
    ).work()
    if code == TOO_MANY_ERRORS:
        say(
            f"{limits.errors_in_a_row} trials in a row ended by an error; look at stderr.log in their run folders, mend the "
            "cause, and give the same command again."
        )
    elif code != DONE:
        say("interrupted; what ran is queued again, and the same command goes on.")
    return code


def worker_on(
    study: optuna.Study,
    search: SearchFile,
    folder: Path,
    given: Namespace,
    allow: Sequence[str],
    show: Callable[[FrozenTrial, Outcome], None],
    **options: Any,
) -> Worker:
    """Makes the worker of this process, with the search file's limits.

    Args:
        study: whose trials it runs.
        search: the search file.
        folder: of the study's runs.
        given: the options of `mbrl search run`, `join` or `confirm`; of several devices it takes the first.
        allow: modules that runs may import names from.
        show: called after each trial.
        **options: further arguments of `Worker`.
    """
    return Worker(
        study,
        CommandRunner(search, folder, allow=allow),
        folder,
        retries=search.limits.retries,
        errors_in_a_row=search.limits.errors_in_a_row,
        device=_devices(given)[0],
        show=show,
        **options,
    )


def _brief(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _best_of(study: optuna.Study, trials: Sequence[FrozenTrial], names: Sequence[str]) -> str:
    """The best value so far and its trial; of several objectives there is no single one."""
    found = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.values]
    if len(names) > 1 or not found:
        return ""
    choose = max if study.direction == StudyDirection.MAXIMIZE else min
    best = choose(found, key=lambda trial: float(trial.values[0]))
    return f"best so far {best.values[0]:.5g} of trial {best.number}"


def show_run(*parts: str, then: Sequence[str] = ()) -> None:
    """Writes a line to stderr for a trial or run that ended; empty parts are left out.

    Args:
        *parts: of the line.
        then: further ones, which on a terminal have a line of their own.
    """
    lines = ["  ".join(part for part in some if part) for some in (parts, then)]
    text = ("\n  " if sys.stderr.isatty() else "  ").join(line for line in lines if line)
    sys.stderr.write(wrapped(shown(text), sys.stderr) + "\n")


def several(given: Namespace, allow: Sequence[str], again: Sequence[str]) -> int:
    """Starts a process per worker, hands them signals, and waits for all; returns the worst of their exit codes.

    Args:
        given: the options of `mbrl search run` or `join`.
        allow: modules that runs may import names from.
        again: the arguments after `mbrl`, but for options, of each process.
    """
    options = [option for module in allow for option in ("--allow", module)]
    shared = [*again, "--storage", given.storage, "--workers", "1"]
    for name in ("trials", "hours"):
        value = getattr(given, name)
        shared += [] if value is None else [f"--{name}", str(value)]
    devices = _devices(given)
    workers: list[subprocess.Popen[bytes]] = []
    told: list[int] = []

    def hand_on(number: int, frame: Any) -> None:
        told.append(number)
        for worker in workers:
            worker.send_signal(number)

    with handled(hand_on):
        for number in range(given.workers):
            device = devices[number % len(devices)]
            mine = [*options, *shared, *([] if device is None else ["--device", device])]
            if not told:
                command = [sys.executable, *CHILD, str(os.getpid()), *mine]
                quiet = {**os.environ, ONE_OF_SEVERAL: "1"}
                workers.append(subprocess.Popen(command, start_new_session=True, env=quiet))
        codes = [worker.wait() for worker in workers]
    for code in codes:
        if code < 0:
            say(f"a worker was ended by {signal.Signals(-code).name}; the same command runs its trial again.")
    return max((128 - code if code < 0 else code for code in codes), default=0)


def _devices(given: Namespace) -> list[str | None]:
    """The devices of `--device`, which workers share out; a single None leaves the choice to the runs."""
    return [None] if given.device is None else [device.strip() for device in given.device.split(",")]
