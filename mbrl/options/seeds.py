"""`--seeds` and `--workers` among the arguments of `mbrl fit`: several seeds side by side."""

from __future__ import annotations

import argparse
import os
import re

from mbrl.errors import ConfigError

OPTION = "--seeds"
_WORKERS = "--workers"
_LARGEST = 2**32 - 1
_MOST = 1000  # seeds at a time; more are a mistake in the writing
_OF_ONE_RUN = {  # what a run has one of, and what to do
    "--ckpt_path": "leave it out, since every seed goes on where it stopped",
    "--trainer.folder": "give --name, below which each seed has a folder",
    "--seed_everything": "leave it out",
    "--data.init_args.seed": "leave it out",
    "--data.seed": "leave it out",
    "--print_config": f"leave {OPTION} out to see the settings",
}


def seeds_among(arguments: list[str]) -> argparse.Namespace:
    """Takes the two options off the arguments of `mbrl fit`.

    Returns:
        `command` and `arguments`, as of one run; with `--seeds` also `seeds` and `workers`, which may be None, and the
        `module` that runs them.

    Raises:
        ConfigError: for seeds that can't be read, and beside them what belongs to one run.
    """
    given: dict[str, str] = {}
    rest: list[str] = []
    pending = iter(arguments)
    for argument in pending:
        name, equals, value = argument.partition("=")
        if name not in (OPTION, _WORKERS):
            rest.append(argument)
        elif name in given:
            raise ConfigError(f"{name}: expected it once, got it twice; leave one out.")
        else:
            given[name] = value if equals else next(pending, "")
    if OPTION not in given:
        if _WORKERS in given:
            raise ConfigError(f"{_WORKERS}: expected {OPTION} beside it, got none; give the seeds, such as {OPTION} 0..4.")
        return argparse.Namespace(command="fit", arguments=rest)
    for argument in rest:
        if (name := argument.partition("=")[0]) in _OF_ONE_RUN:
            raise ConfigError(f"{OPTION}: expected no {name} beside it, which is of one run; {_OF_ONE_RUN[name]}.")
    return argparse.Namespace(
        command="fit",
        arguments=rest,
        seeds=seeds_of(given[OPTION]),
        workers=_workers_of(given.get(_WORKERS)),
        module="mbrl.analysis.commands.seeds",
    )


def seeds_of(text: str) -> list[int]:
    """The seeds that a text names.

    Args:
        text: numbers with commas between, `first..last` for all from one to another.

    Raises:
        ConfigError: for anything else, a seed twice, or more than 1,000.
    """
    found: list[int] = []
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d{1,10})(?:\.\.(\d{1,10}))?\s*", part, re.ASCII)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if not first <= last <= _LARGEST:
            raise ConfigError(
                f"{OPTION}: expected whole numbers from 0 to {_LARGEST}, such as 0..4 or 0,3,7, got {text or 'nothing'}; "
                "write those."
            )
        if len(found) + last - first >= _MOST:
            raise ConfigError(f"{OPTION}: expected at most {_MOST} seeds, got {text}; give fewer.")
        found += range(first, last + 1)
    if len(set(found)) < len(found):
        raise ConfigError(f"{OPTION}: expected each seed once, got {text}; leave out those that come again.")
    return found


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _workers_of(text: str | None) -> int | None:
    if text is None:
        return None
    number = int(text) if re.fullmatch(r"\d{1,6}", text, re.ASCII) else 0
    if not 1 <= number <= cores():
        raise ConfigError(
            f"{_WORKERS}: expected a whole number from 1 to {cores()}, the cores here, got {text or 'nothing'}; each seed "
            "takes a core, and more would only share them."
        )
    return number
