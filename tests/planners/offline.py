"""An offline planner of twenty lines, and the dataset that it learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mbrl.data import Task
from mbrl.envs import OfflineData, collect, make_task
from mbrl.models import DynamicsModel, GaussianEnsemble
from mbrl.parts import fitted_parts
from mbrl.planners import HasDynamics, ImaginedLearning, LearnsPolicy, Memory, OfflinePlanner
from mbrl.policies import SAC, Learner

ENV: dict[str, Any] = {"env_id": "Pendulum-v1", "env_kwargs": {"max_episode_steps": 25}}


class Offline(OfflinePlanner, HasDynamics, LearnsPolicy):
    """Fits its model once, rolls it out every `rollout_every` updates, and learns from both (as MOPO does)."""

    dynamics: DynamicsModel
    learner: Learner

    def __init__(self, dynamics: DynamicsModel, learner: Learner, rollout_every: int = 10) -> None:
        super().__init__()
        self.dynamics, self.learner, self.rollout_every = dynamics, learner, rollout_every

    def make_parts(self, task: Task, seed: int) -> None:
        self.dynamics.build(task, seed)
        self.learner.build(task, seed)

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        return [*self.dynamics.make_optimizers(), *self.learner.make_optimizers()]

    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> tuple[Tensor, Memory]:
        return self.learner.policy.mode(obs).detach(), memory

    def before_updates(self) -> None:
        self.learning = ImaginedLearning(
            self.dynamics, self.learner, self.real_buffer, self.streams, self.metrics, batch_size=16, real_rows=8
        )

    def update(self) -> None:
        if self.updates == 0:
            rows = self.real_buffer.all()
            self.metrics.add(self.dynamics.refit(rows, self.streams["model_fit"]), prefix="model/")
            fitted_parts(self, self.dynamics, rows)
        if self.updates % self.rollout_every == 0:
            self.learning.imagine(8, 2, capacity=64, clock=self.updates)
        self.learning.learn(1)

    def buffers_state(self) -> dict[str, dict[str, Any]]:
        return self.learning.buffers_state()

    def load_buffers_state(self, state: dict[str, dict[str, Any]]) -> None:
        self.learning.load_buffers_state(state)


def offline(**options: Any) -> Offline:
    """Small enough for tests."""
    ensemble = GaussianEnsemble(hidden=[8, 8], members=3, elites=2, weight_decay=0.0, max_epochs=2, batch_size=16)
    return Offline(ensemble, SAC(hidden=[8, 8]), **options)


def record(path: Path, seed: int = 0, steps: int = 100) -> Path:
    """Random actions in Pendulum, episodes of 25 steps."""
    return Path(collect(make_task(ENV["env_id"], ENV["env_kwargs"]), str(path), steps=steps, seed=seed))


def offline_data(path: Path, steps: int | None = 60, **options: Any) -> OfflineData:
    """The dataset with two evaluation episodes."""
    return OfflineData(str(path), steps=steps, **{"eval_episodes": 2, "test_episodes": 3, **options})
