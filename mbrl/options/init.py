"""Options of `mbrl init`."""

from __future__ import annotations

import argparse
from pathlib import Path

from mbrl.options.presets import OPTION, with_presets

DEFAULT = "mbpo/inverted_pendulum_fast"


def parse(command: str, arguments: list[str]) -> argparse.Namespace:
    """Reads the arguments after `mbrl init`; `files` are those of the preset.

    Raises:
        ConfigError: for a preset that doesn't exist, or lacks its base.
    """
    parser = argparse.ArgumentParser(
        prog=f"mbrl {command}",
        description="Writes the settings of a first run in an environment of your own, with a comment on each that matters.",
    )
    parser.add_argument("env", help="Gymnasium's id, module:Id, or the .py file that registers one, below this folder")
    parser.add_argument(
        OPTION, metavar="NAMES", default=DEFAULT, help=f"shipped settings to begin with, as in mbrl fit (default: {DEFAULT})"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="the file to write (default: the environment's name.yaml)"
    )
    parser.add_argument("--env_kwargs", help="keyword arguments of the environment, as JSON")
    parser.add_argument("--action_repeat", type=int, default=1, help="simulator steps in one real step (default: 1)")
    parser.add_argument("--reward", default="auto", help="auto, learned, or the dotted name of a function")
    parser.add_argument("--terminated", default="auto", help="auto, learned, or the dotted name of a function")
    given = parser.parse_args(arguments)
    given.files = with_presets([OPTION, given.preset])[1::2]
    return given
