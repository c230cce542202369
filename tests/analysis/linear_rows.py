"""Real episodes of the linear system, without an environment, and a model of it whose faults are known."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.data import Prediction, Task, Transitions, make_generator
from mbrl.models import Differentiable, DynamicsModel, HasMembers, LinearQuadratic
from mbrl.testing import linear_task
from mbrl.testing.linear import ACTION_MATRIX, STATE_MATRIX, reward, terminated

F, G = torch.tensor(STATE_MATRIX), torch.tensor(ACTION_MATRIX)


def linear_episodes(number: int = 20, length: int = 25, seed: int = 0, *, noise: float = 0.0, ends: bool = False):
    """Episodes of `LinearEnv` under uniform actions: a list of `T` rows each, cut short where it ends if `ends`."""
    generator = make_generator("cpu", seed, "linear episodes")
    episodes = []
    for _ in range(number):
        obs = torch.rand(1, 2, generator=generator) - 0.5
        rows = []
        for step in range(length):
            action = torch.rand(1, 1, generator=generator) * 2 - 1
            next_obs = obs @ F.T + action @ G.T + noise * torch.randn(1, 2, generator=generator)
            over = terminated(obs, action, next_obs) if ends else torch.zeros(1, dtype=torch.bool)
            last = torch.tensor([step == length - 1])
            rows.append(Transitions(obs, action, reward(obs, action, next_obs), next_obs, over, last))
            if over:
                break
            obs = next_obs
        episodes.append(Transitions.cat(rows))
    return episodes


def exact_model(task: Task | None = None) -> LinearQuadratic:
    model = LinearQuadratic(STATE_MATRIX, ACTION_MATRIX)
    model.build(task or linear_task(ends=False))
    return model


class Faulty(DynamicsModel, HasMembers, Differentiable):
    """The true system plus c |s_0| in every dim; its three members differ by k times that, or by what is left of 10."""

    members = 3

    def __init__(self, fault: float = 0.1, honest: bool = True, noise: float = 0.0, nan_above: float | None = None) -> None:
        super().__init__()
        self.fault, self.honest, self.noise, self.nan_above = fault, honest, noise, nan_above

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        size = obs[..., :1].abs()  # B x 1
        if self.nan_above is not None:
            size = torch.where(size > self.nan_above, torch.nan, size)
        center = obs @ F.to(obs).T + action @ G.to(obs).T + self.fault * size  # B x S
        apart = 0.01 * (size if self.honest else 10 - size)
        number = torch.arange(3, dtype=obs.dtype) - 1
        if member is None:
            mean = center + number.view(-1, *[1] * center.ndim) * apart  # E x B x S
        else:
            mean = center + number[member].unsqueeze(-1) * apart  # B x S
        return Prediction(mean, torch.full_like(mean, self.noise**2))

    @property
    def drawn_members(self) -> Tensor:
        return torch.arange(3)


def faulty(task: Task | None = None, **options) -> Faulty:
    model = Faulty(**options)
    model.build(task or linear_task(ends=False))
    return model
