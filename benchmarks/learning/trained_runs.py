"""Trains three small tasks and packs the runs with their cards into one file, for a release.

    python benchmarks/learning/trained_runs.py          # about ten core-minutes

writes `build/trained-runs.zip`; unpacked, `mbrl play trained-runs/NAME` shows one and `mbrl.load_policy` acts with it. A run
that was interrupted goes on, a finished one is packed as it is. What a card says was measured by `mbrl test`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the scripts beside this one
import run as learning

from mbrl.training.hub import pack

NAME = "trained-runs"
PRESETS = {
    "mbpo-inverted-pendulum": "mbpo/inverted_pendulum_fast",
    "mbpo-pendulum": "mbpo/pendulum",
    "sindy-cartpole-swingup": "sindy/pets_cartpole_swingup",
}


def packed(presets: dict[str, str], runs: Path, build: Path, overrides: list[str]) -> Path:
    """Trains what isn't trained yet, packs all, and returns the file."""
    place = build / NAME
    if place.exists():
        shutil.rmtree(place)  # of an earlier call
    for name, preset in presets.items():
        folder = runs / name / "seed0"
        folder.parent.mkdir(parents=True, exist_ok=True)
        of_run = ["--trainer.folder", str(folder), "--trainer.progress", "false", *overrides]
        log = folder.with_suffix(".log")
        learning.mbrl(["fit", "--preset", preset, *of_run, "--ckpt_path", "last"], log)
        learning.mbrl(["test", str(folder)], log)
        print(f"{name}: {pack(folder, place / name)}", flush=True)
    return Path(shutil.make_archive(str(place), "zip", build, NAME))


def main() -> None:
    """Reads the command line; what follows `--` is handed to `mbrl fit`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--names", nargs="+", choices=list(PRESETS), default=list(PRESETS), help="of the three (default: all)"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/trained"), help="where they are trained")
    parser.add_argument("--build", type=Path, default=Path("build"), help="where the file is written")
    given, overrides = parser.parse_known_args()
    print(
        packed({name: PRESETS[name] for name in given.names}, given.runs, given.build, [o for o in overrides if o != "--"])
    )


if __name__ == "__main__":
    main()
