"""Bayesian against random search on `configs/search/mbpo_pendulum.yaml`, each confirmed on seeds that neither used.

    python -m benchmarks.search.pendulum search --trials 80    # both at once, one worker each; goes on after a stop
    python -m benchmarks.search.pendulum confirm --workers 2   # the best of each, the start, the preset as it is documented
    python -m benchmarks.search.pendulum collect               # tables and figures into results/pendulum
    python -m benchmarks.search.pendulum draw                  # two of the figures once more, from the tables alone

Runs and the study lie in the current folder. Both searches begin with the same start and have the same trials, seeds and
limits; what differs is the sampler.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any

import optuna
import torch
from matplotlib.figure import Figure

from benchmarks.search.sampler import provenance
from mbrl.analysis.runs.aggregates import score_statistics
from mbrl.analysis.runs.bootstrap import bootstrap_interval, interquartile_mean
from mbrl.analysis.runs.improvement import probability_of_improvement
from mbrl.analysis.runs.run_scores import Estimate, draw_estimate, name_rows
from mbrl.figure_style import in_style
from mbrl.search.confirmation.confirmation import TEST, read_confirmation
from mbrl.search.confirmation.runs import find_confirmation
from mbrl.search.file.search_file import SearchFile, read_search_file
from mbrl.search.report.against import Against
from mbrl.search.study.storage import load_study, open_storage
from mbrl.search.study.study import RUNS
from mbrl.search.work.reduce import reduced

SPACE = Path("configs/search/mbpo_pendulum.yaml")
RESULTS = Path(__file__).parent / "results" / "pendulum"
STORAGE = "sqlite:///pendulum.db"
BO, RANDOM = "mbpo-pendulum", "mbpo-pendulum-random"
START, GAINS = "start of both searches", ("gain_on_the_same_seed", "gain_low", "gain_high")
PRESET = "preset as documented"
DOCUMENTED = RUNS / "mbpo-pendulum-documented"


def run(*arguments: str) -> None:
    """Runs `mbrl` on one thread, and stops here if it fails."""
    subprocess.run([sys.executable, "-m", "mbrl.cli", *arguments], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def search_files() -> list[Path]:
    """The search file and its random twin, which is written beside the study."""
    text = SPACE.read_text(encoding="utf-8")
    twin = Path("mbpo_pendulum_random.yaml")
    twin.write_text(text.replace(f"study: {BO}", f"study: {RANDOM}") + "sampler: {name: random}\n", encoding="utf-8")
    return [SPACE, twin]


def search(trials: int) -> None:
    """Both searches, side by side."""
    with ThreadPoolExecutor(2) as pool:
        options = ("--storage", STORAGE, "--trials", str(trials))
        for done in [pool.submit(run, "search", "run", str(path), *options) for path in search_files()]:
            done.result()


def confirm(workers: int) -> None:
    """The best of both on unseen seeds, and the documented preset, cut to the search's steps, on the test seeds."""
    for study in (BO, RANDOM):
        run("search", "confirm", study, "--storage", STORAGE, "--workers", str(workers))
    found = read_search_file(SPACE)
    same = {name: value for name, value in found.fixed.items() if name.startswith(("data.", "trainer."))}
    settings = [f"--{name}={json.dumps(value)}" for name, value in same.items()]
    configs = [f"--config={path}" for path, _ in found.configs]

    def documented(seed: int) -> None:
        folder = DOCUMENTED / f"seed{seed}"
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            run("fit", *configs, *settings, f"--seed_everything={seed}", f"--trainer.folder={folder}")
            (folder / "done").write_text(provenance()["commit"], encoding="utf-8")

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(documented, found.seeds.test))


def test_values() -> dict[str, list[float]]:
    """Values of the test seeds' runs by arm, by the objective that the searches had."""
    arms: dict[str, list[float]] = {}
    for path, name in zip(search_files(), ("Bayesian", "random"), strict=True):
        found = read_search_file(path)
        tried = load_study(found.study, STORAGE)
        runs = find_confirmation(tried, open_storage(STORAGE))
        confirmed = None if runs is None else read_confirmation(runs, found, tried)
        assert confirmed is not None, f"{found.study} is not confirmed yet"
        start = confirmed.start or confirmed.chosen  # where the start itself was the best
        for label, arm in (
            (confirmed.chosen.label, f"best of the {name} search"),
            (start.label, START),
        ):
            arms[arm] = [one.counted for one in confirmed.runs if (one.stage, one.label) == (TEST, label)]
    found = read_search_file(SPACE)
    arms[PRESET] = [documented_value(found, seed) for seed in found.seeds.test]
    return arms


def documented_value(found: SearchFile, seed: int) -> float:
    """Value of a run of the documented preset by the search's objective."""
    [objective] = found.objectives
    lines = (DOCUMENTED / f"seed{seed}" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    values = [line[objective.metric] for line in map(json.loads, lines) if objective.metric in line]
    return reduced(values, objective.reduce)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def collect() -> None:
    """Tables and figures into the results."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    for study, other, name in ((BO, RANDOM, "bayesian"), (RANDOM, BO, "random")):
        report = RUNS / study / "report"
        run("search", "report", study, "--storage", STORAGE, "--against", other)
        shutil.copy(report / "trials.csv", RESULTS / f"trials_{name}.csv")
        shutil.copy(report / "best.yaml", RESULTS / f"best_{name}.yaml")
        shutil.copy(report / "confirmation.csv", RESULTS / f"confirmation_{name}.csv")
        if study == BO:
            for picture in ("against", "history", "effects", "model_check", "confirmation"):
                shutil.copy(report / f"{picture}.png", RESULTS / f"{picture}.png")
    arms = test_values()
    seeds = read_search_file(SPACE).seeds.test
    wall = f"{hours(BO):.2f} (Bayesian), {hours(RANDOM):.2f} (random)"
    searched = load_study(BO, STORAGE).user_attrs["versions"]["git"][:7]  # not that of the tables
    documented = (DOCUMENTED / f"seed{seeds[0]}" / "done").read_text(encoding="utf-8")
    about = {
        arm: {**provenance(), "commit": documented if arm == PRESET else searched, "wall_clock_hours": wall} for arm in arms
    }
    write_csv(
        RESULTS / "test_seeds.csv",
        [
            {"arm": arm, "seed": seed, "value": f"{value:.6g}", **about[arm]}
            for arm, values in arms.items()
            for seed, value in zip(seeds, values, strict=True)
        ],
    )
    rows, better = summary(arms)
    write_csv(RESULTS / "summary.csv", rows)
    write_csv(RESULTS / "better.csv", columns(better))


def draw() -> None:
    """The figures that the tables are enough for, once more."""
    values: dict[str, list[float | None]] = {}
    best: dict[str, list[float | None]] = {}
    for study, name in ((BO, "bayesian"), (RANDOM, "random")):
        values[study] = [float(row["value"]) if row["value"] else None for row in read_csv(RESULTS / f"trials_{name}.csv")]
        best[study] = list(accumulate(values[study], better))
    Against("eval/return", True, values, best).plot().savefig(RESULTS / "against.png", dpi=110)
    arms: dict[str, list[float]] = {}
    for row in read_csv(RESULTS / "test_seeds.csv"):
        arms.setdefault(row["arm"], []).append(float(row["value"]))
    summary(arms)


def better(known: float | None, new: float | None) -> float | None:
    """The larger of two values; None of a failed trial is none."""
    return known if new is None or (known is not None and known > new) else new


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def hours(study: str) -> float:
    """Hours from a search's first trial to its last."""
    trials = load_study(study, STORAGE).get_trials(deepcopy=False)
    begun = [trial.datetime_start for trial in trials if trial.datetime_start is not None]
    ended = [trial.datetime_complete for trial in trials if trial.datetime_complete is not None]
    return (max(ended) - min(begun)).total_seconds() / 3600


@in_style
def summary(arms: Mapping[str, Sequence[float]]) -> tuple[list[dict[str, Any]], Mapping[str, Sequence[Any]]]:
    """Draws the figure; interquartile means with intervals as rows, and the columns of who is better than whom."""
    scores = {arm: {"Pendulum-v1": torch.tensor(values, dtype=torch.float64)} for arm, values in arms.items()}
    means = score_statistics(scores, generator=torch.Generator().manual_seed(0)).estimates
    rows = []
    figure = Figure(figsize=(7.5, 2.6), layout="constrained")
    axes = figure.subplots()
    for row, (arm, values) in enumerate(arms.items()):
        estimate = means[arm]["iqm"]
        draw_estimate(axes, row, estimate)
        axes.plot(values, [row] * len(values), "ko", markerfacecolor="white", markersize=5, markeredgewidth=1)
        names = ("iqm", "low", "high", *GAINS)
        numbers = [*estimate_of(estimate), *(paired_gain(values, arms[START]) if arm != START else (math.nan,) * 3)]
        line = {name: "" if math.isnan(number) else f"{number:.5g}" for name, number in zip(names, numbers, strict=True)}
        rows.append({"arm": arm, "runs": len(values), **line})
    name_rows(axes, list(arms))
    axes.set_xlabel("mean return of the last two evaluations of 1,000 steps, more is better")
    axes.set_title("Runs on test seeds (circles), interquartile mean (tick), 95 % interval (bar)")
    figure.savefig(RESULTS / "test_seeds.png", dpi=120)
    better = probability_of_improvement(scores, generator=torch.Generator().manual_seed(0))
    for line in rows:
        print(line)
    return rows, better.table()


def estimate_of(found: Estimate) -> tuple[float, float, float]:
    """Value and interval."""
    assert found.low is not None and found.high is not None
    return found.value, found.low, found.high


def paired_gain(values: Sequence[float], others: Sequence[float]) -> tuple[float, float, float]:
    """Interquartile mean of the differences on the same seeds, with its 95 % bootstrap interval."""
    difference = torch.tensor(values, dtype=torch.float64) - torch.tensor(others, dtype=torch.float64)
    interval = bootstrap_interval(
        lambda strata: interquartile_mean(strata[0]), [difference], generator=torch.Generator().manual_seed(0)
    )
    assert interval is not None
    return float(interquartile_mean(difference)), float(interval[0]), float(interval[1])


def columns(table: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """A table of columns as one of rows."""
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def main(argv: Iterable[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("search", "confirm", "collect", "draw"))
    parser.add_argument("--trials", type=int, default=80, help="of each search")
    parser.add_argument("--workers", type=int, default=2, help="runs at the same time in `confirm`")
    given = parser.parse_args(None if argv is None else list(argv))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if given.what == "search":
        search(given.trials)
    elif given.what == "confirm":
        confirm(given.workers)
    elif given.what == "collect":
        collect()
    else:
        draw()


if __name__ == "__main__":
    main()
