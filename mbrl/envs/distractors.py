"""`Distracted-v0`: any environment with observations beside its own that say nothing about it.

Importing this registers the id, so that `mbrl.envs.distractors:Distracted-v0` is all that a configuration needs.

Voelcker2022: "Value gradient weighted model-based reinforcement learning" (arXiv 2204.01464 v2, appendix E, eq. 11; the
released code's construction is another one).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces

from mbrl.arguments import Count, Seed, checked
from mbrl.envs.defaults import DIMS

_RADIUS = 20.0  # where distractors are put back

Env = gymnasium.Env[np.ndarray, np.ndarray]


class Distracted(gymnasium.Env[np.ndarray, np.ndarray]):
    """An environment's own observation, then `dims` numbers that move by themselves.

    Reward, ends and the first part of the observation are the base's. What the distractors follow is drawn once from
    `distractor_seed`, not from the seed of a reset, so that training and evaluation meet the same.

    Args:
        base_id: id of the environment.
        dims: d, number of distractors.
        dynamics: `"paper"`: x ← x + sin(A x), back to x₀ where the length reaches 20; A's entries are normal with sd 10,
            those of x₀ with sd 0.1, and each episode begins at x₀. `"released"`: x ← M x, then x ← x + 0.1 sin(P x), and
            each |x_i| > 20 back to c_i; entries of M and c are standard normal, those of P squares of normal ones with sd
            10, and each episode begins at its own x with sd 0.1. It is close to random noise, and another benchmark.
        distractor_seed: draws these constants.
        base_kwargs: keyword arguments of the base, plain data.
        render_mode: the base's.

    Attributes:
        base: the environment.
        time_limit: its steps to truncation, or None.

    Raises:
        ConfigError: for a number out of range.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"]}  # noqa: RUF012 - Gymnasium's

    @checked
    def __init__(
        self,
        base_id: str,
        dims: Count = DIMS,
        dynamics: Literal["paper", "released"] = "paper",
        distractor_seed: Seed = 0,
        base_kwargs: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.base: Env = gymnasium.make(base_id, render_mode=render_mode, **(base_kwargs or {}))
        self.render_mode = render_mode
        self.metadata = self.base.metadata
        self.time_limit = None if self.base.spec is None else self.base.spec.max_episode_steps
        space = self.base.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            self.base.close()
            raise gymnasium.error.Error(f"Distracted-v0 takes a base whose observations are a flat box, not {space}")
        room = np.full(dims, np.inf if dynamics == "released" else _RADIUS)
        self.observation_space = spaces.Box(
            np.concatenate((space.low, -room)), np.concatenate((space.high, room)), dtype=np.float64
        )
        self.action_space = self.base.action_space
        self.dynamics = dynamics
        draws = np.random.default_rng(distractor_seed)
        if dynamics == "paper":
            self._turn = draws.normal(0, 10, (dims, dims))  # A
            self._home = draws.normal(0, 0.1, dims)  # x₀
        else:
            self._mix = draws.normal(0, 1, (dims, dims))  # M
            self._turn = np.square(draws.normal(0, 10, (dims, dims)))  # P
            self._home = draws.normal(0, 1, dims)  # c
        self._x = self._home

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        obs, info = self.base.reset(seed=seed, options=options)
        fresh = self.dynamics == "released"
        self._x = self.np_random.normal(0, 0.1, len(self._home)) if fresh else self._home
        return np.concatenate((obs, self._x)), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.base.step(action)
        self._x = self._moved(self._x)
        return np.concatenate((obs, self._x)), float(reward), terminated, truncated, info

    def _moved(self, x: np.ndarray) -> np.ndarray:
        if self.dynamics == "paper":
            x = x + np.sin(self._turn @ x)
            return x if np.linalg.norm(x) < _RADIUS else self._home
        x = self._mix @ x
        x = x + 0.1 * np.sin(self._turn @ x)
        return np.where(np.abs(x) > _RADIUS, self._home, x)

    def render(self) -> Any:
        return self.base.render()

    def close(self) -> None:
        self.base.close()


gymnasium.register(id="Distracted-v0", entry_point="mbrl.envs.distractors:Distracted")
