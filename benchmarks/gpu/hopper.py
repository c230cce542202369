"""Steps a second of MBPO on Hopper-v5 at Janner2019's sizes, between two fits and with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter

import torch

from benchmarks.gpu.section import Row, Setting
from benchmarks.speed import cases
from benchmarks.speed.rounds import measure
from mbrl.envs import VectorExperience
from mbrl.models import GaussianEnsemble
from mbrl.planners import Dyna
from mbrl.policies import SAC

STEPS, REAL_ROWS = 250, 5000
FIT_UPDATES = 1000  # of the fit, at most


def hopper(setting: Setting) -> Iterator[Row]:
    """Ticks of 20 updates; and 250 of them with a fit of the ensemble and 100,000 rollout steps."""
    known = cases.task()

    def tick(piece: cases.Case) -> Row:
        measure([piece], 3, 3.0, setting.device)
        return Row(piece.name, piece.rate, "steps a second, environment included")

    updates = 20 if setting.measures else 1
    yield setting.row("Dyna tick", "steps/s", partial(cases.dyna_tick, known, setting.device, updates), tick)

    def whole(piece: Callable[[], object]) -> Row:
        began = perf_counter()
        piece()
        torch.cuda.synchronize(setting.device)
        what = f"steps a second, a fit of at most {FIT_UPDATES} updates and {400 * STEPS:,} rollouts included"
        return Row(f"{STEPS} steps of MBPO", STEPS / (perf_counter() - began), what)

    yield setting.row(f"{STEPS} steps of MBPO", "steps/s", partial(mbpo, setting), whole)


def mbpo(setting: Setting) -> Callable[[], object]:
    """So many ticks of a run that stands at 5,000 steps, the first of which refits; few and small on the CPU."""
    known, small = cases.task(), not setting.measures
    steps = 2 if small else STEPS
    model = GaussianEnsemble(members=cases.MEMBERS, hidden=cases.HIDDEN, max_updates=1 if small else FIT_UPDATES)
    planner = Dyna(
        model,
        SAC(hidden=[256, 256]),
        warmup_steps=1,
        refit_every=steps,
        rollouts_per_step=4 if small else 400,
        updates_per_step=1 if small else 20,
    )
    planner.build(known, 0)
    planner.to(setting.device)
    planner.make_optimizers()
    rows = 500 if small else REAL_ROWS
    planner.real_buffer.add(cases.random_rows(known, rows, setting.device))
    planner.env_steps = rows
    experience = VectorExperience(known, 1, seed=0, device=setting.device)
    experience.reset(0)

    def run() -> None:
        for _ in range(steps):
            planner.tick(experience)

    return run
