"""Measures samplers on functions with known optima and keeps every search as a row of a CSV file.

    python -m benchmarks.search.sampler --problems rlmix-1 func2c --methods bo tpe gp-told --seeds 0 1 2 --trials 50

appends to `benchmarks/search/results/sampler.csv`: one row per search, whose noise-free regret is that of the configuration
that the method would recommend (best posterior mean for ours, best observed value for the others). A search that has a row
is skipped, so the same command goes on after a stop. Seeds are paired: trial k of a seed gets the same noise everywhere.
`--workers 4` simulates that many workers whose trials take random times, without waiting for them.

    python -m benchmarks.search.sampler --problems rlmix-curves --methods bo bo-pruned bo-fidelity --seeds 0 1 2 --trials 50

compares pruning at equal steps: each search ends when it has spent those of so many whole runs. `bo-pruned` counts a pruned
run with its last report, `bo-fidelity` models how far it was.
`--summary` prints medians and paired tests of what the file holds.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import Trial, TrialState

from benchmarks.search.curves import search_curves
from benchmarks.search.functions import PROBLEMS, Problem, suggest
from mbrl.search.sampler import BOSampler, recommend

RESULTS = Path(__file__).parent / "results" / "sampler.csv"
KEY = ("problem", "method", "seed", "trials", "workers")
MEASURED = ("regret", "best_tried", "failed", "cpu_s_per_suggestion", "versions", "hardware", "commit")


def ours(problem: Problem, seed: int, **options: Any) -> BaseSampler:
    """Our sampler, with its defaults but for `options`."""
    return BOSampler(problem.distributions, problem.conditions, seed=seed, **options)


# Whether a failed trial is told as a value of 0, since the library's samplers ignore failed trials.
METHODS: dict[str, tuple[Callable[[Problem, int], BaseSampler], bool]] = {
    "bo": (ours, False),
    "bo-pruned": (ours, False),
    "bo-fidelity": (lambda problem, seed: ours(problem, seed, fidelity=True), False),
    "bo-no-region": (lambda problem, seed: ours(problem, seed, trust_region=False), False),
    "random": (lambda _, seed: optuna.samplers.RandomSampler(seed=seed), False),
    "tpe": (lambda _, seed: optuna.samplers.TPESampler(seed=seed), False),
    "tpe-group": (lambda _, seed: optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True), False),
    "gp": (lambda _, seed: optuna.samplers.GPSampler(seed=seed), False),
    "gp-told": (lambda _, seed: optuna.samplers.GPSampler(seed=seed), True),
}
PRUNE = ("bo-pruned", "bo-fidelity")


def search(problem: Problem, method: str, seed: int, trials: int, workers: int) -> dict[str, Any]:
    """One search: the noise-free regret of what it recommends, and of the best that it tried."""
    make, told = METHODS[method]
    sampler = make(problem, seed)
    if problem.steps:
        found = search_curves(problem, sampler, seed, trials * problem.steps, prunes=method in PRUNE)
        return _measured(problem, sampler, found["study"], found["failed"], found["seconds"])
    study = optuna.create_study(direction=problem.direction, sampler=sampler)
    durations = np.random.default_rng([seed, 1])
    running: list[tuple[float, int, Trial, dict[str, Any]]] = []
    clock, seconds, failed = 0.0, 0.0, 0
    for number in range(trials + workers):
        if len(running) == workers or number >= trials:
            if not running:
                break
            clock, _, trial, params = heapq.heappop(running)
            value = problem.observe(params, np.random.default_rng([seed, 2, trial.number]))
            if math.isnan(value):
                failed += 1
                if told:
                    study.tell(trial, 0.0)
                else:
                    trial.set_user_attr("outcome", "diverged")
                    study.tell(trial, state=TrialState.FAIL)
            else:
                study.tell(trial, value)
        if number < trials:
            trial = study.ask()
            began = time.process_time()
            params = suggest(trial, problem)
            seconds += time.process_time() - began
            heapq.heappush(running, (clock + float(durations.lognormal(0.0, 0.5)), number, trial, params))
    return _measured(problem, sampler, study, failed, seconds)


def _measured(problem: Problem, sampler: BaseSampler, study: optuna.Study, failed: int, seconds: float) -> dict[str, Any]:
    tried = [problem.regret(trial.params) for trial in study.trials]
    if isinstance(sampler, BOSampler):
        chosen = recommend(study, sampler).params
    else:
        chosen = study.best_trial.params
    return {
        "regret": f"{problem.regret(chosen):.6g}",
        "best_tried": f"{min(tried):.6g}",
        "failed": failed,
        "cpu_s_per_suggestion": f"{seconds / len(study.trials):.3f}",
    }


def provenance() -> dict[str, str]:
    """Versions and machine that the numbers depend on."""
    import botorch
    import torch

    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    versions = {"optuna": optuna.__version__, "botorch": botorch.__version__, "torch": torch.__version__}
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "hardware": f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, shared",
        "commit": head,
    }


def read(path: Path) -> list[dict[str, str]]:
    """The rows that are there."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def summary(rows: list[dict[str, str]]) -> str:
    """Medians [least, most] by problem and method, and Wilcoxon's paired test of ours against each other method."""
    from scipy.stats import wilcoxon

    lines = ["| problem | trials, workers | method | seeds | regret | failed | CPU s a suggestion | ours better: p |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    groups: dict[tuple[str, str, str], dict[str, dict[str, dict[str, str]]]] = {}
    for row in rows:
        group = groups.setdefault((row["problem"], row["trials"], row["workers"]), {})
        group.setdefault(row["method"], {})[row["seed"]] = row
    for (problem, trials, workers), methods in sorted(groups.items()):
        for method, seeds in sorted(methods.items()):
            regrets = [float(row["regret"]) for row in seeds.values()]
            failed = np.mean([float(row["failed"]) for row in seeds.values()])
            seconds = np.median([float(row["cpu_s_per_suggestion"]) for row in seeds.values()])
            paired = [seed for seed in seeds if seed in methods.get("bo", {})]
            p = ""
            if method != "bo" and len(paired) >= 5:
                mine = [float(methods["bo"][seed]["regret"]) for seed in paired]
                p = f"{wilcoxon(mine, [float(seeds[seed]['regret']) for seed in paired], alternative='less').pvalue:.2g}"
            lines.append(
                f"| {problem} | {trials}, {workers} | {method} | {len(regrets)} | {np.median(regrets):.3g} "
                f"[{min(regrets):.2g}, {max(regrets):.2g}] | {failed:.1f} | {seconds:.2f} | {p} |"
            )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=sorted(PROBLEMS), default=sorted(set(PROBLEMS) - {"rlmix-curves"}))
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=["bo"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--summary", action="store_true", help="print what the file holds and leave")
    arguments = parser.parse_args(argv)
    if arguments.summary:
        print(summary(read(arguments.results)))
        return
    for name in arguments.problems:
        curves = PROBLEMS[name]().steps > 0
        if curves and arguments.workers > 1:
            parser.error(f"--workers: expected 1 with {name}, whose searches end when their steps are spent")
        if not curves and (prune := [method for method in arguments.methods if method in PRUNE]):
            parser.error(f"--methods: expected {name} to have curves for {', '.join(prune)}, it has none")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna_warnings_off()
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    known = {tuple(row[key] for key in KEY) for row in read(arguments.results)}
    about = provenance()
    for seed in arguments.seeds:  # outermost, so that a stopped benchmark has whole pairs
        for name in arguments.problems:
            for method in arguments.methods:
                key = dict(zip(KEY, (name, method, str(seed), str(arguments.trials), str(arguments.workers)), strict=True))
                if tuple(key.values()) in known:
                    continue
                row = {**key, **search(PROBLEMS[name](), method, seed, arguments.trials, arguments.workers), **about}
                new = not arguments.results.exists()
                with arguments.results.open("a", newline="") as file:
                    writer = csv.DictWriter(file, fieldnames=[*KEY, *MEASURED])
                    if new:
                        writer.writeheader()
                    writer.writerow(row)
                print(name, method, seed, row["regret"], flush=True)


def optuna_warnings_off() -> None:
    """Keeps the library samplers' advice on experimental arguments and conditional spaces off the screen."""
    import warnings

    warnings.filterwarnings("ignore", module="optuna")
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


if __name__ == "__main__":
    main()
