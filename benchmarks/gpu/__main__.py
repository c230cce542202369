"""Checks the GPU against the CPU, and measures it: `python -m benchmarks.gpu --out mine.json`, in under ten minutes."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks.gpu.hopper import hopper
from benchmarks.gpu.parity import parity
from benchmarks.gpu.paths import paths
from benchmarks.gpu.precision import precision
from benchmarks.gpu.rates import rates
from benchmarks.gpu.section import Row, Section, Setting, one_line
from benchmarks.speed.machine import machine
from mbrl.errors import MbrlError
from mbrl.replacing import replacing
from mbrl.training.files import make_writable

SECTIONS: dict[str, Section] = {
    "parity": parity,
    "precision": precision,
    "rates": rates,
    "hopper": hopper,
    "paths": paths,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the sections, writes each as it ends, and prints them; returns 1 if one of them found what should not be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=_device, default="cuda", help="cuda, cuda:<n>, or cpu: a rehearsal without figures")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections (default: all)")
    parser.add_argument("--minutes", type=_minutes, default=9.0, help="after which nothing further is begun")
    parser.add_argument("--out", type=_writable, help="where to write the figures as JSON, section by section")
    given = parser.parse_args(arguments)
    device: torch.device = given.device
    setting = Setting(device, perf_counter() + 60 * given.minutes)
    result: dict[str, Any] = {"device": str(device), "machine": machine(device), "sections": {}}
    failed = []
    for name in given.only:
        rows, began = list[Row](), perf_counter()
        try:
            for row in SECTIONS[name](setting):
                rows.append(row)
                print(f"{row.what:72.72} {_shown(row.value):>12}  {row.unit}", flush=True)
        except Exception as error:  # the sections after it run all the same
            rows.append(Row(name, one_line(error), "the section ended here", failed=True))
        failed += [row for row in rows if row.failed]
        result["sections"][name] = {"seconds": perf_counter() - began, "rows": [asdict(row) for row in rows]}
        if given.out:
            write(given.out, result)
    print("\n" + table(result))
    for row in failed:
        print(f"failed: {row.what}: {_shown(row.value)} {row.unit}", file=sys.stderr)
    return int(bool(failed))


def _device(text: str) -> torch.device:
    """A device that there is, of those that the sections know."""
    kind, colon, number = text.partition(":")
    if kind not in ("cuda", "cpu") or (colon and not (kind == "cuda" and number.isdecimal())):
        raise argparse.ArgumentTypeError(f"expected cuda, cuda:<n> or cpu, got {text!r}; leave it out for the first GPU")
    if kind == "cuda" and not torch.cuda.is_available():
        advice = (
            f"install a torch with CUDA, which {torch.__version__} lacks"
            if torch.version.cuda is None
            else "look at its driver"
        )
        raise argparse.ArgumentTypeError(
            f"expected a CUDA device, and torch finds none; give --device cpu for a rehearsal, or {advice}"
        )
    if number and int(number) >= torch.cuda.device_count():
        raise argparse.ArgumentTypeError(f"expected a GPU below {torch.cuda.device_count()}, counted from 0, got {number}")
    return torch.device(text)


def _minutes(text: str) -> float:
    """A time; none at all would begin nothing."""
    with suppress(ValueError):
        minutes = float(text)
        if 0 < minutes < math.inf:
            return minutes
    raise argparse.ArgumentTypeError(f"expected a finite number above 0, got {text}; leave it out for nine minutes")


def _writable(text: str) -> Path:
    """A file in a folder that can be written, looked at before minutes of work rather than after them."""
    out = Path(text)
    if out.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file, got the folder {text}; give {out / 'mine.json'}")
    try:
        make_writable(out.absolute().parent, "--out")
    except MbrlError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return out


def write(out: Path, result: dict[str, Any]) -> None:
    """Puts what there is so far in the place of what was written before, whole."""
    with replacing(out) as file:
        file.write((json.dumps(result, indent=1) + "\n").encode())


def table(result: dict[str, Any]) -> str:
    """All sections as Markdown."""
    lines = [f"{result['machine']['gpu'] or 'no GPU'}, torch {result['machine']['torch']}"]
    for name, section in result["sections"].items():
        lines += ["", f"{name}, {section['seconds']:.0f} s", "", "| | | |", "|---|---|---|"]
        lines += [f"| {row['what']} | {_shown(row['value'])} | {row['unit']} |" for row in section["rows"]]
    return "\n".join(lines)


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main())
