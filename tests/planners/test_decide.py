"""`Planner.decide`: what planners would do for several steps without looking."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mbrl.data import Generator, Task, make_generator
from mbrl.errors import ConfigError
from mbrl.planners import (
    CEM,
    ICEM,
    MPPI,
    PETS,
    Dyna,
    FixedPolicy,
    Memory,
    OfflineDyna,
    Planner,
    PlanOptimizer,
    RandomShooting,
)
from mbrl.policies import BC, SAC, BuildablePolicy
from mbrl.testing import LinearModel, linear_task

TASK = linear_task()
OBS = torch.tensor([[0.5, 0.1], [-0.2, 0.3]])


class Countdown(BuildablePolicy):
    """A policy of sequences: half of the action before, again and again."""

    trained_length = 3

    def build(self, task: Task, seed: int = 0) -> None:
        self.task = task

    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        return self.mode_sequence(obs, prev_action, 1)[:, 0]

    def mode_sequence(self, obs: Tensor, prev_action: Tensor | None, length: int) -> Tensor:
        before = torch.zeros(len(obs), 1) if prev_action is None else prev_action
        return torch.stack([0.5 ** (step + 1) * (before + 1) for step in range(length)], 1)

    def sample(self, obs: Tensor, generator: Generator, prev_action: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.mode(obs, prev_action), torch.zeros(len(obs))


def memory_of(planner: Planner) -> Memory:
    return planner.memory(2, make_generator("cpu", 0))


@pytest.mark.parametrize("make", [lambda: Dyna(None, SAC(hidden=[8])), lambda: OfflineDyna(None, BC(hidden=[8]))])
def test_a_policy_of_one_step_holds_its_action(make: type[Planner]) -> None:
    planner = make()
    planner.build(TASK)
    memory = memory_of(planner)
    actions = planner.decide(OBS, memory, 5)
    assert torch.equal(actions, planner.act(OBS, memory_of(planner), explore=False)[0][:, None].expand(2, 5, 1))
    assert torch.equal(memory.tensors["prev_action"], actions[:, -1])
    assert planner.decision_length == 1


def test_a_policy_of_sequences_plays_its_sequence_and_remembers_the_last_action() -> None:
    planner = FixedPolicy(Countdown())
    planner.build(TASK)
    memory = memory_of(planner)
    assert planner.decision_length == 3
    assert planner.decide(OBS, memory, 4)[0, :, 0].tolist() == [0.5, 0.25, 0.125, 0.0625]
    assert planner.decide(OBS, memory, 1)[0, 0].item() == 0.5 * 1.0625


def test_pets_plays_its_plan_and_then_holds_its_last_action() -> None:
    planner = PETS(LinearModel(), CEM(candidates=16, elites=4, iterations=2), horizon=4)
    planner.build(TASK)
    plan = planner.plan(OBS, memory_of(planner), explore=False).actions
    assert torch.equal(planner.decide(OBS, memory_of(planner), 3), plan[:, :3])
    longer = planner.decide(OBS, memory_of(planner), 6)
    assert torch.equal(longer[:, :4], plan) and torch.equal(longer[:, 4:], plan[:, 3:].expand(2, 2, 1))
    assert planner.decision_length == 4 and not torch.equal(plan[:, 0], plan[:, 1])


@pytest.mark.parametrize("optimizer", [CEM(16, 4), ICEM(16, 4), MPPI(16)])
def test_the_next_plan_begins_where_the_executed_one_ends(optimizer: PlanOptimizer) -> None:
    """What an optimiser carries over moves on by as many steps as were executed."""
    planner = PETS(LinearModel(), optimizer, horizon=4)
    planner.build(TASK)
    once, thrice, beyond = memory_of(planner), memory_of(planner), memory_of(planner)
    planner.decide(OBS, once, 1)
    planner.decide(OBS, thrice, 3)
    actions = planner.decide(OBS, beyond, 9)
    acted = memory_of(planner)
    planner.act(OBS, acted, explore=False)
    assert all(torch.equal(once.tensors[name], tensor) for name, tensor in acted.tensors.items())
    assert torch.equal(thrice.tensors["plan/plan"][:, :2], once.tensors["plan/plan"][:, 2:])
    assert not torch.equal(thrice.tensors["plan/plan"], once.tensors["plan/plan"])
    if "plan/elites" in once.tensors:
        assert torch.equal(thrice.tensors["plan/elites"][:, :, :2], once.tensors["plan/elites"][:, :, 2:])
    if "plan/previous" in once.tensors:
        assert torch.equal(beyond.tensors["plan/previous"], actions[:, -1])


@pytest.mark.parametrize("length", [0, -1, 2.5, True])
def test_a_length_that_is_none_is_refused(length: int) -> None:
    for planner in (
        FixedPolicy(Countdown()),
        PETS(LinearModel(), RandomShooting(4)),
        Dyna(None, SAC(hidden=[8])),
    ):
        planner.build(TASK)
        with pytest.raises(ConfigError, match=r"decide\(length=…\): expected a whole number"):
            planner.decide(OBS, memory_of(planner), length)
