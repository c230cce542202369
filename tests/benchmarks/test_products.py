"""The yardstick of the speed benchmark, by hand for small sizes and by counting for real ones."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed import products


def test_counts_by_hand() -> None:
    assert products.layers([2, 3, 5]) == 21
    assert products.ensemble_update(1, 1, [2, 3, 5]) == 2 * (21 + 21 + 15)
    assert products.rollout_step([2, 3], [4, 5]) == 52
    # two candidates, three steps: 30 members of 6 and the one of the step taken; a policy of 20 for the first, and for four
    assert products.planned_rollout_step(2, 3, 5, [2, 3], [4, 5]) == 2 * (31 * 6 + 5 * 20)
    assert products.plan(3, 2, 4, 5, [2, 3]) == 2 * 120 * 6
    # policy 1-1, two critics 2-1: target 1+4, critics 4+4+0, actor 1+1+0+4+4
    assert products.sac_update(1, [1, 1], [2, 1], 2) == 2 * 23


@pytest.mark.parametrize("batch", [8])
def test_sac_count_is_what_an_update_does(batch: int) -> None:
    from mbrl.data import Task, Transitions, make_generator
    from mbrl.policies import SAC

    task = Task("x", 11, 3, (-1.0,) * 3, (1.0,) * 3)
    learner = SAC(hidden=[16, 16])
    learner.build(task)
    learner.make_optimizers()
    generator = make_generator("cpu", 0)
    rows = Transitions.from_obs(torch.randn(batch, 11, generator=generator), 3)
    with FlopCounterMode(display=False) as counter:
        learner.update(rows, generator)
    expected = products.sac_update(batch, [11, 16, 16, 6], [14, 16, 16, 1], 2)
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.05)


def test_planned_rollout_count_is_what_a_rollout_does() -> None:
    """Nothing is evaluated that nobody reads: no policy after a candidate's last step, none for the step that is taken."""
    from mbrl.data import Task, Transitions, make_generator
    from mbrl.models import GaussianEnsemble
    from mbrl.planners import UPMPC
    from mbrl.planners.rollouts.imagination import Imagination
    from mbrl.policies import SAC

    task = Task("x", 11, 3, (-1.0,) * 3, (1.0,) * 3, known_terminated="mbrl.envs.terminations.never")
    model, learner = GaussianEnsemble(members=3, elites=None, hidden=[16, 16]), SAC(hidden=[32, 32])
    model.build(task)
    learner.build(task)
    rows = Transitions.from_obs(torch.randn(6, 11, generator=make_generator("cpu", 0)), 3)
    imagination = Imagination(model, learner.policy, UPMPC(-2.0, candidates=2, horizon=3), [], 0, 100, True)
    with FlopCounterMode(display=False) as counter:
        imagination.run(rows, 1, 0, lambda part: None)
    expected = products.planned_rollout_step(2, 3, 3, [14, 16, 16, 24], [11, 32, 32, 6])
    assert counter.get_total_flops() == 6 * expected


def test_plan_count_is_what_a_decision_does() -> None:
    """Particles that follow a member are laid out without spare rows: 6 particles, 3 members."""
    from mbrl.data import make_generator
    from mbrl.models import GaussianEnsemble
    from mbrl.planners import CEM, PETS
    from mbrl.testing import linear_task

    planner = PETS(
        GaussianEnsemble(hidden=[16, 16], members=3, elites=None, weight_decay=0.0),
        CEM(candidates=10, elites=2, iterations=2, epsilon=0.0),
        horizon=4,
        particles=6,
    )
    planner.build(linear_task())
    memory = planner.memory(1, make_generator("cpu", 0))
    with FlopCounterMode(display=False) as counter:
        planner.plan(torch.zeros(1, 2), memory, explore=True)
    assert counter.get_total_flops() == products.plan(10, 6, 2, 4, [3, 16, 16, 4])
