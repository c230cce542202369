"""Kills `fit`, `collect` and searches at random moments, goes on, and compares with what nobody killed."""

from __future__ import annotations

import csv
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna

from benchmarks.armour.children import in_child
from benchmarks.armour.table import commit
from mbrl.envs import OfflineData, collect, make_task
from mbrl.models import GaussianEnsemble
from mbrl.search.study.storage import load_study
from mbrl.search.work.worker import Worker
from tests.search.fake_problem import Quadratic, random_sampler
from tests.search.kills import create, problems
from tests.training.test_kill_and_resume import fit, same_run
from tests.training.toy import trainer

COLUMNS = ("seed", "what", "signal", "moment_s", "of_s", "exit_code", "verdict", "commit")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TRIALS = 7  # with those that `create` queues
STEPS = 300  # of `collect`


@dataclass(frozen=True)
class Target:
    """What is killed.

    Attributes:
        begin: starts it in a folder.
        go_on: the same command again, or that which goes on.
        compare: what differs between the folder that nobody killed in and the other; nothing if all is well.
    """

    begin: Callable[[Path], None]
    go_on: Callable[[Path], None]
    compare: Callable[[Path, Path], list[str]]


def fit_alone(folder: Path, ckpt_path: str | None = None) -> None:
    """A model alone on the dataset beside the folder."""
    model = GaussianEnsemble(hidden=[8, 8], members=3, elites=2, weight_decay=0.0, batch_size=16)
    rows = OfflineData(str(folder.parent / "rows.npz"), env_id="Pendulum-v1")
    trainer(folder, max_epochs=6).fit(model, rows, ckpt_path=ckpt_path)


def same_model(a: Path, b: Path) -> list[str]:
    """Differences of two finished fits of a model, whose lines count epochs."""
    return same_run(a, b, "epoch")


def record(folder: Path) -> None:
    """Records a dataset, beside one that is there already."""
    collect(make_task("Pendulum-v1"), str(folder / "rows.npz"), steps=STEPS, num_envs=2)


def record_again(folder: Path) -> None:
    """Whoever finds a dataset keeps it: what Ctrl-C ended is whole, only shorter."""
    path = folder / "rows.npz"
    if path.exists():
        rows = OfflineData(str(path), env_id="Pendulum-v1").transitions
        assert 0 < len(rows) <= STEPS
        path.rename(folder / "first.npz")
    record(folder)


def same_rows(a: Path, b: Path) -> list[str]:
    """A dataset that was recorded again is the same, and nothing half-written has a dataset's name."""
    found = [] if (a / "rows.npz").read_bytes() == (b / "rows.npz").read_bytes() else ["rows"]
    strange = {path.name for path in b.iterdir() if not path.name.startswith(".")} - {"rows.npz", "first.npz"}
    return found + sorted(strange)


def url(folder: Path) -> str:
    """Where a search keeps its study."""
    return f"sqlite:///{folder}/study.db"


def search(folder: Path) -> None:
    """A worker of a study."""
    study = load_study("quadratic", url(folder))
    runs = folder / "runs"
    Worker(study, Quadratic(0.02), runs, trials=TRIALS, retries=50, grace_s=1.0, beat_s=0.2, sampler=random_sampler).work()


def begin_search(folder: Path) -> None:
    """A new study and its worker."""
    folder.mkdir(exist_ok=True)
    if not (folder / "study.db").exists():
        create(url(folder))
    search(folder)


def same_study(_: Path, b: Path) -> list[str]:
    """No trial is lost, run twice or left running."""
    return problems(load_study("quadratic", url(b)).trials, TRIALS)


TARGETS = {
    "fit": Target(fit, lambda folder: fit(folder, "last"), same_run),
    "fit of a model alone": Target(fit_alone, lambda folder: fit_alone(folder, "last"), same_model),
    "collect": Target(record, record_again, same_rows),
    "search": Target(begin_search, search, same_study),
}


def made(root: Path, what: str) -> tuple[Path, float]:
    """The folder of a run that nobody kills, and its seconds."""
    folder = root / what
    folder.mkdir(parents=True)
    if what == "fit of a model alone":
        collect(make_task("Pendulum-v1"), str(root / "rows.npz"), steps=200)
    began = time.monotonic()
    ended = in_child(lambda: TARGETS[what].begin(folder), root, root / "notes")
    assert ended.code == 0, ended.told
    return folder, time.monotonic() - began


def kill(root: Path, what: str, unbroken: Path, seconds: float, seed: int) -> dict[str, object]:
    """One kill at a random moment, then the same again to its end.

    Args:
        root: a folder to work in.
        what: name of a target.
        unbroken: the folder of the run that nobody killed.
        seconds: that it took.
        seed: decides signal and moment.

    Returns:
        A row of the table.
    """
    draws = random.Random(seed)
    number, moment = draws.choice(SIGNALS), draws.uniform(0, seconds)
    folder = root / f"{what} {seed}"
    folder.mkdir()
    target = TARGETS[what]
    if what == "search":
        create(url(folder))  # a kill before there is a study leaves nothing to lose
    first = in_child(lambda: target.begin(folder), root, root / "notes", (number, moment))
    second = in_child(lambda: target.go_on(folder), root, root / "notes")
    if second.code != 0:
        lines = second.told.strip().splitlines() or [f"exit code {second.code}"]
        verdict = f"does not go on: {lines[-1]}"
    else:
        differences = target.compare(unbroken, folder)
        verdict = f"differs: {', '.join(differences[:3])}" if differences else "equal"
    shutil.rmtree(folder)
    row = (seed, what, number.name, f"{moment:.3f}", f"{seconds:.3f}", first.code, verdict, commit())
    return dict(zip(COLUMNS, row, strict=True))


def run(number: int, out: Path, first: int = 0) -> int:
    """Kills `number` times, the targets in turn, and writes `kills.csv`.

    Args:
        number: of kills.
        out: folder of the table.
        first: the first seed.

    Returns:
        How many ended in anything but an equal run.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    out.mkdir(parents=True, exist_ok=True)
    bad = 0
    with tempfile.TemporaryDirectory() as place, open(out / "kills.csv", "w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        root = Path(place)
        unbroken = {what: made(root, what) for what in TARGETS}
        for seed in range(first, first + number):
            what = list(TARGETS)[seed % len(TARGETS)]
            row = kill(root, what, *unbroken[what], seed)
            table.writerow(row)
            file.flush()
            if row["verdict"] != "equal":
                bad += 1
                print(row, flush=True)
    print(f"{number - bad} of {number} runs that were killed went on and ended equal")
    return bad
