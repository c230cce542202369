"""A lift that is to hang at height 0 and is lost beyond ±3; it observes height and speed."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from torch import Tensor


class Lift(gymnasium.Env[np.ndarray, np.ndarray]):
    obs_names = ("height", "speed")  # for reports; an environment may have none

    def __init__(self, gravity: float = 1.0) -> None:
        self.gravity = gravity
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = spaces.Box(0.0, 2.0, (1,), np.float32)  # thrust
        self.state = np.zeros(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1.0, 1.0, 2)
        return self.state.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        height, speed = self.state
        speed = speed + 0.1 * (float(action[0]) - self.gravity)
        height = height + 0.1 * speed
        self.state = np.array([height, speed])
        cost = height**2 + 0.1 * speed**2 + 0.01 * float(action[0]) ** 2
        return self.state.copy(), -float(cost), bool(abs(height) > 3.0), False, {}


gymnasium.register("Lift-v0", entry_point=Lift, max_episode_steps=40)


def reward(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """`B`, from `B x S`, `B x A` and `B x S`, all in the environment's own units."""
    height, speed = next_obs.unbind(-1)
    return -(height**2 + 0.1 * speed**2 + 0.01 * action[..., 0] ** 2)


def lost(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """`B` bool: the task has ended. A time limit is no end, and the environment's own `truncated` says it."""
    return next_obs[..., 0].abs() > 3.0
