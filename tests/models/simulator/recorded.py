"""What a real environment did, in float64, with the simulator's state before each step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mbrl.data import Task, Transitions
from mbrl.envs import SimulatorState, make_env
from mbrl.envs.vector_experience import in_env_units


@dataclass
class Recorded:
    """`T` steps under random actions, over several episodes."""

    rows: Transitions  # obs, next_obs and reward are float64
    episode: Tensor  # T int64

    def windows(self, length: int, most: int) -> Tensor:
        """First rows of up to `most` windows of `length` steps inside an episode."""
        first = torch.arange(len(self.rows) - length + 1)
        return first[self.episode[first] == self.episode[first + length - 1]][:most]


def record(task: Task, steps: int, seed: int = 0, scale: float = 1.0) -> Recorded:
    env = make_env(task)
    reader = SimulatorState(env)
    draws = np.random.default_rng(seed)
    low, high = np.array(task.action_low), np.array(task.action_high)
    names = ("obs", "action", "reward", "next_obs", "terminated", "truncated", "sim_state")
    found: dict[str, list] = {name: [] for name in names}
    episodes: list[int] = []
    obs, _ = env.reset(seed=seed)
    episode = 0
    for step in range(steps):
        action = draws.uniform(-scale, scale, task.action_size).astype(np.float32)
        state = reader.read()
        led_to, reward, terminated, truncated, _ = env.step(in_env_units(action, low, high, env.action_space.dtype))
        for name, value in zip(names, (obs, action, reward, led_to, terminated, truncated, state), strict=True):
            found[name].append(np.asarray(value))
        episodes.append(episode)
        obs = led_to
        if terminated or truncated:
            obs, _ = env.reset(seed=seed + step + 1)
            episode += 1
    env.close()
    tensors = {name: torch.from_numpy(np.stack(values)) for name, values in found.items()}
    for name in ("obs", "next_obs", "reward"):
        tensors[name] = tensors[name].double()
    sim_state = tensors.pop("sim_state")
    return Recorded(Transitions(**tensors, extras={"sim_state": sim_state}), torch.tensor(episodes))
