"""`mbrl search`: chooses among its subcommands, each in a module of its own that is imported when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from mbrl.errors import ConfigError
from mbrl.search.file.export import Parse

# Name → (what `mbrl search --help` says, the module whose `run(arguments, allow, parse)` does it).
COMMANDS: dict[str, tuple[str, str]] = {
    "check": ("try a search file's space on the command's parser, before any trial", "mbrl.search.commands.check"),
    "run": ("start a search, or go on with it", "mbrl.search.commands.run"),
    "join": ("work on a study that another machine started", "mbrl.search.commands.join"),
    "status": ("how far a study is, who works on it, and its best configuration", "mbrl.search.commands.status"),
    "confirm": ("run the best configurations on unseen seeds", "mbrl.search.commands.confirm"),
    "report": ("plots, tables and the best configuration of a study", "mbrl.search.commands.report"),
    "retry": ("queue failed trials again", "mbrl.search.commands.retry"),
    "stop": ("let workers finish their trials and leave", "mbrl.search.commands.stop"),
}


def usage() -> str:
    """What `mbrl search --help` prints."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, (text, _) in COMMANDS.items())
    return (
        "usage: mbrl search COMMAND …\n\nBayesian-optimised hyperparameters over the YAML of mbrl fit.\n\n"
        f"commands:\n{commands}\n\nmbrl search COMMAND --help says what a command takes."
    )


def run(arguments: list[str], allow: Sequence[str], parse: Parse) -> int:
    """Runs a subcommand and returns its exit code.

    Args:
        arguments: `search`, the subcommand's name, and what follows.
        allow: modules in which names of a study or a checkpoint may be looked up.
        parse: the parser of `mbrl fit`.

    Raises:
        ConfigError: if there is no such subcommand.
    """
    _, *rest = arguments
    if not rest or rest[0] in ("-h", "--help"):
        sys.stdout.write(f"{usage()}\n")
        return 0
    if rest[0] not in COMMANDS:
        raise ConfigError(f"mbrl search: expected a command, got {rest[0]!r}; choose one of {', '.join(COMMANDS)}.")
    code: int = import_module(COMMANDS[rest[0]][1]).run(rest, allow, parse)
    return code
