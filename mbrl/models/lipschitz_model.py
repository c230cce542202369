"""`LipschitzModel`: a model of changes whose network a constraint may keep within a Lipschitz budget."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mbrl.data import Generator, ModelState, Task, Transitions, make_generator
from mbrl.models.capabilities import HasLipschitzBound
from mbrl.models.fitting.fit_run import FitRun
from mbrl.models.fitting.gradient_model import GradientModel
from mbrl.models.lipschitz import LipschitzBound, lipschitz_bound, take_budget
from mbrl.networks import LipschitzConstraint, Normalizer, StackedMLP


class LipschitzModel(GradientModel, HasLipschitzBound):
    """Keeps the constraint of its network up to date: roughly at each update, exactly whenever the model is used.

    Attributes:
        constraint: what keeps the network within a budget, or None.
        network: from normalised [obs, action] to the normalised change of the observation and whatever else.
        normalizer: of its inputs.
        outputs: `D`, its outputs that are means, the first ones.
    """

    constraint: LipschitzConstraint | None
    network: StackedMLP
    normalizer: Normalizer
    outputs: int
    _exact = True  # whether the constraint knows the weights as they are

    def build(self, task: Task, seed: int = 0) -> None:
        super().build(task, seed)
        self._exact = True
        if self.constraint is not None and not self._load_state_dict_post_hooks:
            self.register_load_state_dict_post_hook(_after_load)

    def take_budget(self, inputs: Tensor, targets: Tensor) -> None:
        """Gives the constraint its budget at the beginning of a fit, after `fit_inputs` took its statistics.

        Args:
            inputs: `N x in`, normalised.
            targets: `N x D`, normalised, those that move.
        """
        if self.constraint is not None and self.network.constrained is not None:
            generator = make_generator(inputs.device, self.seed, "dynamics", "lipschitz budget")
            take_budget(self._with("constraint"), self.constraint, self.network.constrained, inputs, targets, generator)

    def fit_report(self, run: FitRun) -> dict[str, float | Tensor]:
        report = super().fit_report(run)
        if self.constraint is not None and self.constraint.has_budget and self.network.constrained is not None:
            report["budget"] = self.network.constrained.budget.clone()
        return report

    def after_update(self) -> None:
        self.network.follow()
        self._exact = False

    def after_restore(self) -> None:
        self.network.refresh()
        self._exact = True

    def start(self, rows: Transitions, generator: Generator, *, follow: bool = False) -> ModelState:
        if not self._exact:
            with torch.no_grad():
                self.after_restore()
        return super().start(rows, generator, follow=follow)

    def lipschitz_bound(self, unit: Tensor | None = None) -> LipschitzBound:
        size = self.built_task.obs_size
        scales = self.normalizer.sd[:size], self.target_scale()[:size]
        return lipschitz_bound(self.network.lipschitz_bound(self.outputs), *scales, unit)


@torch.no_grad()
def _after_load(model: nn.Module, incompatible: Any) -> None:
    """Has the constraint know loaded weights exactly, but in the middle of a fit, which goes on from what it knew."""
    assert isinstance(model, LipschitzModel)
    if model._pending is None:
        model.after_restore()
    else:
        model._exact = False
