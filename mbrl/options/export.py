"""Options of `mbrl export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from mbrl.options.parsers import RUN


def parse(command: str, arguments: list[str]) -> argparse.Namespace:
    """Reads the arguments after `mbrl export`."""
    about = "Writes a policy as a file of torch or ONNX, or a sparse policy or model as Python or C that needs nothing else."
    parser = argparse.ArgumentParser(prog=f"mbrl {command}", description=about)
    parser.add_argument("run", help=RUN)
    parser.add_argument(
        "--to", choices=("torch", "onnx", "python", "c"),
        help="torch or onnx for a run that acts by a policy, python or c for a sparse policy or a SINDy model (default: "
        "as --output ends, .pt2, .onnx, .py or .c; else python for these, and torch for others)",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, help="a new file (default: policy or model in the run folder)")
    return parser.parse_args(arguments)
