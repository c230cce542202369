"""A search that runs in the worker's own process, and a process of it for tests to kill."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler

from mbrl.search.study.outcome import Job, Outcome
from mbrl.search.study.storage import load_study
from mbrl.search.work.worker import Worker

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Quadratic:
    """Maximise 1 − (x − 0.3)² with a conditional y; `after` says what becomes of a job instead."""

    def __init__(self, seconds: float = 0.0, after: Callable[[Job], Outcome | None] | None = None) -> None:
        self.seconds = seconds
        self.after = after
        self.jobs: list[Job] = []

    def suggest(self, trial: optuna.Trial) -> Mapping[str, Any]:
        kind = trial.suggest_categorical("kind", ["plain", "tilted"])
        chosen = {"kind": kind, "x": trial.suggest_float("x", 0.0, 1.0)}
        if kind == "tilted":
            chosen["y"] = trial.suggest_int("y", 1, 20)
        return chosen

    def run(self, job: Job) -> Outcome:
        self.jobs.append(job)
        time.sleep(self.seconds)
        special = None if self.after is None else self.after(job)
        if special is not None:
            return special
        value = 1 - (job.params["x"] - 0.3) ** 2 - 0.01 * job.params.get("y", 0)
        return Outcome("ok", values=(value,), seed_values=tuple((value,) for _ in job.seeds), wall_s=self.seconds)


def random_sampler(order: int) -> BaseSampler:
    """Draws that depend on nothing but which configuration it is."""
    return RandomSampler(seed=order)


def main(url: str, trials: str, seconds: str, grace_s: str, processes: str) -> int:
    """A worker of the study `quadratic`, as the kill tests start it."""
    grace = float(grace_s)
    worker = Worker(
        load_study("quadratic", url),
        Quadratic(float(seconds)),
        Path("runs"),
        trials=int(trials),
        retries=50,
        beat_s=grace / 5,
        grace_s=grace,
        sampler=random_sampler,
        processes=processes == "look",
    )
    code = worker.work()
    assert not {"torch", "botorch"} & set(sys.modules), "a worker that needs no model must start fast"
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
