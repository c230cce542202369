"""Models whose every step is known, written as a user would write them against the contracts."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.data import Prediction, Task
from mbrl.models import Differentiable, DynamicsModel, Exact, HasMembers


class PendulumModel(DynamicsModel, Exact, Differentiable):
    """Pendulum-v1 in closed form; the task knows the reward and that nothing ends it."""

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        torque = self.built_task.to_env_action(action)[..., 0].clamp(-2, 2)
        angle, speed = torch.atan2(obs[..., 1], obs[..., 0]), obs[..., 2]
        speed = (speed + 0.05 * (15 * angle.sin() + 3 * torque)).clamp(-8, 8)
        angle = angle + 0.05 * speed
        mean = torch.stack([angle.cos(), angle.sin(), speed], -1)
        if member is None:
            mean = mean[None]
        return Prediction(mean, torch.zeros_like(mean))


class WalkModel(DynamicsModel, HasMembers):
    """s' = s + 0.1·a + noise on a line, with members that agree; learned reward −s'²."""

    members = 3

    def __init__(self, noise: float = 0.0, bad_above: float | None = None) -> None:
        super().__init__()
        self.noise = noise
        self.bad_above = bad_above

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        mean = obs + 0.1 * action
        if self.bad_above is not None:
            mean = torch.where(obs > self.bad_above, torch.full_like(mean, torch.nan), mean)
        if member is None:
            mean = mean.expand(self.members, *mean.shape)
        reward = -mean[..., 0].square()
        return Prediction(mean, torch.full_like(mean, self.noise**2), reward, torch.zeros_like(reward))

    @property
    def drawn_members(self) -> Tensor:
        return torch.arange(self.members, device=self.device)


def off_the_line(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """The walk ends beyond ±1."""
    return next_obs[..., 0].abs() > 1


WALK = Task("", 1, 1, (-1.0,), (1.0,), known_terminated=f"{__name__}.off_the_line")
