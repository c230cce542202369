"""Times `GaussianProcess`: fits, and steps beside an ensemble's drawn-member step, on a made-up system of 4 observations.

python -m benchmarks.speed.gaussian_process --out benchmarks/speed/results/mine-gaussian-process.json
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

import torch

from benchmarks.speed.machine import machine
from benchmarks.speed.rounds import Case, measure, ratio
from mbrl.data import Task, Transitions, make_generator
from mbrl.models import DynamicsModel, GaussianEnsemble, GaussianProcess

STEPPED = 10_000
REWARD = "benchmarks.speed.gaussian_process"
EXACT, ENSEMBLE, SPARSE = "step, exact 300 x 4", "step, ensemble 7 x 4 x 200", "step, sparse 64 points x 4"
FIT_300, FIT_500, FIT_SPARSE = "fit, exact 300 x 4", "fit, exact 500 x 4", "fit, sparse 10,000 x 4"


def task() -> Task:
    """Four observations, two actions, and nothing to learn beside."""
    known = {"known_reward": f"{REWARD}.no_reward", "known_terminated": "mbrl.envs.terminations.never"}
    return Task("", 4, 2, (-1.0,) * 2, (1.0,) * 2, **known)  # type: ignore[arg-type]


def no_reward(obs: torch.Tensor, action: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
    """Zeros, `B`: a known reward that costs nothing."""
    return torch.zeros_like(obs[..., 0])


def rows(n: int) -> Transitions:
    """`n` transitions of a smooth system with noise."""
    generator = make_generator("cpu", "rows")
    obs = torch.randn(n, 4, generator=generator)
    found = Transitions.from_obs(obs, 2)
    found.action = torch.rand(n, 2, generator=generator) * 2 - 1
    push = torch.cat((found.action, found.action), -1)
    found.next_obs = obs + 0.1 * torch.sin(obs.roll(1, -1) + push) + 1e-3 * torch.randn(n, 4, generator=generator)
    return found


def model_of(model: DynamicsModel, n: int) -> DynamicsModel:
    """`model`, fitted to `n` rows."""
    model.build(task(), 0)
    model.make_optimizers()
    model.refit(rows(n), make_generator("cpu", "fit"))
    return model


def fit(name: str, n: int, **options: object) -> Case:
    """One refit to `n` rows, row choice and drawing included; each begins where the last ended, as in a run."""
    model, data = GaussianProcess(**options), rows(n)  # type: ignore[arg-type]
    model.build(task(), 0)
    return Case(name, "fits", lambda: model.refit(data, make_generator("cpu", "fit")))


def step(name: str, model: DynamicsModel) -> Case:
    """One step of 10,000 rollouts, each by the member that it drew."""
    starts = rows(STEPPED)

    @torch.no_grad()
    def run() -> None:
        model.step(model.start(starts, generator), starts.action)

    generator = make_generator("cpu", "step")
    return Case(name, "rows", run, STEPPED)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (5 or more)")
    parser.add_argument("--round-seconds", type=float, default=0.5, help="how long each case runs in a round")
    parser.add_argument("--cpu-time", action="store_true", help="count processor time, for a busy machine")
    parser.add_argument("--only", default="", help="only cases with this in their names, such as 'step'")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    makers: dict[str, Callable[[], Case]] = {
        FIT_300: lambda: fit(FIT_300, 300),
        FIT_500: lambda: fit(FIT_500, 500, max_rows=500),
        FIT_SPARSE: lambda: fit(FIT_SPARSE, 10_000, inference="sparse"),
        EXACT: lambda: step(EXACT, model_of(GaussianProcess(), 300)),
        SPARSE: lambda: step(SPARSE, model_of(GaussianProcess(inference="sparse"), 1000)),
        ENSEMBLE: lambda: step(ENSEMBLE, model_of(GaussianEnsemble(elites=None, max_updates=1), 1000)),
    }
    cases = [make() for name, make in makers.items() if args.only in name]
    measure(cases, args.rounds, args.round_seconds, torch.device("cpu"), process_time if args.cpu_time else perf_counter)
    by_name = {case.name: case for case in cases}
    seconds = {case.name: case.units / case.rate for case in cases}
    ratios = {f"{name} over the ensemble's": ratio(by_name[ENSEMBLE], by_name[name])
              for name in (EXACT, SPARSE) if name in by_name and ENSEMBLE in by_name}  # fmt: skip
    for name, value in {**seconds, **ratios}.items():
        print(f"{name:50}{value:>10.3f}")
    if args.out:
        found = {
            "machine": machine(torch.device("cpu")),
            "rounds": args.rounds,
            "load_average": os.getloadavg()[0],
            "clock": "processor time" if args.cpu_time else "wall clock",
            "seconds": seconds,
            "ratios": ratios,
        }
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
