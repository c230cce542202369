"""Real rows of the linear system, and models of it that are wrong in known ways."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mbrl.analysis import split_episodes
from mbrl.data import Prediction, Transitions, make_generator
from mbrl.testing import LinearModel, linear_task
from mbrl.testing.linear import ACTION_MATRIX, STATE_MATRIX

TASK = linear_task(ends=False)


def linear_episodes(
    noise: float, episodes: int = 20, steps: int = 30, seed: int = 0, dtype: torch.dtype = torch.float64
) -> list[Transitions]:
    """Episodes of equal length under random actions."""
    generator = make_generator("cpu", "rows", seed)
    f, g = torch.tensor(STATE_MATRIX, dtype=dtype), torch.tensor(ACTION_MATRIX, dtype=dtype)
    obs = torch.rand(episodes, 2, generator=generator, dtype=dtype) - 0.5
    parts: list[Transitions] = []
    for _ in range(steps):
        action = torch.rand(episodes, 1, generator=generator, dtype=dtype) * 2 - 1
        led_to = obs @ f.T + action @ g.T + noise * torch.randn(episodes, 2, generator=generator, dtype=dtype)
        flags = torch.zeros(episodes, dtype=torch.bool)
        extras = {"episode": torch.arange(episodes)}
        parts.append(Transitions(obs, action, torch.zeros(episodes, dtype=dtype), led_to, flags, flags, extras=extras))
        obs = led_to
    rows = Transitions.cat(parts)
    found = split_episodes(rows.select(rows.extras["episode"].argsort(stable=True)))
    assert [len(episode) for episode in found] == [steps] * episodes
    return found


def shortened(episodes: list[Transitions], steps: int) -> list[Transitions]:
    return [episode.select(slice(0, steps)) for episode in episodes]


def built(model: LinearModel, **task: Any) -> LinearModel:
    model.build(replace(TASK, **task))
    return model


class Broken(LinearModel):
    """Not a number in dim 1 where dim 0 is above a limit."""

    def __init__(self, above: float = 0.4, **rest: Any) -> None:
        super().__init__(**rest)
        self.above = above

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        said = super().predict(obs, action, member)
        mean = said.mean.clone()
        mean[..., 1] = torch.where(obs[..., 0] > self.above, torch.nan, mean[..., 1])
        return replace(said, mean=mean)


def generator(*parts: object) -> torch.Generator:
    return make_generator("cpu", "analysis", *parts)
