"""Measures what each of UP-MPC's savings saves, and what it does to the action that is taken.

    python -m benchmarks.speed.savings RUN --out benchmarks/speed/results/mine-savings.json

RUN is a run folder of Dyna with an ensemble, whose checkpoint gives model, policy, critics and real states. Every setting
chooses among the same candidates of the same states. UP-MPC's scores are random (members, noise), so two plans at full
effort don't always agree either: the first row, full effort with other noise, is what the others are to be compared with.

The truth is the mean of many scores at full effort; R and U are correlated with theirs over a state's candidates. The gain
of a choice is its true score above the mean of its state's candidates, as a share of what the truly best one would gain.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from time import process_time
from typing import Any

import torch
from torch import Tensor

import mbrl
from benchmarks.speed.machine import machine
from mbrl.data import ReplayBuffer, RowGenerator, Transitions, make_generator
from mbrl.planners import UPMPC, Dyna, Situation, best_candidate
from mbrl.training.checkpoint import find_last, read_checkpoint

FULL: dict[str, Any] = {}
SETTINGS: dict[str, dict[str, Any]] = {
    "all members, all steps": FULL,
    "4 members": {"uncertainty_members": 4},
    "3 members": {"uncertainty_members": 3},
    "2 members": {"uncertainty_members": 2},
    "first 3 steps": {"uncertainty_steps": 3},
    "first step": {"uncertainty_steps": 1},
    "3 members, first step": {"uncertainty_members": 3, "uncertainty_steps": 1},
}
RATES = (-2.0, 1.0)


def real_states(run: Path, planner: Dyna, number: int) -> Transitions:
    """Real rows of the run's checkpoint, drawn without the run's own streams."""
    folder = find_last(run)
    if folder is None:
        raise SystemExit(f"expected a run folder with a checkpoint, got {run}; train one first")
    state = read_checkpoint(folder, buffers=True)["mbrl_buffers"]["real"]
    task = planner.built_task
    buffer = ReplayBuffer(state["capacity"], task.obs_size, task.action_size, store_episodes=True)
    buffer.load_state_dict(state)
    return buffer.sample(number, make_generator("cpu", "states"))


def situation(planner: Dyna, rows: Transitions, seed: int) -> Situation:
    """The same states and candidates for every seed, with other planning noise."""
    model, number = planner.dynamics, len(rows)
    policy, planning = (
        RowGenerator(make_generator("cpu", *parts), number) for parts in (("candidates",), ("planning", seed))
    )
    return Situation(
        rows.obs, planner.learner.policy, model, lambda noise: model.start(rows, noise), policy, planning, planner.learner
    )


def compare(planner: Dyna, rows: Transitions, truths: int, repeats: int) -> dict[str, Any]:
    """Times and choices of every setting.

    Args:
        planner: with a fitted model.
        rows: where to plan.
        truths: scores at full effort that the truth is the mean of.
        repeats: plans of each setting, in alternating rounds.
    """
    with torch.no_grad():
        full = [UPMPC(1.0).scores(situation(planner, rows, seed)) for seed in range(truths + 1)]
        reward = torch.stack([scores.reward for scores in full[1:]])  # truths x K x B
        uncertainty = torch.stack([scores.uncertainty for scores in full[1:]])
        found: dict[str, dict[str, list[float]]] = {name: {} for name in SETTINGS}
        for repeat in range(repeats):
            for number, (name, options) in enumerate(SETTINGS.items()):
                selector = UPMPC(1.0, **options)  # the rate weighs scores below, and only switches uncertainty on here
                began = process_time()
                scores = selector.scores(situation(planner, rows, 10_000 + 100 * repeat + number))
                found[name].setdefault("seconds", []).append(process_time() - began)
                for part, seen, known in (("R", scores.reward, reward), ("U", scores.uncertainty, uncertainty)):
                    found[name].setdefault(f"{part}'s correlation", []).append(_correlation(seen, known.mean(0)))
                for rate in RATES:
                    taken = best_candidate(scores.reward, scores.uncertainty, rate)  # B
                    usual = best_candidate(full[0].reward, full[0].uncertainty, rate)
                    truth = (reward + rate * uncertainty).mean(0)  # K x B
                    found[name].setdefault(f"other action, rate {rate:g}", []).append(_share(taken != usual))
                    found[name].setdefault(f"gain, rate {rate:g}", []).append(_gain(truth, taken))
    base = found["all members, all steps"]["seconds"]
    table = {
        name: {
            "time": _median([mine / other for mine, other in zip(values["seconds"], base, strict=True)]),
            **{column: sum(numbers) / len(numbers) for column, numbers in values.items() if column != "seconds"},
        }
        for name, values in found.items()
    }
    spread = {
        "reward": reward.std(1, correction=0).mean().item(),
        "uncertainty": uncertainty.std(1, correction=0).mean().item(),
        "reward, of the mean of many scores": reward.mean(0).std(0, correction=0).mean().item(),
        "uncertainty, of the mean of many scores": uncertainty.mean(0).std(0, correction=0).mean().item(),
    }
    return {"settings": table, "spread over candidates": spread}


def _share(values: Tensor) -> float:
    return values.float().mean().item()


def _gain(truth: Tensor, taken: Tensor) -> float:
    """Mean true score of the choices above their states' candidates, as a share of the best ones' (`K x B`, `B`)."""
    middle = truth.mean(0)
    return ((truth.gather(0, taken[None])[0] - middle).mean() / (truth.amax(0) - middle).mean()).item()


def _correlation(seen: Tensor, known: Tensor) -> float:
    """Correlation of two sums `K x B` over the candidates, about each state's mean."""
    a, b = seen - seen.mean(0), known - known.mean(0)
    return ((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt()).item()


def _median(values: list[float]) -> float:
    return torch.tensor(values).median().item()


def main() -> None:
    """Runs the comparison and prints it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="a run folder of Dyna with an ensemble")
    parser.add_argument("--states", type=int, default=1000, help="real states to plan at")
    parser.add_argument("--truths", type=int, default=32, help="scores at full effort that the truth is the mean of")
    parser.add_argument("--repeats", type=int, default=7, help="plans of each setting")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    planner = mbrl.load(args.run)
    if not isinstance(planner, Dyna):
        parser.error(f"expected a run of Dyna, got one of {type(planner).__name__}")
    rows = real_states(args.run, planner, args.states)
    result = {
        "machine": machine(torch.device("cpu")),
        "env_steps": planner.env_steps,
        "task": planner.built_task.env_id,
        "states": args.states,
        "truths": args.truths,
        "repeats": args.repeats,
        **compare(planner, rows, args.truths, args.repeats),
    }
    for name, row in result["settings"].items():
        print(f"{name:26}" + "".join(f"  {column} {value:.3f}" for column, value in row.items()))
    print(result["spread over candidates"])
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
