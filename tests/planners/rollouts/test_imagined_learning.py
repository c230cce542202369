"""A planner without environments learns by `ImaginedLearning` alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mbrl.data import ReplayBuffer, Task, Transitions, make_generator
from mbrl.envs.experience import Experience
from mbrl.planners import ImaginedLearning, Memory, Planner
from mbrl.policies import SAC
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
