"""What the benchmarks of single comparisons ask of their command line, and the file that their figures go to."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.machine import machine


def asked(doc: str | None) -> tuple[Path | None, int]:
    """Where to write the figures, and how many alternating rounds to take; torch is set to one thread.

    Args:
        doc: of the benchmark, whose first line is its help.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0] if doc else None)
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (5 or more)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    return given.out, given.rounds


def write_figures(out: Path | None, found: Mapping[str, Any]) -> None:
    """Writes figures as JSON beside the machine that they are of, if a place was named."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"machine": machine(torch.device("cpu")), **found}, indent=1) + "\n")
