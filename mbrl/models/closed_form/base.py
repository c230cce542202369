"""`ClosedForm`: what exact models share, the inner steps of an action repeat and the shape of their prediction."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection
from typing import cast

import torch
from torch import Tensor

from mbrl.data import ModelState, ModelStep, Prediction
from mbrl.models.base import DynamicsModel
from mbrl.models.capabilities import Differentiable, Exact
from mbrl.models.obs_state import ObsState

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
        mean, reward = self._inner_steps(obs, action)
        if member is None:
            mean, reward = mean[None], reward[None]  # 1 x B x S, 1 x B
        return Prediction(mean, torch.zeros_like(mean), reward, torch.zeros_like(reward), torch.full_like(reward, NEVER))

    def step(self, state: ModelState, action: Tensor, want: Collection[str] = ()) -> ModelStep:
        """As of any model, but nothing is drawn, since there is nothing to draw."""
        if not isinstance(state, ObsState):
            return super().step(state, action, want)  # which refuses it
        task, obs = self.built_task, state.obs
        if task.known_reward is None:
            next_obs, reward = self._inner_steps(obs, action, self.project)
        else:  # known at no action repeat alone, so there is one inner step
            next_obs = self.project(self.advance(obs, task.to_env_action(action)))
            reward = cast("Tensor", task.reward(obs, action, next_obs))
        terminated = task.terminated(obs, action, next_obs)
        if terminated is None:
            terminated = torch.zeros_like(reward, dtype=torch.bool)
        reward, terminated = self.leaving(obs, next_obs, reward, terminated)
        prediction = self.predict(obs, action) if "prediction" in want else None
        halt = self.halted(obs, action, next_obs)
        return ModelStep(obs, action, next_obs, reward, terminated, state.moved(next_obs), prediction, halt)

    def _inner_steps(
        self, obs: Tensor, action: Tensor, land: Callable[[Tensor], Tensor] = lambda led_to: led_to
    ) -> tuple[Tensor, Tensor]:
        """Next observations `B x S` and the summed reward `B` of all inner steps; `land` puts the last one in its place."""
        task = self.built_task
        command = task.to_env_action(action)  # B x A
        reward: Tensor | None = None
        for left in reversed(range(task.action_repeat)):
            led_to = self.advance(obs, command)  # B x S
            led_to = led_to if left else land(led_to)
            earned = self.earned(obs, command, led_to)  # B
            obs, reward = led_to, earned if reward is None else reward + earned
        assert reward is not None  # there is at least one inner step
        return obs, reward
