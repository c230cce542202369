"""All inputs by kind, and how they are run."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import optuna
import torch

from benchmarks.armour.children import in_child
from benchmarks.armour.inputs import (
    calls,
    checkpoints,
    command_lines,
    configurations,
    datasets,
    environments,
    predictions,
    run_folders,
    studies,
)
from benchmarks.armour.judging import GOOD, Action, Input, files, judge
from benchmarks.armour.materials import Materials
from benchmarks.armour.table import commit, counted, read
from mbrl.cli import COMMANDS, main

COLUMNS = ("kind", "name", "verdict", "message", "commit")
TABLES = (
    checkpoints, datasets, configurations, environments, command_lines, run_folders, studies, predictions, calls,
)  # fmt: skip


def all_inputs(materials: Materials) -> Iterator[Input]:
    """Every input, kind by kind."""
    for table in TABLES:
        yield from table.inputs(materials)


def try_one(tried: Input, root: Path) -> tuple[str, str]:
    """Runs an input in a folder of its own and returns the verdict and the first line of what was said."""
    folder, notes = root / "tried", root / "notes"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "mine.txt").write_text("mine\n")
    given = tried.prepare(folder)
    action: Action = given if callable(given) else lambda: main(given)
    before = files(folder)
    ended = in_child(action, folder, notes)
    return judge(ended, before, files(folder), may=tried.may)


def run(out: Path, only: str | None = None, name: str | None = None, every: int = 1) -> int:
    """Runs all inputs and writes `inputs.csv`.

    Args:
        out: folder of the table.
        only: a kind; None runs all.
        name: part of the names of those that are run; None runs all.
        every: above 1 only each so many-th is run, for a quick look.

    Returns:
        How many ended in anything but a sentence or rightful acceptance.
    """
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for _, module in COMMANDS.values():
        if module:
            import_module(module)  # once, and not in every child
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "inputs.csv"
    rows: list[dict[str, str]] = []
    began, used = time.monotonic(), os.times()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for number, tried in enumerate(all_inputs(Materials(root))):
            if only not in (None, tried.kind) or (name is not None and name not in tried.name) or number % every:
                continue
            verdict, message = try_one(tried, root)
            shown = message.replace(str(root / "tried"), ".").replace(place, "…")[:300]
            row = dict(zip(COLUMNS, (tried.kind, tried.name, verdict, shown, commit()), strict=True))
            rows.append(row)
            if verdict not in GOOD:
                print(f"{verdict}: {tried.kind}, {tried.name}: {shown}", flush=True)
        names = [(tried.kind, tried.name) for tried in all_inputs(Materials(root / "again"))]
    # what this run left out stays in the file as it was
    known = {(row["kind"], row["name"]): row for row in [*(read(path) if path.exists() else []), *rows]}
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(known[name] for name in names if name in known)
    now = os.times()
    spent = now.children_user + now.children_system - used.children_user - used.children_system
    reached = Counter(row["verdict"] for row in rows)
    print(counted(rows, "kind", list(reached)))
    print(f"{len(rows)} inputs, {spent:.0f} CPU-seconds, {time.monotonic() - began:.0f} s")
    return sum(count for verdict, count in reached.items() if verdict not in GOOD)
