"""A small linear task, and rows of it, for tests of models."""

from __future__ import annotations

import torch

from mbrl.data import Task, Transitions, make_generator

S, A = 3, 2
TASK = Task("", S, A, (-1.0,) * A, (1.0,) * A, known_terminated="mbrl.envs.terminations.never")


def linear_rows(n: int, seed: int = 0, noise: float = 0.01, obs_size: int = S) -> Transitions:
    """`n` rows of next = obs + 0.1 roll(obs) + 0.2 action + noise, in 10 episodes; reward is the first observation."""
    generator = make_generator("cpu", seed, "linear rows")
    obs = torch.randn(n, obs_size, generator=generator)
    action = torch.rand(n, A, generator=generator) * 2 - 1
    pull = torch.nn.functional.pad(action, (0, obs_size - A))
    next_obs = obs + 0.1 * obs.roll(1, -1) + 0.2 * pull + noise * torch.randn(n, obs_size, generator=generator)
    flags = torch.zeros(n, dtype=torch.bool)
    episode = torch.arange(n) * 10 // n
    return Transitions(obs, action, obs[:, 0].clone(), next_obs, flags, flags.clone(), extras={"episode": episode})


def reward(obs: torch.Tensor, action: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
    """The first observation, `B`."""
    return obs[..., 0]
