"""Cost of bf16 in quality: holdout error of the ensemble in both precisions, over seeds, on the same rows."""

from __future__ import annotations

import math
import statistics
from typing import Any

import torch

from benchmarks.speed.cases import ENV_ID, HIDDEN, MEMBERS, Precision
from mbrl.data import Transitions, make_generator
from mbrl.envs import VectorExperience, make_task
from mbrl.models import GaussianEnsemble


def real_rows(steps: int, seed: int) -> Transitions:
    """Random-action steps of Hopper-v5."""
    known = make_task(ENV_ID)
    experience = VectorExperience(known, 10, seed=seed)
    experience.reset(seed)
    generator = make_generator("cpu", seed, "actions")
    shape = (10, known.action_size)
    parts = [experience.step(torch.rand(shape, generator=generator) * 2 - 1) for _ in range(steps // 10)]
    experience.close()
    return Transitions.cat(parts)


@torch.no_grad()
def errors(model: GaussianEnsemble, rows: Transitions) -> tuple[float, float]:
    """Negative log-likelihood per dimension (nats) and mean squared error, means over members, rows and dimensions."""
    said = model.predict(rows.obs, rows.action)  # E x B x S
    square = (rows.next_obs - said.mean).square()
    nll = 0.5 * (square / said.var + said.var.log() + math.log(2 * math.pi))
    return float(nll.mean()), float(square.mean())


def compare(seeds: int = 3, steps: int = 5000, updates: int = 1000) -> dict[str, Any]:
    """Fits in both precisions; returns each error's mean and standard deviation over seeds."""
    train, test = real_rows(steps, 0), real_rows(steps // 2, 1)
    known = make_task(ENV_ID)
    found: dict[str, Any] = {"seeds": seeds, "rows": steps, "updates": updates}
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    for precision in precisions:
        results = []
        for seed in range(seeds):
            model = GaussianEnsemble(members=MEMBERS, hidden=HIDDEN, precision=precision, max_updates=updates)
            model.build(known, seed)
            model.refit(train, make_generator("cpu", seed, "fit"))
            results.append(errors(model, test))
        for name, values in zip(("nll", "mse"), zip(*results, strict=True), strict=True):
            found[f"{precision}_{name}"] = statistics.mean(values)
            found[f"{precision}_{name}_sd"] = statistics.stdev(values)
    return found
