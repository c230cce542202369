"""The walk of docs/own_environment.md in full: `mbrl init` in an environment that no preset knows, and its run.

    python benchmarks/learning/own_environment.py --seeds 0 1 2

The environment is `examples/lift.py`. The settings are what the command writes, nothing over them; the same command after an
interruption goes on. Rows are kept as by `run.py`, in `results/own-environment.*.csv`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the script beside this one
import run as learning

NAME = "own-environment"
EXAMPLES = Path(__file__).parents[2] / "examples"
TRUSTED = ("--allow", "lift")


def settings(runs: Path) -> Path:
    """The file that `mbrl init` writes for the lift, made once."""
    path = runs / NAME / "lift.yaml"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        learning.mbrl([*TRUSTED, "init", "lift:Lift-v0", "--output", str(path)], path.with_suffix(".log"))
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and records the seeds that aren't recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark"))
    given, overrides = parser.parse_known_args(arguments)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(EXAMPLES), *filter(None, [os.environ.get("PYTHONPATH")])])
    learning.RESULTS.mkdir(exist_ok=True)
    done = {int(row["seed"]) for row in learning.read(learning.RESULTS / f"{NAME}.test.csv")}
    for seed in given.seeds:
        if seed in done:
            continue
        config = str(settings(given.runs))
        folder, options = learning.options_of(NAME, seed, [config], [*overrides, *TRUSTED], given.runs)
        about = {"commit": learning.commit(), "configs": " ".join(["mbrl init lift:Lift-v0", *overrides])}
        learning.record(NAME, seed, folder, options, {**learning.fit(folder, options), **about})


if __name__ == "__main__":
    main()
