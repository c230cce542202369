"""Trains presets on several seeds through the `mbrl` command and keeps curves and test results as CSV.

    python benchmarks/learning/run.py mbpo-pendulum --seeds 0 1 2 \
        --config configs/base/mbpo.yaml --config configs/mbpo/pendulum.yaml

writes `benchmarks/learning/results/mbpo-pendulum.curve.csv` (one row an evaluation) and `….test.csv` (one row a seed, with
steps, wall-clock, hardware, versions and commit). A seed whose run was interrupted is resumed; one that has a row in the
test file is skipped. `draw.py` makes the figures from these files.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def hardware() -> str:
    """The processor's model name and the number of cores."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, 1 thread used"


def commit() -> str:
    """The commit that ran, with a plus sign if files had changed since."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    changed = subprocess.run(
        ["git", "status", "--porcelain", "-uno", "mbrl", "configs"], capture_output=True, text=True, check=True
    )
    return head + ("+" if changed.stdout.strip() else "")


def versions() -> str:
    """The versions that a number depends on most."""
    import gymnasium
    import mujoco
    import torch

    mine = {"torch": torch.__version__, "gymnasium": gymnasium.__version__, "mujoco": mujoco.__version__}
    return ", ".join(f"{name} {version}" for name, version in {**mine, "python": platform.python_version()}.items())


def append(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Appends rows to a CSV file, with a header if it is new."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def mbrl(arguments: Sequence[str], log: Path) -> None:
    """Runs one `mbrl` command at one thread, its output appended to `log`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("a") as file:
        subprocess.run([sys.executable, "-m", "mbrl.cli", *arguments], stdout=file, stderr=file, env=environment, check=True)


def train(name: str, seed: int, configs: Sequence[str], overrides: Sequence[str], runs: Path) -> None:
    """One seed: fit (resumed if interrupted), test, and its rows in the two CSV files."""
    folder = runs / name / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.parent / f"seed{seed}.log"
    options = [part for config in configs for part in ("--config", config)]
    options += ["--seed_everything", str(seed), "--trainer.folder", str(folder), "--trainer.progress", "false", *overrides]
    ran = commit()
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    mbrl(["fit", *options, "--ckpt_path", "last"], log)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    evaluations = [line for line in lines if "eval/return" in line]
    curve = [
        {
            "name": name,
            "seed": seed,
            "env_steps": int(line["env_steps"]),
            "return": line["eval/return"],
            "return_low": line["eval/return_low"],
            "return_high": line["eval/return_high"],
            "episodes": int(line["eval/episodes"]),
            "wall_s": line.get("time/wall_s", ""),
        }
        for line in evaluations
    ]
    mbrl(["test", *options, "--ckpt_path", "last"], log)
    test = json.loads((folder / "test.json").read_text())
    append(RESULTS / f"{name}.curve.csv", curve)
    append(
        RESULTS / f"{name}.test.csv",
        [
            {
                "name": name,
                "seed": seed,
                "env_steps": int(lines[-1]["env_steps"]),
                "test_return": test["test/return"],
                "test_low": test["test/return_low"],
                "test_high": test["test/return_high"],
                "test_episodes": int(test["test/episodes"]),
                "wall_s": round(seconds, 1),
                "cpu_s": round(used, 1),  # what the run took of a core, whatever else the machine was doing
                "hardware": hardware(),
                "versions": versions(),
                "commit": ran,
                "configs": " ".join([*configs, *overrides]),
            }
        ],
    )


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--config", action="append", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark"))
    arguments, overrides = parser.parse_known_args()
    RESULTS.mkdir(exist_ok=True)
    done = {int(row["seed"]) for row in read(RESULTS / f"{arguments.name}.test.csv")}
    for seed in arguments.seeds:
        if seed not in done:
            train(arguments.name, seed, arguments.config, overrides, arguments.runs)


if __name__ == "__main__":
    main()
