"""Reward functions `(obs, action, next_obs) -> B` in environment units, where observations and action determine it.

They serve in model rollouts in place of a learned reward. They take any floating dtype and device, draw nothing, and are
differentiable almost everywhere. Locomotion tasks aren't here: their reward is the torso's displacement, which their
observation leaves out.

Args of each: `obs`, `next_obs` `B x S` and `action` `B x A`, B any leading dims.

Tassa2018: "DeepMind control suite" (dm_control's rewards).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mbrl.envs import terminations


def pendulum(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Pendulum-v1: −(θ² + 0.1 θ̇² + 0.001 u²) of the state *before* the step, obs (cos θ, sin θ, θ̇), torque u in N m."""
    angle = torch.atan2(obs[..., 1], obs[..., 0])  # B
    return -(angle**2 + 0.1 * obs[..., 2] ** 2 + 0.001 * action[..., 0] ** 2)


def mountain_car_continuous(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """MountainCarContinuous-v0: 100 on arrival, less 0.1 u²."""
    arrived = terminations.mountain_car_continuous(obs, action, next_obs)
    return 100.0 * arrived.to(next_obs.dtype) - 0.1 * action[..., 0] ** 2


def inverted_pendulum(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """InvertedPendulum-v5: 1 per step, 0 on the step that ends the task."""
    return 1.0 - terminations.inverted_pendulum(obs, action, next_obs).to(next_obs.dtype)


def one(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """1 per step, the last included (InvertedPendulum-v4)."""
    return torch.ones_like(next_obs[..., 0])


def reacher(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Reacher-v5: −distance of fingertip to target after the step − |u|²."""
    return -_norm(next_obs[..., 8:10]) - action.square().sum(-1)


def reacher_v4(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Reacher-v4: −distance of fingertip to target *before* the step − |u|²."""
    return -_norm(obs[..., 8:11]) - action.square().sum(-1)


def pusher(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Pusher-v5: −0.5 |object − tips| − |object − goal| − 0.1 |u|², after the step."""
    tips, target, goal = next_obs[..., 14:17], next_obs[..., 17:20], next_obs[..., 20:23]  # B x 3 each
    return -0.5 * _norm(target - tips) - _norm(target - goal) - 0.1 * action.square().sum(-1)


def dm_cartpole(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """dm_control cartpole balance and swingup [Tassa2018], obs (x, cos θ, sin θ, ẋ, θ̇), in [0, 1].

    A product of four terms: upright (1 + cos θ)/2, cart near the middle (margin 2 m), little control, slow pole (margin
    5 rad/s); a Gaussian bell is 0.1 at its margin.
    """
    upright = (1 + next_obs[..., 1]) / 2  # B
    centred = (1 + _bell(next_obs[..., 0], 2.0)) / 2  # B
    little_control = (4 + (1 - action[..., 0] ** 2).clamp_min(0)) / 5  # B
    slow = (1 + _bell(next_obs[..., 4], 5.0)) / 2  # B
    return upright * centred * little_control * slow


def dm_cartpole_sparse(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """dm_control cartpole balance_sparse and swingup_sparse: 1 where |x| ≤ 0.25 m and cos θ ≥ 0.995, else 0."""
    inside = (next_obs[..., 0].abs() <= 0.25) & (next_obs[..., 1] >= 0.995)  # B
    return inside.to(next_obs.dtype)


def dm_pendulum(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """dm_control pendulum swingup, obs (cos θ, sin θ, θ̇): 1 within 8° of upright, else 0."""
    return (next_obs[..., 0] >= math.cos(math.radians(8))).to(next_obs.dtype)


def _norm(vector: Tensor) -> Tensor:
    return vector.square().sum(-1).sqrt()


def _bell(value: Tensor, margin: float) -> Tensor:
    """exp(ln 0.1 (value / margin)²)."""
    return torch.exp(math.log(0.1) * (value / margin) ** 2)
