"""`ClosedForm`: what exact models share, the inner steps of an action repeat and the shape of their prediction."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from mbrl.data import Prediction
from mbrl.models.base import Differentiable, DynamicsModel, Exact

# the logit of a step that never ends the task; finite (a probability of 1e-13), so that losses of it stay finite
NEVER = -30.0


class ClosedForm(DynamicsModel, Exact, Differentiable):
    """An environment's own equations as a dynamics model: one member, no variance, nothing to fit.

    It computes in the dtype and on the device of its inputs. It makes the inner steps of the task's action repeat itself
    and predicts the sum of their rewards, so its reward is exact where a task can't know one. A reward or termination that
    the task does know takes its place, as with any model.
    """

    @abstractmethod
    def advance(self, obs: Tensor, action: Tensor) -> Tensor:
        """The next observation, `B x S`, one simulator step after `obs` (`B x S`), action `B x A` in environment units."""

    @abstractmethod
    def earned(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """The reward of one simulator step, `B` (arguments as of a task's known reward, environment units)."""

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        task = self.built_task
        command = task.to_env_action(action)  # B x A
        mean = self.advance(obs, command)  # B x S
        reward = self.earned(obs, command, mean)  # B
        for _ in range(1, task.action_repeat):
            before, mean = mean, self.advance(mean, command)
            reward = reward + self.earned(before, command, mean)
        if member is None:
            mean, reward = mean[None], reward[None]  # 1 x B x S, 1 x B
        return Prediction(mean, torch.zeros_like(mean), reward, torch.zeros_like(reward), torch.full_like(reward, NEVER))
