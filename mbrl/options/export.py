"""Options of `mbrl export`."""

from __future__ import annotations

import argparse

from mbrl.options.parsers import RUN


def parse(command: str, arguments: list[str]) -> argparse.Namespace:
    """Reads the arguments after `mbrl export`."""
    about = "Writes a sparse model or a sparse policy as a few lines of Python or C that need nothing else."
    parser = argparse.ArgumentParser(prog=f"mbrl {command}", description=about)
    parser.add_argument("run", help=RUN)
    parser.add_argument("--to", choices=["python", "c"], default="python", help="the language (default: python)")
    parser.add_argument("--output", required=True, help="the file, which is replaced if it is there")
    return parser.parse_args(arguments)
