"""`mbrl --print-completion SHELL`: a script by which a shell completes commands, options, presets and paths, by shtab.

Whatever a command takes is asked of the parser that reads it, so that a new command or option needs nothing here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from mbrl.errors import ConfigError
from mbrl.options import fit
from mbrl.options.described import described
from mbrl.options.presets import OPTION, names

SHELLS = ("bash", "zsh")
_FOLDERS = {"run", "runs", "ckpt_path", "folder"}  # what these name: runs, mostly
_FILES = {"config", "output", "dataset", "training_data", "search", "figure"}


def script(shell: str, commands: Mapping[str, Any]) -> str:
    """The script of a shell.

    Args:
        shell: one of `SHELLS`.
        commands: the command line's table, by the words after `mbrl`.

    Raises:
        ConfigError: for another shell, or without shtab.
    """
    if shell not in SHELLS:
        raise ConfigError(f"--print-completion: expected {' or '.join(SHELLS)}, got {shell!r}; name one.")
    try:
        import shtab
    except ImportError as error:
        raise ConfigError(
            "--print-completion: expected shtab, which writes it, got none; run pip install 'mbrl-toolkit[completion]'."
        ) from error
    parser = _whole(commands)
    for action in _actions(parser):
        if action.dest in _FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.dest in _FILES or action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell=shell))


def _whole(commands: Mapping[str, Any]) -> argparse.ArgumentParser:
    """One parser of all commands, with those of a group below it."""
    parser = argparse.ArgumentParser(prog="mbrl")
    parser.add_argument("--allow", metavar="MODULE", help="trust that module's names in checkpoints")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    parser.add_argument("--version", action="store_true", help="print the version")
    groups = {"": parser.add_subparsers()}
    for name, command in commands.items():
        group, _, last = name.rpartition(" ")
        made = groups[group].add_parser(last, help=_escaped(command.text))
        if not command.options:
            groups[name] = made.add_subparsers()
            continue
        found = _of_fit() if name == "fit" else _parser_of(command.options, name)
        groups[group]._name_parser_map[last] = found  # with the help of `made`
    return parser


class _Asked(Exception):
    """Carries the parser that was about to read arguments."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


@contextmanager
def _asking() -> Iterator[None]:
    def ask(parser: argparse.ArgumentParser, *arguments: Any) -> NoReturn:
        raise _Asked(parser)

    before = argparse.ArgumentParser.parse_args
    argparse.ArgumentParser.parse_args = ask  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        argparse.ArgumentParser.parse_args = before  # type: ignore[method-assign]


def _parser_of(module: str, name: str) -> argparse.ArgumentParser:
    """The parser by which a command's module reads its arguments."""
    with _asking():
        try:
            import_module(module).parse(name, [])
        except _Asked as asked:
            return asked.parser
    raise TypeError(f"{module}.parse reads its arguments without argparse")


def _of_fit() -> argparse.ArgumentParser:
    """The options of `mbrl fit` that its help lists; Lightning's command line, which reads them, takes seconds to import."""
    parser = argparse.ArgumentParser(prog="mbrl fit")
    for name, text in [*fit._OWN, *fit._OF_FIT]:
        flag, _, metavar = name.partition(" ")
        if metavar:
            choices = names() if flag == OPTION else None
            parser.add_argument(flag, metavar=metavar, choices=choices, help=_escaped(text))
        else:
            parser.add_argument(flag, action="store_true", help=_escaped(text))
    for one in described("training/trainer.py", "Trainer", ("training/run_trainer.py", "RunTrainer")):
        parser.add_argument(f"--trainer.{one.name}", dest=one.name, help=_escaped(one.text))
    return parser


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All options and arguments of a parser, and of those below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _actions(below)
        else:
            yield action


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def print_script(shell: str, commands: Mapping[str, Any]) -> None:
    """Writes the script to stdout."""
    sys.stdout.write(script(shell, commands) + "\n")
