"""Reference returns of an environment: of uniform actions, and of a planner."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mbrl.data import NormalizedScore, Task
from mbrl.envs import VectorExperience
from mbrl.errors import ConfigError
from mbrl.planners import Memory, Planner
from mbrl.planners.evaluation import Actor, evaluate

_ENVS = 10  # stepped at once


class UniformActions:
    """Acts uniformly within the bounds of a task, as D4RL's random datasets and reference returns are made.

    Args:
        task: whose actions are drawn.
    """

    device = torch.device("cpu")

    def __init__(self, task: Task) -> None:
        self.task = task

    @property
    def log_prob(self) -> float:
        """The log-density of each action, in environment units: −Σ ln(high − low) over its dims."""
        pairs = zip(self.task.action_low, self.task.action_high, strict=True)
        return -sum(math.log(high - low) for low, high in pairs)

    def memory(self, n: int, generator: torch.Generator) -> Memory:
        """A memory that draws and remembers nothing."""
        return Memory(n, generator)

    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> tuple[Tensor, Memory]:
        """Draws actions `N x A`, uniform in [−1, 1]."""
        shape = (len(obs), self.task.action_size)
        return torch.rand(shape, generator=memory.generator, dtype=torch.float32) * 2 - 1, memory


def reference_returns(
    planner: Planner, task: Task, *, episodes: int = 100, seed: int = 0, allow: Sequence[str] | None = None
) -> NormalizedScore:
    """The mean returns that score 0 and 100 in a task: of uniform actions, and of a planner's deterministic ones.

    Args:
        planner: the expert.
        task: the task; its episodes must end.
        episodes: whole episodes of each; more measure better.
        seed: seed of their starts and of the uniform actions.
        allow: modules in which the environment's names may be looked up; None if the user wrote them.

    Raises:
        ConfigError: if the planner isn't better than uniform actions.
    """
    experience = VectorExperience(task, min(episodes, _ENVS), seed=seed, allow=allow)
    actors: tuple[Actor, Actor] = (UniformActions(task), planner)
    try:
        low, high = (float(evaluate(actor, experience, episodes, seed).returns.mean()) for actor in actors)
    finally:
        experience.close()
    if not low < high:
        raise ConfigError(
            f"reference returns: expected a policy that earns more than uniform actions in {task.env_id}, {low:.6g}, got "
            f"one that earns {high:.6g}; train longer, or give another run."
        )
    whose = (
        f"our own references of {task.env_id}: {low:.6g} of uniform actions, {high:.6g} of a trained policy's deterministic "
        f"ones, means of {episodes} episodes, seed {seed}"
    )
    return NormalizedScore(low, high, whose)
