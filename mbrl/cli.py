"""The `mbrl` command: a thin dispatcher before LightningCLI, so that `mbrl --help` answers at once.

Exit codes: 0 for success, 2 for an error that a user can mend and 4 for a run that diverged (one sentence on stderr), 130
and 143 for what Ctrl-C or SIGTERM ended: a run after its step, with a checkpoint written.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from mbrl import __version__
from mbrl.errors import ConfigError, DivergedError, MbrlError, shown, wrapped

_DISK_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
)  # not bugs of ours
_PATH_ERRORS = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG)


COMPLETION = "--print-completion"


class Command(NamedTuple):
    """A line of the table.

    Attributes:
        text: what `mbrl --help` says of it.
        options: the module whose `parse` reads its arguments, and imports nothing that takes long.
        module: the module whose `run` does it, imported once the arguments are read: torch and Lightning take seconds.
            What `parse` returns may name another, its `module`.
    """

    text: str
    options: str = ""
    module: str = ""


# By the words after `mbrl`. `search` alone is a group, and its commands' `run` takes the parser of `mbrl fit` too.
_FIT = ("mbrl.options.fit", "mbrl.training.commands.fit")
_LISTED = "mbrl.options.presets_command"
COMMANDS: dict[str, Command] = {
    "fit": Command("train a planner in its environment, or a dynamics model on a dataset", *_FIT),
    "presets": Command("list shipped settings by name, and what was measured with them", _LISTED, _LISTED),
    "validate": Command("evaluate a checkpoint as training does", *_FIT),
    "test": Command(
        "test a checkpoint on episodes that training never saw, or at several decision frequencies",
        "mbrl.options.fit",
        "mbrl.analysis.commands.test",
    ),
    "predict": Command("write a planner's actions or a model's predictions for a dataset", *_FIT),
    **{
        name: Command(text, f"mbrl.options.{name}", f"mbrl.{folder}.commands.{name}")
        for name, folder, text in (
            ("init", "training", "write the settings of a first run in an environment of your own"),
            ("collect", "training", "record a dataset with random actions or a trained planner"),
            ("distill", "training", "turn a trained policy into a sparse sum that can be read"),
            ("play", "training", "show a trained planner in its environment, in a window or as a film"),
            ("export", "training", "write a policy as a file of torch or ONNX, or a sparse one as Python or C"),
            ("hub", "training", "upload a run to the Hugging Face hub with a card, or bring one from there"),
            ("check", "training", "check an environment and its task functions, or a dataset"),
            ("report", "analysis", "look at a trained model on a dataset: where, how far ahead and how surely it is wrong"),
            ("plot", "analysis", "draw learning curves of runs with bands over their seeds"),
        )
    },
    "search": Command("search hyperparameters over the same YAML, in one or many processes"),
    **{
        f"search {name}": Command(text, "mbrl.options.search", f"mbrl.search.commands.{name}")
        for name, text in (
            ("check", "try a search file's space on the command's parser, before any trial"),
            ("run", "start a search, or go on with it"),
            ("join", "work on a study that another machine started"),
            ("status", "how far a study is, who works on it, and its best configuration"),
            ("confirm", "run the best configurations on unseen seeds"),
            ("report", "plots, tables and the best configuration of a study"),
            ("retry", "queue failed trials again"),
            ("stop", "let workers finish their trials and leave"),
        )
    },
}


def commands_of(group: str = "") -> dict[str, str]:
    """The commands of a group, `search` or none, and what `--help` says of each."""
    return {name.split()[-1]: command.text for name, command in COMMANDS.items() if name.rpartition(" ")[0] == group}


def usage(group: str = "") -> str:
    """The text of `mbrl --help`, or of the help of a group of commands."""
    commands = commands_of(group)
    width = max(map(len, commands))
    listed = "commands:\n" + "\n".join(f"  {name:<{width}}  {text}" for name, text in commands.items())
    if group == "search":
        return (
            "usage: mbrl search COMMAND …\n\nBayesian-optimised hyperparameters over the YAML of mbrl fit.\n\n"
            f"{listed}\n\nmbrl search COMMAND --help says what a command takes."
        )
    return (
        "usage: mbrl [--allow MODULE] [--traceback] COMMAND …\n\n"
        f"Model-based reinforcement learning: any dynamics model with any planner.\n\n{listed}\n\noptions:\n"
        "  --allow MODULE  put the current folder on the path, and trust that module's names in checkpoints\n"
        "  --foreign       (fit, validate, test, predict) trust a --config no more than a checkpoint\n"
        "  --traceback     show where an error came from\n"
        "  --version       print the version\n"
        f"  {COMPLETION} SHELL\n                  print a script by which bash or zsh completes all this\n\n"
        "mbrl COMMAND --help says what a command takes."
    )


def take_options(arguments: Sequence[str]) -> tuple[list[str], list[str], bool]:
    """Splits off the options of every command: returns the rest, the allowed modules, and whether to show tracebacks."""
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


def dispatch(
    arguments: Sequence[str], allow: Sequence[str] = (), parse: Callable[[list[str]], Mapping[str, Any]] | None = None
) -> int:
    """Runs the command that the arguments begin with, and returns its exit code.

    Args:
        arguments: those after `mbrl`, without the options of every command.
        allow: modules in which names of a checkpoint or a study may be looked up; the current folder goes on the path.
        parse: the parser of `mbrl fit` for `mbrl search`, from the arguments of a run to all its settings; the real one by
            default.

    Raises:
        ConfigError: if there is no such command.
        MbrlError: as the command says.
    """
    rest = list(arguments)
    group = rest.pop(0) if rest[:1] == ["search"] else ""
    if not rest or rest[0] in ("-h", "--help"):
        print(wrapped(usage(group), sys.stdout))
        return 0
    if rest[0] == "--version" and not group:
        print(__version__)
        return 0
    if rest[0].partition("=")[0] == COMPLETION and not group:
        from mbrl.options.completion import print_script

        print_script((rest[0].partition("=")[2] or " ".join(rest[1:2])), COMMANDS)
        return 0
    if rest[0] not in (names := commands_of(group)):
        where = f"mbrl {group}: " if group else ""
        raise ConfigError(f"{where}expected a command, got {rest[0]!r}; choose one of {', '.join(names)}.")
    if "" in allow:
        raise ConfigError("--allow: expected the name of a module after it.")
    if allow and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    name = f"{group} {rest[0]}".strip()
    command = COMMANDS[name]
    given = import_module(command.options).parse(name, rest[1:])
    run = import_module(getattr(given, "module", command.module)).run

    def parsed(of_a_run: list[str]) -> Mapping[str, Any]:
        from mbrl.training.commands.parsed import parsed

        return parsed(of_a_run, allow)

    return int(run(given, allow, parse or parsed) if group else run(given, allow))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    Args:
        arguments: those after `mbrl`; the process's own by default.
    """
    rest, allow, traceback = take_options(sys.argv[1:] if arguments is None else arguments)
    try:
        return dispatch(rest, allow)
    except SystemExit as stop:  # a parser's error, --help, or a signal that ended the run
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:  # in a command that isn't a run: those end after their step
        if traceback:
            raise
        return _fail("stopped by Ctrl-C.", 130)
    except MbrlError as error:
        if error.results is not None:
            from mbrl.training.output import show_metrics

            show_metrics(rest[0], error.results)
        if traceback:
            raise
        return _fail(str(error), 4 if isinstance(error, DivergedError) else 2)
    except BrokenPipeError:  # whoever read the output has seen enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if traceback or error.errno not in (*_DISK_ERRORS, *_PATH_ERRORS):
            raise
        where = error.filename or "a file"
        if error.errno in _PATH_ERRORS:  # such as a folder where a file is meant
            return _fail(f"expected to read or write {where}, but that failed ({error.strerror}); check what is there.")
        return _fail(
            f"expected to read or write {where}, but that failed ({error.strerror}); free space, change permissions or "
            "move what lies there, and resume a run with --ckpt_path last."
        )


def _fail(sentence: str, code: int = 2) -> int:
    print(wrapped(f"mbrl: {shown(sentence)}", sys.stderr), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
