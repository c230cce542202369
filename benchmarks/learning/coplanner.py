"""Compares MBPO, each half of COPlanner, and COPlanner on the same seeds.

    python benchmarks/learning/coplanner.py run cartpole_swingup --seeds 0 1 2 --workers 2
    python benchmarks/learning/coplanner.py draw cartpole_swingup

`run` trains every arm on every seed through the `mbrl` command, one thread per run and `--workers` runs side by side, tests
each on ten episodes that training never saw, and appends to `results/coplanner-TASK.curve.csv` and `….test.csv`. A run
that was interrupted is resumed; one that has a row in the test file is skipped. `draw` makes the figure and prints a table.
"""

from __future__ import annotations

import argparse
import fcntl
import sys
import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))  # the scripts beside this one
import run as learning

from mbrl.analysis import Curve, learning_curves, probability_of_improvement
from mbrl.data import make_generator

# Arm → the overlay that separates it from MBPO, and the selectors that plan.
ARMS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "mbpo": ([], ()),
    "rollouts-only": (["configs/coplanner/rollouts_only.yaml"], ("rollout",)),
    "exploration-only": (["configs/coplanner/exploration_only.yaml"], ("explore",)),
    "coplanner": (["configs/coplanner/both.yaml"], ("rollout", "explore")),
}
# The disagreement of the members' means, and sums that are divided by their spread over a state's candidates, so that one
# rate serves tasks whose rewards differ in size.
CLEAN = ["uncertainty=mbrl.uncertainty.MeanDisagreement", "normalize=true"]
# Task, a file of configs/mbpo → its title, and what is set of each selector that plans (chosen on seeds 10 and 11).
TASKS: dict[str, tuple[str, dict[str, list[str]]]] = {
    "mountain_car": (
        "MountainCarContinuous-v0",
        {"rollout": CLEAN, "explore": [*CLEAN, "candidates=10", "horizon=10"]},
    ),
    "cartpole_swingup": ("dm_control cartpole-swingup, action repeat 4", {"rollout": CLEAN, "explore": CLEAN}),
    "cartpole_swingup_sparse": (
        "dm_control cartpole-swingup_sparse, action repeat 4",
        {"rollout": CLEAN, "explore": [*CLEAN, "candidates=10", "horizon=10"]},
    ),
    "hopper": ("Hopper-v5", {}),
}
_RECORDING = threading.Lock()  # the files are appended to by one run at a time
SPREADS = tuple(f"{where}/{what}_spread" for where in ("rollout", "explore") for what in ("reward", "uncertainty"))


def command(task: str, arm: str) -> tuple[list[str], list[str]]:
    """The configuration files of an arm, and what is set over them."""
    overlays, selectors = ARMS[arm]
    _, settings = TASKS[task]
    overrides = [
        f"--model.init_args.{selector}_selector.init_args.{setting}"
        for selector in selectors
        for setting in settings.get(selector, [])
    ]
    return ["configs/base/mbpo.yaml", f"configs/mbpo/{task}.yaml", *overlays], overrides


def recorded(task: str) -> set[tuple[str, int]]:
    """Arms and seeds that the test file holds."""
    rows = learning.read(learning.RESULTS / f"coplanner-{task}.test.csv")
    return {(row["name"], int(row["seed"])) for row in rows}


def train(task: str, arm: str, seed: int, runs: Path) -> str:
    """Trains and records one arm on one seed, unless another process does or did; says which."""
    configs, overrides = command(task, arm)
    about = {"commit": learning.commit(), "configs": " ".join([*configs, *overrides])}
    folder, options = learning.options_of(f"coplanner-{task}-{arm}", seed, configs, overrides, runs)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # two processes in one run folder would spoil it
        except BlockingIOError:
            return "another process runs it"
        if (arm, seed) in recorded(task):
            return "recorded already"
        spent = learning.fit(folder, options)
        with _RECORDING:
            learning.record(arm, seed, folder, options, {**spent, **about}, f"coplanner-{task}", SPREADS)
    return "recorded"


def run(task: str, seeds: Sequence[int], arms: Sequence[str], runs: Path, workers: int) -> None:
    """Trains what isn't recorded yet, all arms of a seed before the next seed."""
    learning.RESULTS.mkdir(exist_ok=True)
    with ThreadPoolExecutor(workers) as pool:
        running = {pool.submit(train, task, arm, seed, runs): (arm, seed) for seed in seeds for arm in arms}
        for finished in as_completed(running):
            arm, seed = running[finished]
            print(f"{task} {arm} seed {seed}: {finished.result()}", flush=True)


def draw(task: str, statistic: str) -> None:
    """Writes the figure and prints each arm's last returns."""
    curves: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in learning.read(learning.RESULTS / f"coplanner-{task}.curve.csv"):
        curves[row["name"]][row["seed"]].append((int(row["env_steps"]), float(row["return"])))
    groups = {
        arm: [
            Curve(f"{arm} seed {seed}", *torch.tensor(sorted(points), dtype=torch.float64).unbind(1))
            for seed, points in sorted(curves[arm].items(), key=lambda item: int(item[0]))
        ]
        for arm in ARMS
        if arm in curves
    }
    found = learning_curves(groups, generator=make_generator("cpu", "draw"), statistic=statistic)
    figure = found.plot()
    figure.axes[0].set_title(TASKS[task][0])
    figure.savefig(learning.RESULTS / f"coplanner-{task}.png", dpi=150)
    print("\n".join(found.lines()))
    tests: dict[str, list[float]] = defaultdict(list)
    for row in learning.read(learning.RESULTS / f"coplanner-{task}.test.csv"):
        tests[row["name"]].append(float(row["test_return"]))
    scores = {arm: {task: torch.tensor(tests[arm], dtype=torch.float64)} for arm in ARMS if arm in tests}
    for arm, returns in tests.items():
        print(f"test {arm}: {', '.join(f'{value:.0f}' for value in returns)}")
    if len(scores) > 1:
        better = probability_of_improvement(scores, generator=make_generator("cpu", "draw"))
        print(better.to_frame().to_string(index=False))


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "draw"))
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--workers", type=int, default=2, help="runs side by side, each on one thread")
    parser.add_argument("--statistic", choices=("iqm", "mean"), default="mean")
    given = parser.parse_args()
    if given.what == "run":
        run(given.task, given.seeds, given.arms, given.runs, given.workers)
    else:
        draw(given.task, given.statistic)


if __name__ == "__main__":
    main()
