"""Trains several arms on the same seeds through the `mbrl` command: what the comparisons beside this file share.

An arm is what is compared: configuration files and what is set over them. `run` trains every arm on every seed, one thread a
run and several runs side by side, tests each on episodes that training never saw, and appends to `results/FILE.curve.csv`
and `….test.csv`. A run that was interrupted is resumed; one that has a row in the test file is skipped.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import run as learning
import torch

from mbrl.analysis import Curve, LearningCurves, learning_curves, probability_of_improvement
from mbrl.data import make_generator
from mbrl.figure_style import in_style

_RECORDING = threading.Lock()  # the files are appended to by one run at a time


@dataclass(frozen=True)
class Arm:
    """What one arm runs.

    Attributes:
        configs: configuration files, later ones over earlier.
        overrides: options of the command line over those.
    """

    configs: Sequence[str]
    overrides: Sequence[str] = ()


def recorded(file: str) -> set[tuple[str, int]]:
    """Arms and seeds that the test file holds."""
    rows = learning.read(learning.RESULTS / f"{file}.test.csv")
    return {(row["name"], int(row["seed"])) for row in rows}


def train(
    file: str, name: str, arm: Arm, seed: int, runs: Path, metrics: Sequence[str] = (), live: Sequence[str] = ()
) -> str:
    """Trains and records one arm on one seed, unless another process does or did; says which."""
    about = {"commit": learning.commit(), "configs": " ".join([*arm.configs, *arm.overrides])}
    folder, options = learning.options_of(f"{file}-{name}", seed, arm.configs, arm.overrides, runs)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # two processes in one run folder would spoil it
        except BlockingIOError:
            return "another process runs it"
        if (name, seed) in recorded(file):
            return "recorded already"
        spent = learning.fit(folder, options)
        with _RECORDING:
            if live:
                record_live(file, name, seed, folder, live)
            learning.record(name, seed, folder, options, {**spent, **about}, file, metrics)
    return "recorded"


def record_live(file: str, name: str, seed: int, folder: Path, live: Sequence[str]) -> None:
    """Appends what a run's `LiveModelReport` saw to `results/FILE.live.csv`."""
    lines = [json.loads(line) for line in (folder / "live" / "numbers.jsonl").read_text().splitlines()]
    rows = [{"name": name, "seed": seed, **{key: line.get(key, "") for key in ("env_steps", *live)}} for line in lines]
    learning.append(learning.RESULTS / f"{file}.live.csv", rows)


def run(
    file: str,
    arms: Mapping[str, Arm],
    seeds: Sequence[int],
    runs: Path,
    workers: int,
    metrics: Sequence[str] = (),
    live: Sequence[str] = (),
) -> None:
    """Trains what isn't recorded yet, all arms of a seed before the next seed.

    Args:
        file: the result files' name.
        arms: by name.
        seeds: of the runs.
        runs: folder of their run folders.
        workers: runs side by side.
        metrics: of a metric line that the curve file keeps beside the return.
        live: of the numbers of a run's `LiveModelReport` that `results/FILE.live.csv` keeps.
    """
    learning.RESULTS.mkdir(exist_ok=True)
    with ThreadPoolExecutor(workers) as pool:
        running = {
            pool.submit(train, file, name, arm, seed, runs, metrics, live): (name, seed)
            for seed in seeds
            for name, arm in arms.items()
        }
        for finished in as_completed(running):
            name, seed = running[finished]
            print(f"{file} {name} seed {seed}: {finished.result()}", flush=True)


def curves(
    file: str,
    names: Sequence[str],
    statistic: str = "mean",
    metric: str = "return",
    kind: str = "curve",
    to: Callable[[float], float] = float,
) -> LearningCurves:
    """The arms' curves over steps, in the order of `names`: of their returns, or of another column of a file of `kind`."""
    points: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    rows = learning.read(learning.RESULTS / f"{file}.{kind}.csv")
    clock = "updates" if rows and "updates" in rows[0] else "env_steps"  # the first of learning from a dataset
    for row in rows:
        points[row["name"]][row["seed"]].append((int(row[clock]), to(float(row[metric]))))
    groups = {
        name: [
            Curve(f"{name} seed {seed}", *torch.tensor(sorted(found), dtype=torch.float64).unbind(1))
            for seed, found in sorted(points[name].items(), key=lambda item: int(item[0]))
        ]
        for name in names
        if name in points
    }
    return learning_curves(groups, generator=make_generator("cpu", "draw"), x_name=clock, statistic=statistic)


@in_style
def draw(file: str, names: Sequence[str], title: str, statistic: str = "mean") -> None:
    """Writes `results/FILE.png` and prints what `print_tests` does."""
    found = curves(file, names, statistic)
    figure = found.plot()
    figure.axes[0].set_title(title)
    figure.savefig(learning.RESULTS / f"{file}.png", dpi=150)
    print("\n".join(found.lines()))
    print_tests(file, names)


def parser(
    about: str | None, names: Sequence[str], tasks: Sequence[str] = (), further: Sequence[str] = ()
) -> argparse.ArgumentParser:
    """The command line of a comparison: `run`, `draw` or what is `further`, a task if there are several, what to run."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("what", choices=("run", "draw", *further))
    if tasks:
        made.add_argument("task", choices=tasks)
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument("--arms", nargs="+", choices=names, default=list(names))
    made.add_argument("--runs", type=Path, default=Path("runs/benchmark"))
    made.add_argument("--workers", type=int, default=2, help="runs side by side, each on one thread")
    return made


def print_tests(file: str, names: Sequence[str]) -> None:
    """Prints each arm's test returns, and how probable it is that one arm's run beats another's."""
    rows = [row for row in learning.read(learning.RESULTS / f"{file}.test.csv") if row["name"] in names]
    tests: dict[str, list[float]] = defaultdict(list)
    minutes: dict[str, list[float]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        tests[row["name"]].append(float(row["test_return"]))
        minutes[row["name"]] += [float(row["cpu_s"]) / 60] if row["cpu_s"] else []  # of runs that nothing interrupted
    for name, returns in tests.items():
        known = minutes[name]
        spent = f"{min(known):.1f} to {max(known):.1f} core minutes a run" if known else "interrupted on the way"
        print(f"test {name}: {', '.join(f'{value:.0f}' for value in returns)} ({spent})")
    scores = {name: {file: torch.tensor(tests[name], dtype=torch.float64)} for name in names if name in tests}
    if len(scores) > 1:
        better = probability_of_improvement(scores, generator=make_generator("cpu", "draw"))
        print(better.to_frame().to_string(index=False))
