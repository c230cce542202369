"""Each optimiser against the Riccati solution of a linear-quadratic problem: S=2, A=1, H=10, closed form, float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.planners.plans import CEM, ICEM, MPPI, GradientShooting, PlanOptimizer, RandomShooting
from tests.planners.plans.problems import cold, linear_quadratic, riccati

# Plans evaluated for one decision from a cold start: 2,500 at most; 1,248; 1,750; 3,072; 82, all but 2 with gradients.
BUDGETS: list[tuple[type[PlanOptimizer], dict[str, Any]]] = [
    (CEM, {}),
    (ICEM, {"candidates": 300, "elites": 20, "iterations": 8, "exponent": 0.25}),
    (MPPI, {"sharpness": 100.0, "sd": 0.2}),
    (MPPI, {"candidates": 512, "iterations": 6, "sd": 1.0, "filter_gain": 1.0, "sharpness": 0.5, "elites": 50,
            "sd_bounds": (0.02, 2.0)}),
    (GradientShooting, {"candidates": 2, "updates": 40}),
]  # fmt: skip


@pytest.fixture(scope="module")
def starts() -> Tensor:
    """Starts for which every Riccati action stays inside ±0.8, so that the bounds don't matter."""
    generator = torch.Generator().manual_seed(0)
    drawn = 2.0 * torch.rand(40, 2, generator=generator, dtype=torch.float64) - 1.0
    inside = drawn[riccati(drawn)[1].abs().amax((1, 2)) <= 0.8]
    assert len(inside) >= 10
    return inside


def cost(optimizer: PlanOptimizer, starts: Tensor, seed: int = 0) -> Tensor:
    posed = linear_quadratic(starts, range(seed, seed + len(starts)))
    plan = optimizer.optimize(posed, cold(optimizer, posed))
    return -posed.returns(plan.actions[:, None])[:, 0]


def test_the_riccati_plan_has_the_riccati_cost(starts: Tensor) -> None:
    lowest, actions = riccati(starts)
    torch.testing.assert_close(-linear_quadratic(starts).returns(actions[:, None])[:, 0], lowest)


@pytest.mark.parametrize(("kind", "options"), BUDGETS)
def test_within_two_percent_of_riccati(kind: type[PlanOptimizer], options: dict[str, Any], starts: Tensor) -> None:
    """From every single start, in one decision."""
    excess = cost(kind(**options), starts) / riccati(starts)[0] - 1.0
    assert float(excess.min()) >= -1e-9
    assert float(excess.max()) <= 0.02


def test_random_shooting_comes_nearer_with_more_candidates(starts: Tensor) -> None:
    """Never below the Riccati cost; the mean over starts falls, and stays far from it."""
    lowest = riccati(starts)[0]
    costs = [cost(RandomShooting(candidates), starts) for candidates in (10, 100, 1000)]
    assert all(bool((found >= lowest - 1e-9).all()) for found in costs)
    means = [float(found.mean()) for found in costs]
    assert means[0] >= means[1] >= means[2]
    assert means[2] > 1.02 * float(lowest.mean())


def test_a_warm_start_comes_nearer_than_a_cold_one(starts: Tensor) -> None:
    """A second decision at the same state that begins at the Riccati plan, shifted back, keeps what it was given."""
    lowest, actions = riccati(starts)
    back = torch.cat([torch.zeros_like(actions[:, :1]), actions[:, :-1]], 1)  # the shift undoes this but for the tail
    for optimizer in (
        CEM(candidates=50, elites=5, iterations=1, initial_sd=0.1),
        ICEM(iterations=1, initial_sd=0.1),
        MPPI(candidates=50, iterations=1, sd=0.05, sharpness=100.0, filter_gain=1.0),
        GradientShooting(candidates=2, updates=2),
    ):
        posed = linear_quadratic(starts)
        begun = cold(optimizer, posed)
        found = [
            -posed.returns(optimizer.optimize(linear_quadratic(starts), warm).actions[:, None])[:, 0].mean()
            for warm in (begun, {**begun, "plan": back})
        ]
        assert float(found[1]) < float(found[0]), type(optimizer).__name__
        assert float(found[1]) <= 1.05 * float(lowest.mean()), type(optimizer).__name__
