"""A model that is fitted by gradient."""

import torch
from torch import Tensor, nn

from mbrl.data import Prediction, Task, Transitions, ValueFunction
from mbrl.models import Differentiable, GradientModel
from mbrl.models.fitting.fit_run import FitRun
from mbrl.networks import Normalizer


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
        size = task.obs_size + task.action_size
        self.net = nn.Sequential(nn.Linear(size, self.hidden), nn.SiLU(), nn.Linear(self.hidden, task.obs_size))
        self.inputs, self.changes = Normalizer(size), Normalizer(task.obs_size)  # so that units decide nothing

    def fit_inputs(self, run: FitRun) -> None:
        rows = run.rows(slice(None))
        self.inputs.fit(torch.cat([rows.obs, rows.action], -1))
        self.changes.fit(rows.next_obs - rows.obs, torch.maximum(rows.obs.abs(), rows.next_obs.abs()).amax(0))

    def mean(self, obs: Tensor, action: Tensor) -> Tensor:
        return obs + self.changes.inverse(self.net(self.inputs(torch.cat([obs, action], -1))))  # B x S

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        mean = self.mean(obs, action)
        if member is None:
            mean = mean[None]  # E x B x S, of one member
        return Prediction(mean, torch.zeros_like(mean))

    def loss(self, batch: Transitions, value: ValueFunction | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        error = (self.mean(batch.obs, batch.action) - batch.next_obs) / self.changes.sd  # E x B x S
        return error.square().mean(), {}
