"""Times `SINDy` of 20 members: fits, and steps beside those of the cart-pole preset's ensemble, in ratios of one run.

    python -m benchmarks.speed.sindy --out benchmarks/speed/results/mine-sindy.json     # about two minutes

Sizes are those of the cart-pole swing-up (5 observations, 1 action) and of HalfCheetah-v5 (17 and 6), libraries of degree 2.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from time import process_time

import torch

from benchmarks.speed.machine import machine
from benchmarks.speed.rounds import Case, measure, ratio
from mbrl.data import Task, Transitions, make_generator
from mbrl.models import DynamicsModel, GaussianEnsemble, SINDy
from mbrl.networks import Library

MEMBERS, FITTED, STEPPED = 20, 10_000, 100_000
SMALL, LARGE = (5, 1), (17, 6)
PAIRS = {"step, drawn": "step, drawn, ensemble", "step, all members": "step, all members, ensemble"}


def task(obs: int, action: int) -> Task:
    """A task without a known reward, which is learned too."""
    bounds = (1.0,) * action
    return Task("", obs, action, tuple(-bound for bound in bounds), bounds, known_terminated="mbrl.envs.terminations.never")


def rows(n: int, obs: int, action: int) -> Transitions:
    """`n` transitions of a sparse quadratic system with noise."""
    generator = make_generator("cpu", "rows")
    began = torch.rand(n, obs, generator=generator) * 2 - 1
    found = Transitions.from_obs(began, action)
    found.action = torch.rand(n, action, generator=generator) * 2 - 1
    push = torch.nn.functional.pad(found.action, (0, obs - action))
    found.next_obs = began + 0.1 * began.roll(1, -1) * began + 0.1 * push + 1e-3 * torch.randn(n, obs, generator=generator)
    found.reward = found.next_obs[:, 0].square()
    return found


def sparse(obs: int, action: int) -> SINDy:
    """The model, built."""
    model = SINDy(MEMBERS, Library(degree=2))
    model.build(task(obs, action), 0)
    return model


def fit(name: str, obs: int, action: int) -> Case:
    """One refit to 10,000 rows, its reward's and the screening included."""
    model, data = sparse(obs, action), rows(FITTED, obs, action)
    return Case(name, "fits", lambda: model.refit(data, make_generator("cpu", "fit")))


def steps(kind: str, model: DynamicsModel) -> list[Case]:
    """One step of 100,000 states: by the member that each drew, and by all members."""
    model.make_optimizers()
    model.refit(rows(1000, *SMALL), make_generator("cpu", "fit"))
    starts, generator = rows(STEPPED, *SMALL), make_generator("cpu", "step")

    @torch.no_grad()
    def drawn() -> None:
        model.step(model.start(starts, generator), starts.action)

    @torch.no_grad()
    def everyone() -> None:
        model.predict(starts.obs, starts.action)

    return [Case(f"step, drawn{kind}", "rows", drawn, STEPPED), Case(f"step, all members{kind}", "rows", everyone, STEPPED)]


def main() -> None:
    """Prints seconds and ratios, and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    ensemble = GaussianEnsemble(members=4, elites=None, hidden=[100, 100], max_updates=1)
    ensemble.build(task(*SMALL), 0)
    cases = [
        *steps("", sparse(*SMALL)),
        *steps(", ensemble", ensemble),
        fit("fit, 5 + 1 inputs", *SMALL),
        fit("fit, 17 + 6 inputs", *LARGE),
    ]
    measure(cases, args.rounds, 0.5, torch.device("cpu"), process_time)
    by_name = {case.name: case for case in cases}
    seconds = {case.name: case.units / case.rate for case in cases}
    times = {f"{name}, of the ensemble's": 1 / ratio(by_name[name], by_name[other]) for name, other in PAIRS.items()}
    for name, value in {**seconds, **times}.items():
        print(f"{name:45}{value:>10.3f}")
    if args.out:
        found = {"machine": machine(torch.device("cpu")), "rounds": args.rounds, "clock": "processor time"}
        args.out.write_text(json.dumps({**found, "seconds": seconds, "ratios": times}, indent=1) + "\n")


if __name__ == "__main__":
    main()
