"""`Experience`: real environments of one task, stepped as one batch. The contract between environments and planners."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from mbrl.arguments import check_whole
from mbrl.data import Task, Transitions
from mbrl.errors import ConfigError


class Experience(ABC):
    """`N` environments of one task.

    Attributes:
        task: the task whose environments they are.
        num_envs: `N`.
        obs: `N x S` float32, where each stands now (after a reset, where the last episode has ended).
        ended: `N` bool, whose episode ended (or was reset) in the last step: planners forget what they remember of it.
        snapshot: `N` simulator states for planners that start from them, or None.
    """

    task: Task
    num_envs: int
    obs: Tensor
    ended: Tensor

    @property
    def snapshot(self) -> Tensor | None:
        """`N x W` float64 on the CPU: the simulator states that `obs` shows, for planners whose model starts from them.

        Rows of `mbrl.envs.SimulatorState`; None where the environments aren't MuJoCo's, or can't be reached. It is read
        from the environments when asked for, and costs nothing otherwise.
        """
        return None

    @abstractmethod
    def reset(self, seed: int) -> None:
        """Starts fresh episodes everywhere, with seeds drawn from `seed`."""

    @abstractmethod
    def step(self, action: Tensor) -> Transitions:
        """Steps every environment once with `action` `N x A` in [−1, 1], and resets those whose episode ended.

        Returns:
            `N` transitions; `next_obs` is where the step led, also at an episode's end. A vector environment that resets
            itself in a step of its own gives fewer rows in that step (see `HandedOverExperience`).
        """

    @abstractmethod
    def finished(self) -> list[tuple[float, int]]:
        """Return and length of each episode that ended since the last call."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All that exact resume needs, as tensors and plain data: a reset seed and the actions since, per environment."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replays to where `state` was taken; refuses an environment that doesn't get there."""

    @abstractmethod
    def close(self) -> None:
        """Closes the environments."""


def check_steps(who: str, steps: int, num_envs: int) -> None:
    """Refuses `steps` real steps of `num_envs` environments that aren't a whole number of steps of all.

    Raises:
        ConfigError: naming `who` asks for them, and both numbers.
    """
    check_whole(f"{who}(steps=…)", steps)
    check_whole(f"{who}(num_envs=…)", num_envs)
    if steps % num_envs:
        raise ConfigError(f"{who}: expected steps to be a multiple of num_envs, got {steps} and {num_envs}; change either.")
