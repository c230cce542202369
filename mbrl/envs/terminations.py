"""Termination functions `(obs, action, next_obs) -> B` bool in environment units, for use in model rollouts.

Each says of a step what the simulator's `terminated` flag says, from the observation that it led to. They take any
floating dtype and device, and draw nothing. Thresholds are those of the Gymnasium environments [Towers2024] at
their default arguments; a state that isn't finite has ended wherever the simulator says so.

Args of each: `obs`, `next_obs` `B x S` and `action` `B x A`, B any leading dims.

Barto1983: "Neuronlike adaptive elements that can solve difficult learning control problems" (the cart-pole's bounds).
Towers2024: "Gymnasium: a standard interface for reinforcement learning environments" (version 1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def never(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """No step ends the task (HalfCheetah, Pendulum, Reacher, Pusher, the dm_control suite)."""
    return torch.zeros(next_obs.shape[:-1], dtype=torch.bool, device=next_obs.device)  # B


def hopper(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Hopper has fallen: height ≤ 0.7, |angle| ≥ 0.2, or any other coordinate outside ±100.

    The bound of 100 is on the absolute value of each coordinate. Some released MBPO ports test `abs(x < 100)`, which lets
    large negative velocities pass.
    """
    healthy = (next_obs[..., 1:].abs() < 100).all(-1) & (next_obs[..., 0] > 0.7) & (next_obs[..., 1].abs() < 0.2)
    return ~(healthy & torch.isfinite(next_obs).all(-1))  # B


def walker2d(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Walker2d has fallen: height outside (0.8, 2) or angle outside (−1, 1)."""
    height, angle = next_obs[..., 0], next_obs[..., 1]
    return ~((height > 0.8) & (height < 2.0) & (angle > -1.0) & (angle < 1.0))  # B


def ant(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Ant has fallen or jumped: torso height outside [0.2, 1], or anything not finite.

    The height is the first coordinate, with and without the contact forces in the observation, as long as the positions
    x and y are left out (Gymnasium's default).
    """
    height = next_obs[..., 0]
    return ~((height >= 0.2) & (height <= 1.0) & torch.isfinite(next_obs).all(-1))  # B


def humanoid(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Humanoid has fallen or jumped: torso height outside (1, 2); layouts as in `ant`."""
    height = next_obs[..., 0]
    return ~((height > 1.0) & (height < 2.0))  # B


def inverted_pendulum(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """The pole leans by more than 0.2 rad, or anything isn't finite."""
    return ~((next_obs[..., 1].abs() <= 0.2) & torch.isfinite(next_obs).all(-1))  # B


def inverted_double_pendulum(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """The tip is at most 1 m high: 0.6 (cos θ₁ + cos(θ₁ + θ₂)) ≤ 1, poles of 0.6 m each.

    The observation holds sines at 1 and 2, cosines at 3 and 4; the angles come from both, so that a model's prediction
    off the unit circle still has a height.
    """
    first = torch.atan2(next_obs[..., 1], next_obs[..., 3])  # B
    second = torch.atan2(next_obs[..., 2], next_obs[..., 4])  # B
    height = 0.6 * (torch.cos(first) + torch.cos(first + second))  # B
    return ~(height > 1.0)


def cartpole(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Continuous cart-pole, obs (x, ẋ, θ, θ̇): the cart is beyond ±2.4 m or the pole beyond ±12° [Barto1983]."""
    limit = 12 * math.pi / 180
    return ~((next_obs[..., 0].abs() <= 2.4) & (next_obs[..., 2].abs() <= limit))  # B


def mountain_car_continuous(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """The car is at the goal: position ≥ 0.45 and velocity ≥ 0."""
    # the simulator compares doubles and shows float32: a car at the goal by the width of a rounding is at the goal
    goal = torch.tensor(0.45, dtype=torch.float32).item() if next_obs.dtype is torch.float64 else 0.45
    return (next_obs[..., 0] >= goal) & (next_obs[..., 1] >= 0)  # B
