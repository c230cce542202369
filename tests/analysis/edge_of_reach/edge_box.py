"""A box in the plane from which rollouts of ten steps can't get further than is known: s' = s + a, a in [−1, 1]²."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.data import Task, Transitions
from mbrl.models.closed_form.base import ClosedForm
from mbrl.planners import OraclePatch

START, LENGTH, GAMMA = 2.0, 10, 0.99  # half a side of the box of starts, steps of a rollout, γ
EDGE = START + LENGTH - 1  # no rollout steps from beyond
TASK = Task("", 2, 2, (-1.0, -1.0), (1.0, 1.0), known_terminated="mbrl.envs.terminations.never")


def norm(obs: Tensor) -> Tensor:
    """The largest coordinate, `B`."""
    return obs.abs().amax(-1)


def inward(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """−0.1 |s'|."""
    return -0.1 * torch.linalg.vector_norm(next_obs, dim=-1)


def ring(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Most where the largest coordinate is 6."""
    return 0.1 * torch.minimum(norm(next_obs), 12 - norm(next_obs))


def inward_value(obs: Tensor, discount: float = GAMMA) -> Tensor:
    """V* of `inward`: both coordinates go home at full speed."""
    steps = [(obs.abs() - t).clamp_min(0) for t in range(1, 60)]
    return sum(-0.1 * discount ** (t - 1) * torch.linalg.vector_norm(left, dim=-1) for t, left in enumerate(steps, 1))  # type: ignore[return-value]


def ring_value(largest: Tensor, discount: float = GAMMA) -> Tensor:
    """V* of `ring` by the largest coordinate: to 6 at full speed, and stay."""
    total, away = torch.zeros_like(largest), (6 - largest).abs()
    settled = 40
    for t in range(1, settled):
        at = largest + torch.sign(6 - largest) * away.clamp_max(t)
        total = total + discount ** (t - 1) * 0.1 * torch.minimum(at, 12 - at)
    return total + discount ** (settled - 1) * 0.6 / (1 - discount)


def starts(number: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    return (torch.rand(number, 2, generator=generator, dtype=dtype) * 2 - 1) * START


def recorded(number: int = 200) -> Transitions:
    """Single steps from the box of starts."""
    generator = torch.Generator().manual_seed(0)
    obs = starts(number, generator)
    action = torch.rand(number, 2, generator=generator) * 2 - 1
    flags = torch.zeros(number, dtype=torch.bool)
    led_to = obs + action
    return Transitions(obs, action, inward(obs, action, led_to), led_to, flags, flags)


class EdgeBox(ClosedForm):
    """The exact model, paying `inward`."""

    def advance(self, obs: Tensor, action: Tensor) -> Tensor:
        return obs + action

    def earned(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        return inward(obs, action, next_obs)


class Patched(OraclePatch):
    """Knows V* of `inward`, and where the edge is."""

    def oracle(self, obs: Tensor) -> Tensor:
        return inward_value(obs)

    def at_edge(self, rows: Transitions) -> Tensor:
        return norm(rows.next_obs) > EDGE
