"""A planner without environments learns by `ImaginedLearning` alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import ModelStep, ReplayBuffer, Task, Transitions, make_generator
from mbrl.envs.experience import Experience
from mbrl.planners import ImaginedLearning, Memory, Planner, RolloutContext, RolloutHook
from mbrl.policies import SAC, CriticContext, CriticTerm
from tests.planners.exact_models import WALK, WalkModel

ROLLOUTS, LENGTH, EVERY = 6, 2, 5  # a rollout of two steps from each of six rows, every five updates


def dataset() -> ReplayBuffer:
    """100 steps of the walk s' = s + 0.1·a from drawn states."""
    noise = make_generator("cpu", "dataset")
    obs, action = (torch.rand(100, 1, generator=noise) * 2 - 1 for _ in range(2))  # B x 1 each
    buffer, never = ReplayBuffer(100, 1, 1), torch.zeros(100, dtype=torch.bool)
    buffer.add(Transitions(obs, action, -obs[:, 0].square(), obs + 0.1 * action, never, never))
    return buffer


class Offline(Planner):
    """Learns from a dataset and a model of it; a tick is an update, which `updates` counts."""

    def __init__(self) -> None:
        super().__init__()
        self.dynamics, self.learner = WalkModel(noise=0.01), SAC(hidden=[8])

    def make_parts(self, task: Task, seed: int) -> None:
        self.updates = 0
        self.dynamics.build(task, seed)
        self.learner.build(task, seed)
        self.learning = ImaginedLearning(
            self.dynamics, self.learner, dataset(), self.streams, self.metrics, batch_size=16, real_rows=4
        )

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        return self.learner.make_optimizers()

    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> tuple[Tensor, Memory]:
        return self.learner.policy.mode(obs), memory

    def tick(self, experience: Experience | None = None) -> None:
        if self.updates % EVERY == 0:
            self.learning.imagine(ROLLOUTS, LENGTH, capacity=2 * ROLLOUTS * LENGTH, clock=self.updates)
        self.learning.learn(1)
        self.updates += 1

    def buffers_state(self) -> dict[str, dict[str, Any]]:
        return self.learning.buffers_state()

    def load_buffers_state(self, state: dict[str, dict[str, Any]]) -> None:
        self.learning.load_buffers_state(state)


def ticked(planner: Offline, ticks: int) -> Offline:
    for _ in range(ticks):
        planner.tick()
    return planner


def made() -> Offline:
    planner = Offline()
    planner.build(WALK, seed=3)
    planner.make_optimizers()
    return planner


def test_a_planner_learns_from_a_dataset_without_an_environment() -> None:
    planner = made()
    before = [parameter.clone() for parameter in planner.learner.policy.parameters()]
    ticked(planner, 11)
    assert not any(torch.equal(a, b) for a, b in zip(before, planner.learner.policy.parameters(), strict=True))
    kept = planner.learning.model
    assert kept.capacity == len(kept) == 24 and kept.added == 36, "three times rolled out, and the newest two kept"
    starts = set(dataset().all().obs[:, 0].tolist())
    assert set(kept.all().obs[:ROLLOUTS, 0].tolist()) <= starts, "rollouts begin at the dataset's rows"
    batch, model_rows = planner.learning.batch()
    assert model_rows == slice(4, 16)
    real = [row in starts for row in batch.obs[:, 0].tolist()]
    assert len(batch) == 16 and all(real[:4]) and not all(real[4:])
    line = planner.metrics.pop()
    assert line["rollout/length"] == LENGTH and line["rollout/stored"] == ROLLOUTS * LENGTH
    assert {"learner/critic_loss", "time/rollout_s", "time/update_s"} <= set(line)


def test_no_updates_draw_nothing() -> None:
    planner = made()
    planner.learning.learn(0)
    assert planner.streams.state_dict() == {} and planner.metrics.pop() == {} and planner.buffers_state() == {}


def test_the_kept_rollouts_are_restored() -> None:
    first, second = ticked(made(), 7), made()
    second.load_buffers_state(first.buffers_state())
    second.load_state_dict(first.state_dict())
    second.streams.load_state_dict(first.streams.state_dict())
    assert torch.equal(first.learning.model.all().next_obs, second.learning.model.all().next_obs)
    batches = [planner.learning.batch()[0] for planner in (first, second)]
    assert torch.equal(batches[0].obs, batches[1].obs)


class Counted(CriticTerm):
    """Adds nothing to the loss; counts its calls, and keeps which rows were the model's."""

    def __init__(self) -> None:
        self.calls: list[slice] = []

    def __call__(self, batch: Transitions, context: CriticContext) -> Tensor:
        self.calls.append(context.model_rows)
        return batch.reward.new_zeros(())


class SeesValue(RolloutHook):
    """Remembers the critics that it is shown."""

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        self.value = context.value
        return step


def rolled_out(clock: int) -> Tensor:
    planner = made()
    planner.learning.imagine(ROLLOUTS, LENGTH, capacity=ROLLOUTS * LENGTH, clock=clock)
    return planner.learning.model.all().next_obs


def test_rollouts_at_another_time_draw_other_noise() -> None:
    assert torch.equal(rolled_out(0), rolled_out(0)) and not torch.equal(rolled_out(0), rolled_out(5))


def test_streams_have_the_names_that_checkpoints_hold() -> None:
    planner = ticked(made(), 2)
    assert set(planner.streams.state_dict()) == {"start_rows", "replay", "updates"}
    first, other = made().streams, made().streams
    assert torch.equal(dataset().sample(ROLLOUTS, first["start_rows"]).obs, made_starts()), "and each draws what it is for"
    assert not torch.equal(other["replay"].get_state(), other["start_rows"].get_state())


def made_starts() -> Tensor:
    """Where the first rollouts of a planner begin."""
    planner = made()
    planner.learning.imagine(ROLLOUTS, 1, capacity=ROLLOUTS, clock=0)
    return planner.learning.model.all().obs


def test_terms_and_hooks_get_what_they_ask_for() -> None:
    planner = made()
    term, hook = Counted(), SeesValue()
    planner.learning.critic_terms, planner.learning.rollout_hooks = [term], [hook]
    ticked(planner, 3)
    assert term.calls == [slice(4, 16)] * 3
    assert hook.value is planner.learner


def test_update_times_are_of_one_update(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = made()
    planner.learning.imagine(ROLLOUTS, LENGTH, capacity=ROLLOUTS * LENGTH, clock=0)
    planner.metrics.pop()
    clock = iter([0.0, 8.0])
    monkeypatch.setattr("mbrl.planners.rollouts.imagined_learning.perf_counter", lambda: next(clock))
    planner.learning.learn(4)
    assert planner.metrics.pop()["time/update_s"] == 2.0
