"""`mbrl presets`: what is shipped, what goes over what, and what was measured."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Sequence
from itertools import chain
from typing import Any

from mbrl.errors import ConfigError, wrapped
from mbrl.options.presets import OPTION, evidence, first_line, names, needs


def parse(command: str, arguments: list[str]) -> argparse.Namespace:
    """Reads the arguments after `mbrl presets`."""
    parser = argparse.ArgumentParser(
        prog=f"mbrl {command}",
        description=f"Lists the settings that mbrl fit {OPTION} takes by name, and what was measured with them.",
    )
    parser.add_argument("folder", nargs="?", default="", help="of presets, such as mbpo (default: all)")
    return parser.parse_args(arguments)


def run(given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Prints a preset a line: its name, what it goes over, evidence, and what it is."""
    listed = [name for name in names() if not given.folder or name == given.folder or name.startswith(f"{given.folder}/")]
    if not listed:
        folders = sorted({name.rpartition("/")[0] for name in names()} - {""})
        raise ConfigError(f"mbrl presets: expected a folder of presets, got {given.folder}; choose of {', '.join(folders)}.")
    width = min(shutil.get_terminal_size().columns, 120) - 4
    for name in listed:
        told = (textwrap.wrap(text, width, break_on_hyphens=False) for text in (first_line(name), _of(needs(name), name)))
        sys.stdout.write("\n    ".join([name, *chain(*told)]) + "\n")
    end = f"\nmbrl fit {OPTION} NAME, or NAME,OVERLAY with what goes over it; later options override both.\n"
    sys.stdout.write(wrapped(end, sys.stdout))
    return 0


def _of(wanted: dict[str, Any], name: str) -> str:
    if over := wanted.get("over"):
        return f"goes over {', '.join(over)}"
    return evidence(name)
