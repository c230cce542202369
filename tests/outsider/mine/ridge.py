"""A model that is fitted in closed form."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from mbrl.data import Prediction, Task, Transitions, ValueFunction
from mbrl.models import Differentiable, DynamicsModel


class Ridge(DynamicsModel, Differentiable):
    """s' = s + W [1, s, a] + noise, with W by ridge regression.

    Args:
        decay: of the squared weights; higher trusts few rows less.
    """

    fitting: ClassVar[Literal["gradient", "closed_form", "fixed"]] = "closed_form"
    weight: Tensor
    var: Tensor

    def __init__(self, decay: float = 1e-3) -> None:
        super().__init__()
        self.decay = decay

    def make_parameters(self, task: Task, generator: torch.Generator) -> None:
        self.register_buffer("weight", torch.zeros(1 + task.obs_size + task.action_size, task.obs_size))
        self.register_buffer("var", torch.ones(task.obs_size))

    def refit(
        self, rows: Transitions, generator: torch.Generator, value: ValueFunction | None = None
    ) -> dict[str, float | Tensor]:
        inputs = self.inputs(rows.obs, rows.action).double()  # N x (1+S+A)
        change = (rows.next_obs - rows.obs).double()  # N x S
        gram = inputs.T @ inputs
        gram.diagonal().add_(self.decay)
        weight = torch.cholesky_solve(inputs.T @ change, torch.linalg.cholesky(gram))  # (1+S+A) x S
        self.weight.copy_(weight)
        self.var.copy_((change - inputs @ weight).square().mean(0))
        return {"loss": self.var.mean()}

    def inputs(self, obs: Tensor, action: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(obs[..., :1]), obs, action], -1)

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        mean = obs + self.inputs(obs, action) @ self.weight  # B x S
        if member is None:
            mean = mean[None]  # E x B x S, of one member
        return Prediction(mean, self.var.expand_as(mean))
