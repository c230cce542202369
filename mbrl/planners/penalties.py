"""Uncertainty in the reward of model rollouts, and which models a measure says something of."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from mbrl.data import ModelStep, make_generator
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.models import DynamicsModel, Exact, HasMembers
from mbrl.planners.hooks import RolloutContext, RolloutHook
from mbrl.uncertainty import Sample, UncertaintyMeasure


def check_measure(who: str, argument: str, measure: UncertaintyMeasure, dynamics: DynamicsModel) -> None:
    """Refuses a model, once built, of which a measure would say nothing: it would be 0 throughout, or undefined.

    It measures the prediction of one row, so that a choice that the model can't follow (a reward that it doesn't learn, a
    scale of another length, too few elites) is refused before any training. A model that is fitted in closed form, or
    steps in its own way, may have nothing to answer with yet; such a choice of it is refused at the first step.

    Args:
        who, argument: of the planner or part, and which of its arguments the measure is.
        measure: of the model's uncertainty.
        dynamics: the model.

    Raises:
        UnsupportedError: naming both, and why.
        ConfigError: for the measure's own choices.
    """
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
    if dynamics.fitting == "closed_form" or type(dynamics).step is not DynamicsModel.step:
        return
    task = dynamics.built_task
    obs = torch.zeros(1, task.obs_size, device=dynamics.device)
    with torch.no_grad():
        said = dynamics.predict(obs, obs.new_zeros(1, task.action_size))
        measure(said, dynamics.drawn_members, generator=make_generator(dynamics.device, "check"))
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

    Raises:
        ConfigError: for a weight below 0 or not finite.
    """

    sign = -1.0

    def __init__(self, measure: UncertaintyMeasure, weight: float) -> None:
        if not 0.0 <= weight < math.inf:
            raise ConfigError(
                f"{type(self).__name__}(weight=…): expected a finite number of 0 or more, got {weight}; UncertaintyPenalty "
                "lowers rewards by it, UncertaintyBonus raises them."
            )
        self.measure = measure
        self.weight = weight
        self.want = () if weight == 0 else ("prediction",)

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        if self.weight == 0:
            return step
        if step.prediction is None:
            raise UnsupportedError(
                f"{type(self).__name__} can't use {type(context.dynamics).__name__}: its step leaves out the prediction "
                'that it was asked for; have it honour want=("prediction",).'
            )
        drawn = context.dynamics.drawn_members
        unsure = self.measure(step.prediction, drawn, Sample.of(step), context.generator)  # B
        return replace(step, reward=torch.add(step.reward, unsure, alpha=self.sign * self.weight))

    def check(self, dynamics: DynamicsModel) -> None:
        check_measure(type(self).__name__, "measure", self.measure, dynamics)


class UncertaintyBonus(UncertaintyPenalty):
    """Adds a measure of uncertainty to the reward of each step of model rollouts: r + λ u.

    So the policy learns to go where the model has something to learn. Arguments are those of `UncertaintyPenalty`.
    """

    sign = 1.0
