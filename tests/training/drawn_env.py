"""A mass on a line that draws itself in NumPy, without OpenGL or pygame; and one that can't."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces


class Plain(gymnasium.Env[Any, Any]):
    """A mass pushed along a line, from a random place."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    render_mode: str | None = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1, 1, 2)
        return self.state.astype(np.float32), {}

    def step(self, action: Any) -> Any:
        place, speed = self.state
        speed = 0.95 * speed + 0.1 * float(action[0])
        self.state = np.array([place + 0.1 * speed, speed])
        return self.state.astype(np.float32), -abs(place), False, False, {}


class Drawn(Plain):
    """The same with a picture of its place."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, render_mode: str | None = None, broken: bool = False) -> None:
        self.render_mode = render_mode
        self.broken = broken

    def render(self) -> Any:
        if self.broken:
            raise RuntimeError("no OpenGL")
        return np.full((32, 32, 3), int(127 * (1 + np.tanh(self.state[0]))), dtype=np.uint8)


gymnasium.register("Drawn-v0", entry_point=Drawn, max_episode_steps=15)
gymnasium.register("Plain-v0", entry_point=Plain, max_episode_steps=15)
gymnasium.register("Endless-Drawn-v0", entry_point=Drawn)
