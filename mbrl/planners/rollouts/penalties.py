"""Uncertainty in the rewards of model rollouts and of batches, and which models a measure says something of.

Sun2023: "Model-Bellman inconsistency for model-based offline reinforcement learning" (MOBILE, ICML 2023).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mbrl.arguments import NonNegative, Positive
from mbrl.data import ModelStep, Transitions, make_generator
from mbrl.errors import ConfigError, ShapeError, UnsupportedError
from mbrl.models import DynamicsModel, Exact, HasMembers
from mbrl.planners.rollouts.hooks import BatchContext, BatchHook, RolloutContext, RolloutHook
from mbrl.planners.rollouts.penalty_weight import PenaltyWeight
from mbrl.uncertainty import Sample, UncertaintyMeasure, draw_sample


class _AnyValue:
    """Stands for critics that aren't built yet."""

    def value(self, obs: Tensor) -> Tensor:
        return obs.new_zeros(1, len(obs))  # J x B


def check_measure(
    who: str, argument: str, measure: UncertaintyMeasure, dynamics: DynamicsModel, *, valued: bool = True
) -> None:
    """Refuses a model, once built, of which a measure would say nothing: it would be 0 throughout, or undefined.

    It measures the prediction of two rows, so that a choice that the model can't follow (a reward that it doesn't learn, a
    scale of another length, too few elites) is refused before any training. A model that is fitted in closed form, or
    steps in its own way, may have nothing to answer with yet; such a choice of it is refused at the first step.

    Args:
        who, argument: of the planner or part, and which of its arguments the measure is.
        measure: of the model's uncertainty.
        dynamics: the model.
        valued: whether there will be critics for it to ask.

    Raises:
        UnsupportedError: naming both, and why.
        ConfigError: for the measure's own choices, or a measure of one's own that can't be called as measures are.
        ShapeError: if it gives anything but one number a row.
    """
    measure.check_call()
    who, name = f"{who}({argument}={type(measure).__name__})", type(dynamics).__name__
    if isinstance(dynamics, Exact):
        raise UnsupportedError(
            f"{who} can't use {name}: it is exact, so that it has no members that could disagree, and no uncertainty by "
            f"definition; leave {argument} out."
        )
    members = dynamics.members if isinstance(dynamics, HasMembers) else 1
    if members < measure.least_members:
        way = "raise members" if isinstance(dynamics, HasMembers) else "take a model with members that can disagree"
        raise UnsupportedError(
            f"{who} can't use {name}: it needs {measure.least_members} members and there is {members}; {way}."
        )
    if measure.needs_value and not valued:
        raise UnsupportedError(
            f"{who} needs critics that value what the members predict, and there are none; set learner, or take another "
            "measure."
        )
    if dynamics.fitting == "closed_form" or type(dynamics).step is not DynamicsModel.step:
        return
    task, generator = dynamics.built_task, make_generator(dynamics.device, "check")
    obs = torch.zeros(2, task.obs_size, device=dynamics.device)
    action = obs.new_zeros(2, task.action_size)
    with torch.no_grad():
        said = dynamics.predict(obs, action)
        sample = None
        if measure.needs_value:
            sample = draw_sample(said, dynamics.drawn_members, generator).valued(_AnyValue(), task, obs, action)
        found = measure(said, dynamics.drawn_members, sample, generator)
    if found.shape != (2,):
        raise ShapeError(
            f"{who}: expected one number a row from the measure, got shape {tuple(found.shape)} for 2 rows; reduce over "
            "members and dims."
        )
    if measure.needs_noise and not bool((said.var > 0).any()):
        raise UnsupportedError(
            f"{who} can't use {name}: it predicts no noise, without which this measure is zero or undefined; take a "
            "measure of disagreement, or a probabilistic model."
        )


class UncertaintyPenalty(RolloutHook):
    """Takes a measure of uncertainty off the reward of each step of model rollouts: r − λ u.

    So the policy learns to stay where the model is sure. Real steps keep their rewards.

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
        if step.prediction is None:
            raise UnsupportedError(
                f"{type(self).__name__} can't use {type(dynamics).__name__}: its step leaves out the prediction that it was "
                'asked for; have it honour want=("prediction",).'
            )
        sample = Sample.of(step, context.value, dynamics.built_task)
        unsure = self.measure(step.prediction, dynamics.drawn_members, sample, context.generator)  # B
        penalty, weight = self.weight.times(unsure, context.alive)
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
    MOBILE's penalty [Sun2023]_. Its authors take that off the critics' target r + γ…, which is the same, and then raise
    targets below 0 to 0, which this doesn't.

    Args:
        measure: u, of the present model's prediction at the rows' observations and actions.
        weight, target, weight_lr: as in `UncertaintyPenalty`; a tuned λ is the metric `batch/penalty_weight`.

    Raises:
        ConfigError: for a number out of range, or a target without a weight to start from; from a call, for a batch without
            rows of the model.
    """

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
        if len(rows) == 0:
            raise ConfigError(
                "BatchPenalty: expected batches with rows of the model, whose rewards it lowers, got real rows only; lower "
                "real_ratio, or leave the hook out."
            )
        sample = Sample(rows.next_obs, rows.reward).valued(context.learner, dynamics.built_task, rows.obs, rows.action)
        said = dynamics.predict(rows.obs, rows.action)
        unsure = self.measure(said, dynamics.drawn_members, sample, context.generator)  # M
        penalty, weight = self.weight.times(unsure)
        if weight is not None:
            context.report({"penalty_weight": weight})
        reward = batch.reward.clone()
        reward[context.model_rows] -= penalty
        return replace(batch, reward=reward)

    def check(self, dynamics: DynamicsModel) -> None:
        check_measure("BatchPenalty", "measure", self.measure, dynamics)
