"""Targets, minimum and actor of SAC as methods with many critics lean on them."""

from __future__ import annotations

import copy

import pytest
import torch

from mbrl.data import Task, Transitions, make_generator
from mbrl.errors import ConfigError
from mbrl.policies import SAC
from mbrl.policies.sac import soft_target

TASK = Task("", obs_size=3, action_size=2, action_low=(-1, -1), action_high=(1, 1))


def built(**options: object) -> SAC:
    learner = SAC(hidden=[16], critics=4, **options)  # type: ignore[arg-type]
    learner.build(TASK, 0)
    learner.make_optimizers()
    return learner


def batch(rows: int = 8) -> Transitions:
    generator = make_generator("cpu", "batch")
    obs, ends = torch.randn(rows, 3, generator=generator), torch.zeros(rows, dtype=torch.bool)
    action = torch.rand(rows, 2, generator=generator) * 2 - 1
    return Transitions(obs, action, torch.randn(rows, generator=generator), obs, ends, ends)


@pytest.mark.check("ravl-9.6")
def test_targets_at_a_rate_of_one_copy_the_critics() -> None:
    learner = built(target_rate=1.0)
    learner.update(batch(), make_generator("cpu", "noise"))
    pairs = zip(learner.critics.parameters(), learner.target_critics.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    with pytest.raises(ConfigError, match="target_rate"):  # they would never move
        built(target_rate=0.0)


@pytest.mark.check("ravl-9.6")
def test_the_minimum_is_no_larger_than_any_critic() -> None:
    learner, rows = built(temperature=0.0), batch()
    action, _ = learner.policy.sample(rows.next_obs, make_generator("cpu", "noise"))
    each = rows.reward + 0.99 * learner.target_critics(rows.next_obs, action)  # J x B
    target = learner.target(rows, make_generator("cpu", "noise"))
    assert bool((target <= each + 1e-6).all()) and torch.allclose(target, each.amin(0))


@pytest.mark.check("ravl-9.6")
def test_the_actor_hears_of_the_smallest_critic_alone() -> None:
    found = []
    for change in (0.0, 1.0):
        learner = built(critic_lr=1e-12)
        with torch.no_grad():
            learner.critics.head_bias[2] -= 100.0  # the smallest everywhere
            learner.critics.head_weight[[0, 1, 3]] += change
        learner.update(batch(), make_generator("cpu", "noise"))
        found.append([copy.deepcopy(each.grad) for each in learner.policy.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))  # type: ignore[arg-type]


@pytest.mark.check("ravl-9.6")
@pytest.mark.parametrize("actions", [1, 3])
def test_the_density_of_a_standard_policy_at_its_centre(actions: int) -> None:
    learner = SAC(hidden=[16])
    learner.build(Task("", 3, actions, (-1.0,) * actions, (1.0,) * actions), 0)
    with torch.no_grad():
        learner.policy.head_weight.zero_()
    obs = torch.zeros(1, 3)
    mode = learner.policy.mode(obs)
    assert not mode.any()
    assert learner.policy.log_prob(obs, mode).item() == pytest.approx(-0.9189 * actions, abs=1e-3)


@pytest.mark.check("ravl-9.6")
def test_a_constant_in_all_rewards_shifts_values_by_a_hundred_times_it() -> None:
    """Two states, each one's action leads to the other: values by repeated targets, which never end."""
    ends, zero = torch.zeros(2, dtype=torch.bool), torch.zeros(2, dtype=torch.float64)
    found = []
    for constant in (0.0, 3.0):
        values = zero
        for _ in range(4000):
            reward = torch.tensor([1.0, -0.5], dtype=torch.float64) + constant
            values = soft_target(reward, ends, values.flip(0), zero, zero[0], 0.99)
        found.append(values)
    torch.testing.assert_close(found[1] - found[0], torch.full((2,), 300.0, dtype=torch.float64))
