"""The `mbrl` command: a thin dispatcher before LightningCLI, so that `mbrl --help` answers at once.

Exit codes: 0 for success, 2 for an error that a user can mend and 4 for a run that diverged (one sentence on stderr), 130
and 143 for what Ctrl-C or SIGTERM ended: a run after its step, with a checkpoint written.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from mbrl import __version__


def _lightning(arguments: list[str], allow: Sequence[str]) -> int:
    from mbrl.training.commands.fit import run  # torch and Lightning take seconds to import

    return run(arguments, allow)


def _collect(arguments: list[str], allow: Sequence[str]) -> int:
    from mbrl.training.commands.collect import run

    return run(arguments, allow)


def _check(arguments: list[str], allow: Sequence[str]) -> int:
    from mbrl.training.commands.check import run

    return run(arguments, allow)


def _plot(arguments: list[str], allow: Sequence[str]) -> int:
    from mbrl.analysis.commands.plot import run

    return run(arguments, allow)


def _report(arguments: list[str], allow: Sequence[str]) -> int:
    from mbrl.analysis.commands.report import run

    return run(arguments, allow)


def _search(arguments: list[str], allow: Sequence[str]) -> int:
    from mbrl.search.commands.subcommands import run

    def parse(of_a_run: list[str]) -> Mapping[str, object]:
        from mbrl.training.commands.parsed import parsed

        return parsed(of_a_run, allow)

    return run(arguments, allow, parse)


_FILE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.EIO)  # not a bug of ours

Command = Callable[[list[str], Sequence[str]], int]

# Name → (what `mbrl --help` says, what runs it: given the arguments after `mbrl`, name first, and the modules of --allow).
COMMANDS: dict[str, tuple[str, Command]] = {
    "fit": ("train a planner in its environment, or a dynamics model on a dataset", _lightning),
    "validate": ("evaluate a checkpoint as training does", _lightning),
    "test": ("test a checkpoint on episodes that training never saw", _lightning),
    "predict": ("write a planner's actions or a model's predictions for a dataset", _lightning),
    "collect": ("record a dataset with random actions or a trained planner", _collect),
    "check": ("check an environment and its task functions, or a dataset", _check),
    "report": ("look at a trained model on a dataset: where, how far ahead and how confidently it is wrong", _report),
    "plot": ("draw learning curves of runs with bands over their seeds", _plot),
    "search": ("search hyperparameters over the same YAML, in one or many processes", _search),
}


def usage() -> str:
    """What `mbrl --help` prints."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, (text, _) in COMMANDS.items())
    return (
        "usage: mbrl [--allow MODULE] [--traceback] COMMAND …\n\n"
        f"Model-based reinforcement learning: any dynamics model with any planner.\n\ncommands:\n{commands}\n\noptions:\n"
        "  --allow MODULE  put the current folder on the path, and trust that module's names in checkpoints\n"
        "  --traceback     show where an error came from\n"
        "  --version       print the version\n\n"
        "mbrl COMMAND --help says what a command takes."
    )


def take_options(arguments: Sequence[str]) -> tuple[list[str], list[str], bool]:
    """Splits off what every command takes: returns the rest, the allowed modules, and whether to show tracebacks."""
    rest: list[str] = []
    allow: list[str] = []
    traceback = False
    pending = iter(arguments)
    for argument in pending:
        if argument == "--allow":
            allow.append(next(pending, ""))
        elif argument.startswith("--allow="):
            allow.append(argument.removeprefix("--allow="))
        elif argument == "--traceback":
            traceback = True
        else:
            rest.append(argument)
    return rest, allow, traceback


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    Args:
        arguments: those after `mbrl`; the process's own by default.
    """
    rest, allow, traceback = take_options(sys.argv[1:] if arguments is None else arguments)
    if not rest or rest[0] in ("-h", "--help"):
        print(usage())
        return 0
    if rest[0] == "--version":
        print(__version__)
        return 0
    if rest[0] not in COMMANDS:
        return _fail(f"expected a command, got {rest[0]!r}; choose one of {', '.join(COMMANDS)}.")
    if "" in allow:
        return _fail("--allow: expected the name of a module after it.")
    if allow and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    from mbrl.errors import DivergedError, MbrlError

    try:
        return COMMANDS[rest[0]][1](rest, allow)
    except SystemExit as stop:  # a parser's error, --help, or a signal that ended the run
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:  # in a command that isn't a run: those end after their step
        if traceback:
            raise
        return _fail("stopped by Ctrl-C.", 130)
    except MbrlError as error:
        if traceback:
            raise
        return _fail(str(error), 4 if isinstance(error, DivergedError) else 2)
    except OSError as error:
        if traceback or error.errno not in _FILE_ERRORS:
            raise
        where = error.filename or "a file"
        return _fail(
            f"expected to read or write {where}, but that failed ({error.strerror}); free space or change permissions, and "
            "resume a run with --ckpt_path last."
        )


def _fail(sentence: str, code: int = 2) -> int:
    print(f"mbrl: {sentence}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
