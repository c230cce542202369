"""Members that rollouts keep, under an unknown constant drift."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mbrl.data import Task, Transitions, make_generator
from mbrl.models import GaussianProcess
from mbrl.models.gaussian_process.kernels import Hyperparameters
from mbrl.models.gaussian_process.posterior import Posterior
from mbrl.planners.plans.propagation import follow_plans


@pytest.mark.check("gp-9")
def test_followed_members_keep_their_drift_and_redrawn_ones_lose_it() -> None:
    """x' = x + f, f an unknown constant of sd 0.1: after 20 steps the variance is 4 if f stays, 0.2 if it is drawn anew."""
    task = Task("", 1, 1, (-1.0,), (1.0,), known_terminated="mbrl.envs.terminations.never")
    one = torch.ones(1, dtype=torch.float64)
    drift = Hyperparameters(1e6 * torch.ones(1, 2, dtype=torch.float64), 0.01 * one, 1e-12 * one)
    ends: dict[str, list[Tensor]] = {"ts_inf": [], "ts1": [], "ds": []}
    for seed in range(50):
        model = GaussianProcess(members=400, frequencies=8, learn_reward=True)
        model.build(task, seed)
        model.process = Posterior("rbf", Hyperparameters(*(torch.cat((x, x)) for x in vars(drift).values())), 2)
        model.paths.draw(model.process, make_generator("cpu", seed, "drift"))
        for name, found in ends.items():
            if name != "ts_inf" and seed >= 20:  # of which 8000 are enough
                continue
            noise = make_generator("cpu", seed, name)
            start = model.start(Transitions.from_obs(torch.zeros(1, 1), 1), noise)
            with torch.no_grad():
                steps = list(follow_plans(model, start, torch.zeros(1, 1, 20, 1), 400, name))  # type: ignore[arg-type]
            found.append(steps[-1].next_obs)
    variance = {name: torch.cat(found).var().item() for name, found in ends.items()}
    assert variance["ts_inf"] == pytest.approx(4.0, abs=0.15)
    assert variance["ts1"] == pytest.approx(0.20, abs=0.01)
    assert variance["ds"] == pytest.approx(0.20, abs=0.01)
