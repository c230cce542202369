"""Checks the GPU against the CPU, and measures it: `python -m benchmarks.gpu --out mine.json`, in under ten minutes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
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
from mbrl.replacing import replacing

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
    parser.add_argument("--device", default="cuda", help="cuda, cuda:<n>, or cpu: a rehearsal without figures")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections (default: all)")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which nothing further is begun")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON, section by section")
    given = parser.parse_args(arguments)
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("expected a CUDA device, and torch finds none; give --device cpu for a rehearsal")
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


def write(out: Path, result: dict[str, Any]) -> None:
    """Puts what there is so far in the place of what was written before, whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
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
