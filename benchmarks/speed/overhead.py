"""Costs of a step besides products: Lightning, logging, buffer, acting and the environment, at N = 1.

They are measured in a run whose planner neither fits, imagines nor updates, so that only the loop around them is left.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from time import perf_counter
from typing import Any

import pytorch_lightning as pl

import mbrl
from benchmarks.speed.cases import ENV_ID
from mbrl.envs import OnlineData
from mbrl.models import GaussianEnsemble
from mbrl.planners import Dyna
from mbrl.policies import SAC

STEPS, BURN_IN = 2000, 500


class _Clock(pl.Callback):
    """Times at which the burn-in and the last tick ended."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx + 1 in (BURN_IN, STEPS):
            self.times.append(self.clock())


def run_ms(clock_function: Callable[[], float] = perf_counter) -> float:
    """Milliseconds per real step in one such run, burn-in excluded."""
    clock = _Clock(clock_function)
    # one short fit, in the burn-in, and no updates; actions are the policy's throughout
    model = GaussianEnsemble(max_updates=1)
    burn_in = {"warmup_steps": BURN_IN - 1, "warmup": "policy", "refit_every": STEPS}
    planner = Dyna(model, SAC(), updates_per_step=0, real_ratio=1.0, **burn_in)
    with tempfile.TemporaryDirectory() as folder:
        trainer = mbrl.Trainer(folder, eval_every=10 * STEPS, checkpoint_every=10 * STEPS, progress=False, callbacks=[clock])
        trainer.fit(planner, OnlineData(ENV_ID, steps=STEPS))
    return 1e3 * (clock.times[1] - clock.times[0]) / (STEPS - BURN_IN)


def overhead_ms(rounds: int, clock: Callable[[], float] = perf_counter) -> float:
    """The median of several runs."""
    return statistics.median(run_ms(clock) for _ in range(rounds))
