"""Uncertainty in the rewards of model rollouts and of batches.

Sun2023: "Model-Bellman inconsistency for model-based offline reinforcement learning" (MOBILE, ICML 2023).
"""

from __future__ import annotations

from dataclasses import replace

import torch

from mbrl.arguments import NonNegative, Positive
from mbrl.data import ModelStep, Transitions
from mbrl.models import DynamicsModel
from mbrl.models.capabilities import require_prediction
from mbrl.planners.rollouts.check_measure import check_measure
from mbrl.planners.rollouts.hooks import BatchContext, BatchHook, RolloutContext, RolloutHook
from mbrl.planners.rollouts.penalty_weight import PenaltyWeight
from mbrl.planners.rollouts.unmeasured import measured
from mbrl.uncertainty import Sample, UncertaintyMeasure


class UncertaintyPenalty(RolloutHook):
    """Takes a measure of uncertainty off the reward of each step of model rollouts: r − λ u.

    So the policy learns to stay where the model is sure. Real steps keep their rewards. Where u isn't finite it counts as
    the largest that is, of the same step of all rollouts; the metric `rollout/unmeasured` is the share of such steps.

    Args:
        measure: u, of the prediction that the step was drawn from.
        weight: λ, reward units per unit of u, 0 or more; at 0 rewards stay as they are, bit for bit, and u isn't computed.
            Measures differ in size: divide by the mean of u over the dataset to compare weights between them.
        target: c, the mean penalty in reward units that λ is tuned towards, starting at `weight`; None leaves λ as it is. λ
            follows the mean of λ u over the rows of each step (`PenaltyWeight`), and is the metric `rollout/penalty_weight`.
        weight_lr: Adam's step size in log λ. Higher reaches the target sooner, and follows every step's mean more.

    Raises:
        ConfigError: for a number out of range, or a target without a weight to start from.
    """

    sign = -1.0
    metric = "penalty_weight"

    def __init__(
        self, measure: UncertaintyMeasure, weight: NonNegative, target: Positive | None = None, weight_lr: Positive = 0.01
    ) -> None:
        self.measure = measure
        self.weight = PenaltyWeight(type(self).__name__, weight, target, weight_lr)
        self.want = () if weight == 0 else ("prediction",)

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        if self.weight.initial == 0:
            return step
        dynamics = context.dynamics
        prediction = require_prediction(step, dynamics, type(self).__name__)
        sample = Sample.of(step, context.value, dynamics.built_task)
        unsure = self.measure(prediction, dynamics.drawn_members, sample, context.generator)  # B
        unsure, counts = measured(unsure, context.alive, context.report)
        penalty, weight = self.weight.times(unsure, counts)
        if weight is not None:
            context.report({self.metric: weight})
        return replace(step, reward=torch.add(step.reward, penalty, alpha=self.sign))

    def check(self, dynamics: DynamicsModel) -> None:
        check_measure(type(self).__name__, "measure", self.measure, dynamics)


class UncertaintyBonus(UncertaintyPenalty):
    """Adds a measure of uncertainty to the reward of each step of model rollouts: r + λ u.

    So the policy learns to go where the model has something to learn. Arguments are those of `UncertaintyPenalty`; a tuned
    λ is the metric `rollout/bonus_weight`.
    """

    sign = 1.0
    metric = "bonus_weight"


class BatchPenalty(BatchHook):
    """Takes a measure of uncertainty off the reward of a batch's model rows, with model and critics as they are: r − λ u.

    `UncertaintyPenalty` measures once, when a step is rolled out. Here each update measures anew, at the price of a
    prediction of all members for each row, and with `ValueSpread` of its critics' values too. With `ValueSpread` it is
    MOBILE's penalty [Sun2023]. Its authors take that off the critics' target r + γ…, which is the same, and then raise
    targets below 0 to 0, which this doesn't. Where u isn't finite it counts as the largest that is, of the same batch; the
    metric `batch/unmeasured` is the share of such model rows.

    Args:
        measure: u, of the present model's prediction at the rows' observations and actions.
        weight: λ, as in `UncertaintyPenalty`.
        target: c, as there; a tuned λ is the metric `batch/penalty_weight`.
        weight_lr: as there.

    Raises:
        ConfigError: for a number out of range, or a target without a weight to start from.
    """

    needs_model_rows = True

    def __init__(
        self, measure: UncertaintyMeasure, weight: NonNegative, target: Positive | None = None, weight_lr: Positive = 0.01
    ) -> None:
        self.measure = measure
        self.weight = PenaltyWeight("BatchPenalty", weight, target, weight_lr)

    @torch.no_grad()
    def __call__(self, batch: Transitions, context: BatchContext) -> Transitions:
        if self.weight.initial == 0:
            return batch
        rows, dynamics = batch.select(context.model_rows), context.dynamics  # M of B
        assert dynamics is not None  # it needs one
        if len(rows) == 0:  # in an epoch of real rows only
            return batch
        sample = Sample(rows.next_obs, rows.reward).valued(context.learner, dynamics.built_task, rows.obs, rows.action)
        said = dynamics.predict_rows(rows)
        unsure = self.measure(said, dynamics.drawn_members, sample, context.generator)  # M
        unsure, counts = measured(unsure, None, context.report)
        penalty, weight = self.weight.times(unsure, counts)
        if weight is not None:
            context.report({"penalty_weight": weight})
        reward = batch.reward.clone()
        reward[context.model_rows] -= penalty
        return replace(batch, reward=reward)

    def check(self, dynamics: DynamicsModel) -> None:
        check_measure("BatchPenalty", "measure", self.measure, dynamics)
