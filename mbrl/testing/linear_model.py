"""`LinearModel`: a linear-Gaussian dynamics model with exact answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mbrl.arguments import Count, NonNegative, check_shape
from mbrl.data import Prediction, Task
from mbrl.errors import ConfigError
from mbrl.models import Differentiable, DynamicsModel, HasMembers
from mbrl.models.closed_form.linear_quadratic import system_matrices
from mbrl.testing.linear import ACTION_COST, ACTION_MATRIX, LIMIT, STATE_MATRIX


class LinearModel(DynamicsModel, HasMembers, Differentiable):
    """Predicts s' = F s + G a + σ ε; its members differ by a known offset.

    It is fixed: `refit` changes nothing. With the matrices left out it is the system of `linear_task`.

    Args:
        state_matrix: F, `S x S` numbers.
        action_matrix: G, `S x A` numbers.
        noise: σ, environment units; the variance of a prediction is σ².
        members: `E`.
        spread: member e is off by `spread * (e − (E − 1) / 2)` in every dimension, so that the members' means have the
            population standard deviation `spread * sqrt((E² − 1) / 12)`.
        learn_reward: whether to predict −(|s'|² + 0.1 |a|²) of the mean as a learned reward, for tasks without one.
        learn_terminated: whether to predict a logit above 0 where the mean has left ±2.

    Raises:
        ConfigError: if the sizes don't fit each other, or a number is out of range.
    """

    state: Tensor
    action: Tensor

    def __init__(
        self,
        state_matrix: Sequence[Sequence[float]] = STATE_MATRIX,
        action_matrix: Sequence[Sequence[float]] = ACTION_MATRIX,
        noise: NonNegative = 0.0,
        members: Count = 1,
        spread: float = 0.0,
        learn_reward: bool = False,
        learn_terminated: bool = False,
    ) -> None:
        super().__init__()
        self.matrices = system_matrices("LinearModel", state_matrix, action_matrix)
        self.members = members
        self.noise = noise
        self.spread = spread
        self.learn_reward = learn_reward
        self.learn_terminated = learn_terminated

    def make_parameters(self, task: Task, generator: torch.Generator) -> None:
        state, action = (matrix.float() for matrix in self.matrices)  # S x S, S x A
        sizes = (task.obs_size, task.action_size)
        check_shape("LinearModel(action_matrix)", action, sizes, "give it the task's matrices", ConfigError)
        self.register_buffer("state", state)
        self.register_buffer("action", action)

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        mean = obs @ self.state.to(obs.dtype).T + action @ self.action.to(obs.dtype).T  # B x S
        number = torch.arange(self.members, device=obs.device, dtype=obs.dtype)
        offset = self.spread * (number - (self.members - 1) / 2)  # E
        if member is None:
            mean = mean + offset.view(-1, *[1] * mean.ndim)  # E x B x S
        else:
            mean = mean + offset[member].unsqueeze(-1)  # B x S
        prediction = Prediction(mean, torch.full_like(mean, self.noise**2))
        if self.learn_reward:
            prediction.reward_mean = -(mean.square().sum(-1) + ACTION_COST * action.square().sum(-1))
            prediction.reward_var = torch.zeros_like(prediction.reward_mean)
        if self.learn_terminated:
            prediction.terminated_logit = mean.abs().amax(-1) - LIMIT
        return prediction

    @property
    def drawn_members(self) -> Tensor:
        return torch.arange(self.members, device=self.device)


def linear_model_of(task: Task, members: int, *, spread: float, noise: float, learn_reward: bool = False) -> LinearModel:
    """A built `LinearModel` of a task's sizes, of which a suite asks predictions.

    Of the sizes of `linear_task` it is that task's system; of others each dimension is drawn to 0 and pushed by an action.
    It predicts reward and termination where the task knows none.

    Args:
        task: the task that it is built for.
        members: `E`.
        spread: as in `LinearModel`.
        noise: σ, environment units.
        learn_reward: whether to predict the reward of a task that knows it too.
    """
    state: Sequence[Sequence[float]] = STATE_MATRIX
    action: Sequence[Sequence[float]] = ACTION_MATRIX
    if (task.obs_size, task.action_size) != (len(STATE_MATRIX), len(ACTION_MATRIX[0])):
        state = tuple(tuple(0.9 * (i == j) for j in range(task.obs_size)) for i in range(task.obs_size))
        action = tuple(
            tuple(0.2 * (i % task.action_size == j) for j in range(task.action_size)) for i in range(task.obs_size)
        )
    model = LinearModel(
        state,
        action,
        noise=noise,
        members=members,
        spread=spread,
        learn_reward=learn_reward or task.known_reward is None,
        learn_terminated=task.known_terminated is None,
    )
    model.build(task)
    return model
