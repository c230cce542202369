"""A model that is fitted by gradient."""

import torch
from torch import Tensor, nn

from mbrl.data import Prediction, Task, Transitions, ValueFunction
from mbrl.models import Differentiable, GradientModel


class Residual(GradientModel, Differentiable):
    """s' = s + net([s, a]), one deterministic network.

    Args:
        hidden: units of its layer.
        lr: step size of Adam.
        max_epochs: epochs per fit at most, None for no cap. `GradientModel`'s other settings keep their defaults.
    """

    def __init__(self, hidden: int = 64, lr: float = 1e-3, max_epochs: int | None = 1000) -> None:
        super().__init__(lr=lr, max_epochs=max_epochs)
        self.hidden = hidden

    def make_parameters(self, task: Task, generator: torch.Generator) -> None:
        inputs = nn.Linear(task.obs_size + task.action_size, self.hidden)
        self.net = nn.Sequential(inputs, nn.SiLU(), nn.Linear(self.hidden, task.obs_size))

    def mean(self, obs: Tensor, action: Tensor) -> Tensor:
        return obs + self.net(torch.cat([obs, action], -1))  # B x S

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        mean = self.mean(obs, action)
        if member is None:
            mean = mean[None]  # E x B x S, of one member
        return Prediction(mean, torch.zeros_like(mean))

    def loss(self, batch: Transitions, value: ValueFunction | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        error = self.mean(batch.obs, batch.action) - batch.next_obs  # E x B x S
        return error.square().mean(), {}
