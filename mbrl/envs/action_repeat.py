"""`ActionRepeat`: several simulator steps in one real step."""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium
import numpy as np


class ActionRepeat(gymnasium.Wrapper[np.ndarray, np.ndarray, np.ndarray, np.ndarray]):
    """Applies each action `repeat` times, sums the rewards, and stops where the episode ends.

    The step's observation, flags and info are those of the last inner step made.

    Args:
        env: the environment to wrap; its time limit counts inner steps.
        repeat: inner steps per step, at least 1; more make planning coarser and its horizon longer.
    """

    def __init__(self, env: gymnasium.Env[np.ndarray, np.ndarray], repeat: int) -> None:
        super().__init__(env)
        self.repeat = repeat

    def step(self, action: np.ndarray) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict[str, Any]]:
        """One step of up to `repeat` inner ones."""
        total = 0.0
        for _ in range(self.repeat):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info
