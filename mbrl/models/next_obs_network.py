"""`NextObsNetwork`: one network that predicts the next observation, as SRL's authors use it [Patel2025].

Patel2025: "Overcoming slow decision frequencies in continuous control: model-based sequence reinforcement learning for
model-free control" (SRL, ICLR 2025, arXiv 2410.08979, and the authors' code).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mbrl.arguments import Positive, Widths, check_shape
from mbrl.data import Prediction, Task, Transitions, ValueFunction
from mbrl.models.capabilities import Differentiable
from mbrl.models.fitting.fit_run import FitRun
from mbrl.models.fitting.gradient_model import GradientModel
from mbrl.models.target_normalizer import TargetNormalizer, targets_and_largest
from mbrl.networks import Normalizer, ReluStack, xavier_uniform


class NextObsNetwork(GradientModel, Differentiable):
    """A deterministic network of [obs, action] whose loss is the mean squared error over rows and dims.

    It learns neither reward nor termination: planners that step it need to know both. The authors predict the next
    observation itself, in environment units, with nothing normalised, which are the defaults.

    Args:
        hidden: widths of the hidden layers, with ReLU between.
        delta: whether it predicts the change of the observation in place of the next one; better where a step changes
            little.
        normalize: whether inputs and targets are normalised, so that no result depends on units, which large states want.
        lr: Adam's learning rate; higher fits faster and less steadily.
        **fit: arguments of `GradientModel`, all but `members`: how it is fitted, where a planner refits it. `SRL` makes one
            update at a time.

    Raises:
        ConfigError: for a number out of range.
    """

    def __init__(
        self,
        hidden: Widths = (400, 300),
        delta: bool = False,
        normalize: bool = False,
        *,
        lr: Positive = 3e-4,
        **fit: Any,
    ) -> None:
        super().__init__(lr=lr, **fit)
        self.hidden = tuple(hidden)
        self.delta = delta
        self.normalize = normalize

    def make_parameters(self, task: Task, generator: torch.Generator) -> None:
        inputs, units = task.obs_size + task.action_size, self.hidden[-1]
        self.stack = ReluStack(1, (inputs, *self.hidden), generator)
        weight = xavier_uniform((units, task.obs_size), units + task.obs_size, generator)
        self.head_weight = nn.Parameter(weight)  # units x S
        self.head_bias = nn.Parameter(torch.zeros(task.obs_size, dtype=torch.float32))  # S
        if self.normalize:
            self.normalizer = Normalizer(inputs)
            self.target_normalizer = TargetNormalizer(task.obs_size) if self.delta else Normalizer(task.obs_size)

    def own_parameters(self) -> set[str]:
        return set()

    def fit_inputs(self, run: FitRun) -> None:
        if not self.normalize:
            return
        rows = run.rows(slice(None))
        self.normalizer.fit(torch.cat((rows.obs, rows.action), -1))
        if self.delta:
            self.target_normalizer.fit(*targets_and_largest(rows, False))
        else:
            self.target_normalizer.fit(rows.next_obs)

    def loss(self, batch: Transitions, value: ValueFunction | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error in the targets' units, and `mse`, the same in environment units."""
        said = self._said(batch.obs, batch.action)  # … x S
        target = batch.next_obs - batch.obs if self.delta else batch.next_obs
        square = (said - (self.target_normalizer(target) if self.normalize else target)).square()  # … x S
        own = square.detach() * self.target_normalizer.sd.square() if self.normalize else square.detach()
        return square.mean(), {"mse": own.mean()}

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        """As the base class says, of one member.

        Raises:
            NotBuiltError: before `build`.
            ShapeError: if the sizes are not the task's, or the leading dims differ.
        """
        task, batch = self.built_task, obs.shape[:-1]
        check_shape("NextObsNetwork.predict(obs)", obs, ("B", task.obs_size), "give it observations of the model's task")
        check_shape("NextObsNetwork.predict(action)", action, (*batch, task.action_size), "give an action per observation")
        mean = self._said(obs, action)  # B x S
        if self.normalize:
            mean = self.target_normalizer.inverse(mean)
        if self.delta:
            mean = obs + mean
        mean = mean.unsqueeze(0) if member is None else mean  # E x B x S with E = 1, or B x S
        return Prediction(mean, torch.zeros_like(mean))

    def _said(self, obs: Tensor, action: Tensor) -> Tensor:
        x = torch.cat((obs, action), -1)  # … x (S+A)
        seen = self.normalizer(x) if self.normalize else x
        hidden = self.stack(seen.reshape(-1, x.shape[-1]))[0]  # rows x units
        return torch.addmm(self.head_bias, hidden, self.head_weight).view(obs.shape)
