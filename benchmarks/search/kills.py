"""Kills workers at 20 random moments over 40 short trials, and lets four share one file, on each kind of storage.

    python -m benchmarks.search.kills

appends to `results/kills.csv`, one row per storage and way of seeing the dead: a configuration that was lost, run twice or
left running would be named in its last column. What the file has is left out.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import optuna

from mbrl.search.study.outcome import label_of
from mbrl.search.study.storage import load_study
from tests.search.kills import create, kill_at_random, problems, start
from tests.search.postgres import PASSWORD, missing, server

RESULTS = Path(__file__).parent / "results" / "kills.csv"
COLUMNS = (
    "storage",
    "what",
    "workers",
    "kills",
    "trials",
    "finished",
    "lost",
    "surplus_or_duplicate",
    "seconds",
    "problems",
)
KILLS, TRIALS = 20, 40
WORKERS, SHARED = 4, 100


def row(storage: str, what: str, workers: int, kills: int, budget: int, url: str, began: float) -> dict[str, object]:
    """Returns what is left in a study, as a row."""
    trials = load_study("quadratic", url).trials
    labels = Counter(label_of(trial) for trial in trials)
    return {
        "storage": storage,
        "what": what,
        "workers": workers,
        "kills": kills,
        "trials": budget,
        "finished": labels["ok"],
        "lost": labels["lost"],
        "surplus_or_duplicate": labels["surplus"] + labels["duplicate"],
        "seconds": round(time.monotonic() - began),
        "problems": "; ".join(problems(trials, budget)) or "none",
    }


def measure(storage: str, urls: list[str]) -> None:
    """Three rows of a storage, each written when it is there; those that the file has are left out."""
    for look, what, url in zip((True, False), ("process", "lease"), urls, strict=False):
        name = f"killed, seen by {what}"
        if not is_recorded(storage, name):
            began = time.monotonic()
            kill_at_random(url, kills=KILLS, trials=TRIALS, seconds=0.05, grace_s=2.0, longest_s=0.6, seed=7, look=look)
            record(row(storage, name, 1, KILLS, TRIALS, url, began))
    if not is_recorded(storage, "shared"):
        began = time.monotonic()
        create(urls[2])
        for worker in [start(urls[2], SHARED, 0.02, 120.0, look=True) for _ in range(WORKERS)]:
            _, errors = worker.communicate()
            assert worker.returncode == 0, errors.decode()
            assert b"rror" not in errors, errors.decode()
        record(row(storage, "shared", WORKERS, 0, SHARED, urls[2], began))


def is_recorded(storage: str, what: str) -> bool:
    """Says whether the results have this row."""
    if not RESULTS.exists():
        return False
    with RESULTS.open(newline="") as file:
        return any((line["storage"], line["what"]) == (storage, what) for line in csv.DictReader(file))


def record(measured: dict[str, object]) -> None:
    """Appends a row to the results."""
    new = not RESULTS.exists()
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            table.writeheader()
        table.writerow(measured)
    print(measured, flush=True)


def main() -> None:
    """Measures every storage that this machine has."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for name, scheme in (("sqlite", "sqlite:///"), ("journal", "journal://")):
            measure(name, [f"{scheme}{folder}/{name}{number}" for number in range(3)])
        if missing():
            print(f"without PostgreSQL: {missing()}", file=sys.stderr)
        else:
            os.environ["PGPASSWORD"] = PASSWORD
            measure("postgresql", [stack.enter_context(server()) for _ in range(3)])


if __name__ == "__main__":
    main()
