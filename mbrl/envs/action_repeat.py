"""`ActionRepeat`: several simulator steps in one real step."""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium
import numpy as np

from mbrl.errors import TaskError


class ActionRepeat(gymnasium.Wrapper[np.ndarray, np.ndarray, np.ndarray, np.ndarray]):
    """Applies each action `repeat` times, sums the rewards, and stops where the environment terminates.

    The step's observation, flags and info are those of the last inner step made. A step that a time limit cuts short would
    be of another length than all others, and a model would learn from it as if it were one: `make_env` lowers the limits
    that it can see to whole steps, and others are refused.

    Args:
        env: the environment to wrap; its time limit counts inner steps.
        repeat: inner steps per step, at least 1; more make planning coarser and its horizon longer.

    Raises:
        TaskError: from `step`, if an episode is truncated within a step.
    """

    def __init__(self, env: gymnasium.Env[np.ndarray, np.ndarray], repeat: int) -> None:
        super().__init__(env)
        self.repeat = repeat

    def step(self, action: np.ndarray) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict[str, Any]]:
        """One step of `repeat` inner ones, fewer where the episode terminates."""
        total = 0.0
        for made in range(1, self.repeat + 1):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if truncated and not terminated and made < self.repeat:
                name = self.env.spec.id if self.env.spec is not None else type(self.env.unwrapped).__name__
                raise TaskError(
                    f"{name}: expected episodes of whole steps of action_repeat={self.repeat}, got one that is truncated "
                    f"after {made} of {self.repeat} simulator steps; choose a repeat that divides its length."
                )
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info
