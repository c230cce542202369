"""`LinearEnv`: the system of `linear_task` as a Gymnasium environment, registered as `mbrl/Linear-v0`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from mbrl.testing.linear import ACTION_COST, ACTION_MATRIX, LIMIT, STATE_MATRIX

ENV_ID = "mbrl/Linear-v0"


class LinearEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """Starts uniformly in ±0.5 and follows s' = F s + G a + σ ε, in float64.

    Args:
        state_matrix: F, `S x S` numbers.
        action_matrix: G, `S x A` numbers.
        noise: σ.
        ends: whether leaving ±2 ends the episode.
    """

    def __init__(
        self,
        state_matrix: Sequence[Sequence[float]] = STATE_MATRIX,
        action_matrix: Sequence[Sequence[float]] = ACTION_MATRIX,
        noise: float = 0.0,
        ends: bool = True,
    ) -> None:
        self.state_matrix = np.array(state_matrix, dtype=np.float64)  # S x S
        self.action_matrix = np.array(action_matrix, dtype=np.float64)  # S x A
        self.noise = noise
        self.ends = ends
        size, actions = self.action_matrix.shape
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float64)
        self.action_space = spaces.Box(-1.0, 1.0, (actions,), np.float32)
        self.state = np.zeros(size)  # S

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Draws a start from the environment's own generator."""
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-0.5, 0.5, self.state.shape)
        return self.state.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step of the system."""
        command = np.asarray(action, dtype=np.float64)
        self.state = self.state_matrix @ self.state + self.action_matrix @ command
        if self.noise > 0:
            self.state = self.state + self.noise * self.np_random.standard_normal(self.state.shape)
        reward = -float(np.square(self.state).sum() + ACTION_COST * np.square(command).sum())
        terminated = self.ends and bool((np.abs(self.state) > LIMIT).any())
        return self.state.copy(), reward, terminated, False, {}


if ENV_ID not in gymnasium.registry:
    gymnasium.register(ENV_ID, entry_point=f"{__name__}:LinearEnv", max_episode_steps=50)
