"""Times of pieces of work at a size and at twice that size, in the same rounds: how each grows with what it is made of.

python -m benchmarks.speed.growth --out benchmarks/speed/results/mine-growth.json
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

import numpy as np
import optuna
import torch

from benchmarks.search.functions import rlmix, suggest
from benchmarks.speed.cases import HIDDEN, MEMBERS, policy_sizes, random_rows, task
from benchmarks.speed.command_line import asked, write_figures
from benchmarks.speed.rounds import Case, measure, ratio
from mbrl.analysis.model_report.report import report
from mbrl.data import ReplayBuffer, make_generator
from mbrl.envs import VectorExperience
from mbrl.models import GaussianEnsemble
from mbrl.planners import CEM, PETS, PolicySample
from mbrl.planners.rollouts.imagination import Imagination
from mbrl.policies import SAC
from mbrl.search.sampler import BOSampler

Work = Callable[[], object]


@dataclass(frozen=True)
class Growth:
    """Work that grows with one number.

    Attributes:
        grows: that number.
        work: the work's name.
        size: the number that it is timed at, and at twice of which.
        small: one at which a test runs it.
        make: makes the work at a number.
    """

    grows: str
    work: str
    size: int
    small: int
    make: Callable[[int], Work]


def _ensemble(members: int = MEMBERS, hidden: Sequence[int] = HIDDEN) -> GaussianEnsemble:
    model = GaussianEnsemble(members=members, elites=None, hidden=hidden, max_epochs=1)
    model.build(task(), 0)
    model.make_optimizers()
    return model


def _update(members: int) -> Work:
    model = _ensemble(members)
    run = model.begin_fit(random_rows(task(), 2000, torch.device("cpu")), make_generator("cpu", "split"))
    batch = next(run.epoch())
    return lambda: model.update(batch)


def _epoch(rows: int) -> Work:
    model, data = _ensemble(2, [64, 64]), random_rows(task(), rows, torch.device("cpu"))
    return lambda: model.refit(data, make_generator("cpu", "fit"))


def _batch(rows: int) -> Work:
    known = task()
    buffer, generator = ReplayBuffer(rows, known.obs_size, known.action_size), make_generator("cpu", "batch")
    buffer.add(random_rows(known, rows, torch.device("cpu")))
    return lambda: buffer.sample(256, generator)


def _report(rows: int) -> Work:
    model, data = _ensemble(2, [16]), random_rows(task(), rows, torch.device("cpu"))
    model.refit(data.select(slice(100)), make_generator("cpu", "fit"))
    # each row leads to the next, in episodes of 100
    data.next_obs = data.obs.roll(-1, 0)
    return lambda: report(model, data, horizon=5, quick=True, truth="none")


def _rollouts(horizon: int) -> Work:
    known, model, learner = task(), _ensemble(), SAC(hidden=policy_sizes(task())[1:-1])
    learner.build(known, 0)
    imagination = Imagination(model, learner.policy, PolicySample(), [], 0, 8000, True)
    starts = random_rows(known, 500, torch.device("cpu"))
    model.refit(starts, make_generator("cpu", "fit"))  # so that rollouts of a standing hopper don't end at once
    return lambda: imagination.run(starts, horizon, 0, lambda rows: None)


def _decision(horizon: int, environments: int = 1) -> Work:
    planner = PETS(_ensemble(), CEM(candidates=40, elites=5, iterations=2, epsilon=0.0), horizon=horizon, particles=5)
    planner.build(task(), 0)
    obs = random_rows(task(), environments, torch.device("cpu")).obs
    memory = planner.memory(environments, make_generator("cpu", "acting"))
    return lambda: planner.plan(obs, memory, explore=True)


def _steps(environments: int) -> Work:
    known = task()
    experience = VectorExperience(known, environments, seed=0)
    experience.reset(0)
    action = torch.rand(environments, known.action_size, generator=make_generator("cpu", "actions")) * 2 - 1
    return lambda: experience.step(action)


def _suggestion(trials: int) -> Work:
    problem, rng = rlmix(1), np.random.default_rng(0)
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = BOSampler(problem.distributions, problem.conditions)
    study = optuna.create_study(direction=problem.direction, sampler=sampler)
    for _ in range(trials):
        params = problem.draw(rng)
        while not np.isfinite(problem.value(params)):
            params = problem.draw(rng)
        study.add_trial(
            optuna.trial.create_trial(
                params=params,
                distributions={name: problem.distributions[name] for name in params},
                value=problem.observe(params, rng),
            )
        )
    optuna.logging.set_verbosity(before)

    def suggestion() -> None:
        trial = study.ask()
        suggest(trial, problem)
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)  # without a value: the next one sees as many results

    return suggestion


GROWTHS: tuple[Growth, ...] = (
    Growth("members", "ensemble update", 7, 2, _update),
    Growth("rows", "epoch of a fit", 10_000, 300, _epoch),
    Growth("rows", "batch of 256 of a buffer", 100_000, 300, _batch),
    Growth("rows", "quick report", 100_000, 1000, _report),
    Growth("horizon", "500 rollouts", 5, 1, _rollouts),
    Growth("horizon", "decision of PETS", 10, 2, _decision),
    Growth("environments", "decision of PETS", 2, 1, lambda number: _decision(10, number)),
    Growth("environments", "step of the environments", 8, 1, _steps),
    Growth("trials", "suggestion of a search", 40, 12, _suggestion),
)


def growth_rows(
    rounds: int, round_seconds: float, clock: Callable[[], float] = perf_counter, growths: Sequence[Growth] = GROWTHS
) -> list[dict[str, Any]]:
    """What each work takes at its size, and how many times that at twice its size, medians over the rounds, on the CPU."""
    pairs = [[Case(one.work, "calls", one.make(size)) for size in (one.size, 2 * one.size)] for one in growths]
    measure([case for pair in pairs for case in pair], rounds, round_seconds, torch.device("cpu"), clock)
    return [
        {"grows": one.grows, "work": one.work, "size": one.size, "ms": 1e3 / single.rate, "doubled": ratio(single, double)}
        for one, (single, double) in zip(growths, pairs, strict=True)
    ]


def show_growth(rows: Sequence[dict[str, Any]]) -> None:
    """Prints the rows as a table."""
    print(f"\n{'grows with':14}{'work':28}{'at':>9}{'ms':>12}{'times that at twice as many':>30}")
    for row in rows:
        print(f"{row['grows']:14}{row['work']:28}{row['size']:>9,}{row['ms']:>12.3f}{row['doubled']:>30.2f}")


def main() -> None:
    """Times everything, prints the table, and writes it."""
    out, rounds = asked(__doc__)
    rows = growth_rows(rounds, 0.3, process_time)
    show_growth(rows)
    write_figures(out, {"rounds": rounds, "clock": "processor time", "growth": rows})


if __name__ == "__main__":
    main()
