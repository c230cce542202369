"""Kills workers at 20 random moments over 40 short trials, and lets four share one file, on each kind of storage.

    python -m benchmarks.search.kills

writes `results/kills.csv`, one row a storage and a way of seeing the dead: a configuration that was lost, run twice or left
running would be named in its last column.
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

from mbrl.search.outcome import label_of
from mbrl.search.storage import load_study
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
    """What is left in a study."""
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


def measure(storage: str, urls: list[str]) -> list[dict[str, object]]:
    """Three rows of a storage; each URL holds one study."""
    rows = []
    for look, what, url in zip((True, False), ("process", "lease"), urls, strict=False):
        began = time.monotonic()
        kill_at_random(url, kills=KILLS, trials=TRIALS, seconds=0.05, grace_s=2.0, longest_s=0.6, seed=7, look=look)
        rows.append(row(storage, f"killed, seen by {what}", 1, KILLS, TRIALS, url, began))
        print(rows[-1], flush=True)
    began = time.monotonic()
    create(urls[2])
    for worker in [start(urls[2], SHARED, 0.02, 120.0, look=True) for _ in range(WORKERS)]:
        _, errors = worker.communicate()
        assert worker.returncode == 0, errors.decode()
        assert b"rror" not in errors, errors.decode()
    rows.append(row(storage, "shared", WORKERS, 0, SHARED, urls[2], began))
    print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measures every storage that this machine has."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for name, scheme in (("sqlite", "sqlite:///"), ("journal", "journal://")):
            rows += measure(name, [f"{scheme}{folder}/{name}{number}" for number in range(3)])
        if missing():
            print(f"without PostgreSQL: {missing()}", file=sys.stderr)
        else:
            os.environ["PGPASSWORD"] = PASSWORD
            rows += measure("postgresql", [stack.enter_context(server()) for _ in range(3)])
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
