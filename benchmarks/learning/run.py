"""Trains presets on several seeds through the `mbrl` command and keeps curves and test results as CSV.

    python benchmarks/learning/run.py mbpo-pendulum --seeds 0 1 2 \
        --config configs/base/mbpo.yaml --config configs/mbpo/pendulum.yaml

writes `benchmarks/learning/results/mbpo-pendulum.curve.csv` (one row per evaluation) and `….test.csv` (one row per seed,
with steps, wall-clock, hardware, versions and commit). A seed whose run was interrupted is resumed; one that has a row in
the test file is skipped. `draw.py` makes the figures from these files.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
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
    """Appends rows to a CSV file, with a header if it is new.

    Raises:
        ValueError: if the file has other columns.
    """
    new = not path.exists()
    if not new:
        columns = path.read_text().partition("\n")[0].split(",")
        if columns != list(rows[0]):
            raise ValueError(f"{path}: expected the columns {columns}, got {list(rows[0])}; move the older file away.")
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


def mbrl(arguments: Sequence[str], log: Path) -> float:
    """Runs one `mbrl` command at one thread, its output appended to `log`; returns the processor seconds that it took."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mbrl.cli", *arguments]
    with log.open("a") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
        _, status, used = os.wait4(process.pid, 0)  # of this child alone, as several may run at once
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    return used.ru_utime + used.ru_stime


def options_of(name: str, seed: int, configs: Sequence[str], overrides: Sequence[str], runs: Path) -> tuple[Path, list[str]]:
    """The run folder of a seed and the options that name it."""
    folder = runs / name / f"seed{seed}"
    options = [part for config in configs for part in ("--config", config)]
    options += ["--seed_everything", str(seed), "--trainer.folder", str(folder), "--trainer.progress", "false", *overrides]
    return folder, options


def fit(folder: Path, options: Sequence[str]) -> dict[str, float | str]:
    """Trains one seed; returns the seconds that this took, or nothing if an interrupted run, whose are lost, went on."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    goes_on = (folder / "metrics.jsonl").exists()
    began = time.perf_counter()
    used = mbrl(["fit", *options, "--ckpt_path", "last"], folder.with_suffix(".log"))
    if goes_on:
        return {"wall_s": "", "cpu_s": ""}
    # processor time: what the run took of a core, whatever else the machine was doing
    return {"wall_s": round(time.perf_counter() - began, 1), "cpu_s": round(used, 1)}


def record(
    name: str,
    seed: int,
    folder: Path,
    options: Sequence[str],
    about: dict[str, Any],
    file: str | None = None,
    metrics: Sequence[str] = (),
) -> None:
    """Tests the newest checkpoint and appends the seed's rows to the two CSV files.

    Args:
        name: name of the run.
        seed: its seed.
        folder: its folder.
        options: the options that name its seed and folder.
        about: what the test file says beside the results.
        file: the files' name, where several runs share them; `name` by default.
        metrics: those of a metric line that the curve file keeps too, empty where a run has none.
    """
    file = file or name
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    mbrl(["test", *options, "--ckpt_path", "last"], folder.with_suffix(".log"))
    test = json.loads((folder / "test.json").read_text())
    measures = ("return", "return_low", "return_high", "episodes")
    clock = "env_steps" if "env_steps" in lines[-1] else "updates"  # of a planner that learns from a dataset
    curve = [
        {
            "name": name,
            "seed": seed,
            clock: int(line[clock]),
            **{measure: line.get(f"eval/{measure}", "") for measure in measures},
            **{metric: line.get(metric, "") for metric in metrics},
            "wall_s": round(line["time/wall_s"], 1),
        }
        for line in lines
        if "eval/return" in line
    ]
    append(RESULTS / f"{file}.curve.csv", curve)
    row = {"name": name, "seed": seed, clock: int(lines[-1][clock])}
    row |= {f"test_{measure}": test.get(f"test/{measure}", "") for measure in measures}
    append(RESULTS / f"{file}.test.csv", [{**row, **about, "hardware": hardware(), "versions": versions()}])


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--config", action="append", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--unfinished", action="store_true", help="record runs as far as they are, without training further")
    arguments, overrides = parser.parse_known_args()
    RESULTS.mkdir(exist_ok=True)
    done = {int(row["seed"]) for row in read(RESULTS / f"{arguments.name}.test.csv")}
    for seed in arguments.seeds:
        if seed in done:
            continue
        folder, options = options_of(arguments.name, seed, arguments.config, overrides, arguments.runs)
        about: dict[str, Any] = {"wall_s": "", "cpu_s": "", "commit": commit()}
        about["configs"] = " ".join([*arguments.config, *overrides])
        if not arguments.unfinished:
            about |= fit(folder, options)
        record(arguments.name, seed, folder, options, about)


if __name__ == "__main__":
    main()
