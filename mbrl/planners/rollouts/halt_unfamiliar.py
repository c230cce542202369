"""`HaltUnfamiliar`: the pessimistic MDP of MOReL, which ends rollouts where the model's members disagree too much.

Kidambi2020: "MOReL: model-based offline reinforcement learning" (arXiv 2005.05951).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mbrl.arguments import NonNegative, Positive
from mbrl.data import ModelStep, Transitions, make_generator
from mbrl.errors import ConfigError, DivergedError, MbrlWarning, NotBuiltError
from mbrl.models import DynamicsModel
from mbrl.models.capabilities import require_prediction
from mbrl.planners.rollouts.check_measure import check_measure
from mbrl.planners.rollouts.hooks import RolloutContext, RolloutHook
from mbrl.planners.rollouts.unmeasured import measured
from mbrl.policies import Learner
from mbrl.uncertainty import MaxPairwiseDistance, Sample, UncertaintyMeasure, draw_sample

_CHUNK = 4096  # rows of the dataset predicted at a time
_LIFETIME = 100  # steps, 1 / (1 − γ) at the discount γ = 0.99


class HaltUnfamiliar(RolloutHook):
    """Ends a rollout, as if the task did, at the first step where a measure exceeds all that it is in the dataset.

    It is MOReL's pessimistic MDP [Kidambi2020]. The threshold is the largest measure at any one row's observation and
    action, divided by `pessimism`; it is taken anew after each fit, in the measure's own units. A step above it, or whose
    measure isn't finite, is stored as terminal with reward −κ: its value is −κ, and nothing is bootstrapped from it. (The
    authors' code cuts the path there and bootstraps, with κ = 0.) Rows of the dataset whose measure isn't finite set no
    threshold.

    Metrics: `rollout/halted`, the share of steps that it ended, `rollout/unmeasured`, that of steps whose measure isn't
    finite, and `rollout/halt_threshold`.

    Args:
        measure: of the prediction that the step was drawn from, one that asks no critics (default: `MaxPairwiseDistance()`,
            MOReL's).
        pessimism: divides the largest measure. More ends rollouts sooner; below 1 they may leave the data.
        cost: κ, reward units, 0 or more; more keeps the policy further away. None takes it from the rewards of the dataset,
            lowest l and highest h: −κ = min(l − (h − l), L l) with L = 100 steps, or 1 / (1 − γ) where that is more, γ being
            the learner's discount. No return from rewards of that range is lower, so that a halt never pays, also where all
            rewards are negative; and it scales as they do.

    Raises:
        ConfigError: for a number out of range, or a measure that asks critics, of which there are none at a fit.
        UnsupportedError: from `check`, for a model of which the measure says nothing, such as one with too few members.
        NotBuiltError: from a call before a fit showed it any rows.
        DivergedError: from a fit after which the measure is finite on no row of the dataset.
    """

    want = ("prediction",)

    def __init__(
        self, measure: UncertaintyMeasure | None = None, pessimism: Positive = 1.0, cost: NonNegative | None = None
    ) -> None:
        self.measure = MaxPairwiseDistance() if measure is None else measure
        self.pessimism = pessimism
        self.cost = cost
        if self.measure.needs_value:
            raise ConfigError(
                f"HaltUnfamiliar(measure=…): expected a measure of the prediction alone, got {type(self.measure).__name__}, "
                "which asks critics, and their answers move after the fit; take another, such as MaxPairwiseDistance."
            )
        self._data: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        if not self._data:
            raise NotBuiltError(
                "HaltUnfamiliar: expected a fit before rollouts, which shows it the dataset, got none; have the planner "
                "call fitted_parts after each fit."
            )
        if self._data["largest"].device != step.reward.device:  # a checkpoint's, once
            self._data = {name: value.to(step.reward.device) for name, value in self._data.items()}
        dynamics, threshold = context.dynamics, self._data["largest"] / self.pessimism
        prediction = require_prediction(step, dynamics, "HaltUnfamiliar")
        unsure = self.measure(prediction, dynamics.drawn_members, Sample.of(step), context.generator)  # B
        counts = step.finite if context.alive is None else step.finite & context.alive
        measured(unsure, counts, context.report)
        unfamiliar = ~((unsure <= threshold) & unsure.isfinite())  # B
        share = (unfamiliar & counts).sum() / counts.sum().clamp(min=1)
        context.report({"halted": share, "halt_threshold": threshold})
        reward = torch.where(unfamiliar, self._worst(context).to(step.reward.dtype), step.reward)
        return replace(step, reward=reward, terminated=step.terminated | unfamiliar)

    def _worst(self, context: RolloutContext) -> Tensor:
        """−κ, a scalar."""
        worst, lowest = self._data["worst"], self._data.get("lowest")  # the second is missing in older checkpoints
        if self.cost is not None:
            return torch.full_like(worst, -self.cost)
        discount = context.value.discount if isinstance(context.value, Learner) else None
        if discount is None or lowest is None:
            return worst
        return torch.minimum(worst, 1 / (1 - discount) * lowest)

    @torch.no_grad()
    def fitted(self, model: DynamicsModel, rows: Transitions) -> None:
        generator = make_generator(rows.obs.device, "halt_unfamiliar")  # for measures that draw or look at draws
        largest = []
        for first in range(0, len(rows), _CHUNK):
            said = model.predict_rows(rows.select(slice(first, first + _CHUNK)))
            sample = draw_sample(said, model.drawn_members, generator)
            largest.append(self.measure(said, model.drawn_members, sample, generator))
        unsure = torch.cat(largest)  # N
        known = unsure.isfinite()
        lacking = len(rows) - int(known.sum())
        name = type(self.measure).__name__
        if lacking == len(rows):
            raise DivergedError(
                f"HaltUnfamiliar: expected {name} to be finite on rows of the dataset, got none of {lacking}; the model has "
                "diverged, or has nothing that this measures: lower its learning rate, or take another measure."
            )
        if lacking:
            warnings.warn(
                f"HaltUnfamiliar: expected {name} to be finite on all rows of the dataset, got {lacking} of {len(rows)} "
                "where it isn't, which set no threshold; look at the data for outliers, or take another measure.",
                MbrlWarning,
                stacklevel=2,
            )
        lowest, highest = rows.reward.aminmax()
        worst = torch.minimum(lowest - (highest - lowest), _LIFETIME * lowest)
        self._data = {"largest": unsure[known].amax(), "worst": worst, "lowest": lowest}

    def check(self, dynamics: DynamicsModel) -> None:
        check_measure("HaltUnfamiliar", "measure", self.measure, dynamics, valued=False)

    def reset(self) -> None:
        self._data = {}

    def state_dict(self) -> dict[str, Any]:
        return dict(self._data)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        names = ("largest", "worst", *(["lowest"] if "lowest" in state else []))
        self._data = {name: state[name] for name in names} if state else {}
