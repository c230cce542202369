"""Hostile and clumsy inputs, and kills: `python -m benchmarks.armour inputs`, `… kills`, `… draw`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.armour.table import RESULTS, draw


def main() -> int:
    """Runs one of the three commands; the exit code is 1 where something broke."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.armour", description=__doc__)
    parser.add_argument("command", choices=["inputs", "kills", "draw"], help="draw puts the tables into docs/robustness.md")
    parser.add_argument("--only", help="inputs of this kind")
    parser.add_argument("--name", help="inputs whose names hold this text")
    parser.add_argument("--every", type=int, default=1, help="only each so many-th input, for a quick look (default: 1)")
    parser.add_argument("--number", type=int, default=200, help="of kills (default: 200)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV files")
    given = parser.parse_args()
    if given.command == "draw":
        draw(given.out)
        return 0
    if given.command == "kills":
        from benchmarks.armour import kills

        return min(1, kills.run(given.number, given.out))
    from benchmarks.armour import inputs

    return min(1, inputs.run(given.out, given.only, given.name, given.every))


if __name__ == "__main__":
    sys.exit(main())
