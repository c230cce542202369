"""`check_measure`: refuses models of which a measure of uncertainty would say nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.arguments import check_shape
from mbrl.data import CriticsAsked, make_generator
from mbrl.errors import UnsupportedError
from mbrl.models import DynamicsModel, Exact, HasMembers
from mbrl.uncertainty import UncertaintyMeasure, draw_sample


class _AnyValue:
    """Stands for critics that aren't built yet."""

    def value(self, obs: Tensor, action: Tensor | None = None, critics: CriticsAsked = "online") -> Tensor:
        return obs.new_zeros(1, len(obs))  # J x B


def check_measure(
    who: str, argument: str, measure: UncertaintyMeasure, dynamics: DynamicsModel, *, valued: bool = True
) -> None:
    """Refuses a model, once built, of which a measure would say nothing: it would be 0 throughout, or undefined.

    It measures the prediction of two rows, so that a choice that the model can't follow (a reward that it doesn't learn, a
    scale of another length, too few elites) is refused before any training. Of a model that steps in its own way such a
    choice is refused at the first step.

    Args:
        who: the planner or part that asks, for the message.
        argument: which of its arguments the measure is.
        measure: a measure of the model's uncertainty.
        dynamics: the model.
        valued: whether there will be critics for it to ask.

    Raises:
        UnsupportedError: naming both, and why.
        ConfigError: for the measure's own choices, or a measure of one's own that can't be called as measures are.
        ShapeError: if it gives anything but one number per row.
    """
    measure.check_call()
    who, name = f"{who}({argument}={type(measure).__name__})", type(dynamics).__name__
    if isinstance(dynamics, Exact):
        raise UnsupportedError(f"{who} can't use {name}: it is exact, with nothing uncertain; leave {argument} out.")
    members = dynamics.members if isinstance(dynamics, HasMembers) else 1
    if members < (least := measure.least_members):
        way = "raise members" if isinstance(dynamics, HasMembers) else "take a model with members that can disagree"
        raise UnsupportedError(f"{who} can't use {name}: it needs {least} members and there is {members}; {way}.")
    if measure.needs_value and not valued:
        raise UnsupportedError(f"{who} needs critics that value what the members predict, and there are none; set learner.")
    if type(dynamics).step is not DynamicsModel.step:
        return
    task, generator = dynamics.built_task, make_generator(dynamics.device, "check")
    obs = torch.zeros(2, task.obs_size, device=dynamics.device, dtype=torch.float32)
    action = obs.new_zeros(2, task.action_size)
    with torch.no_grad():
        said = dynamics.predict(obs, action)
        sample = None
        if measure.needs_value:
            sample = draw_sample(said, dynamics.drawn_members, generator).valued(_AnyValue(), task, obs, action)
        found = measure(said, dynamics.drawn_members, sample, generator)
    check_shape(who, found, (2,), "reduce members and dims to one number per row")
    if measure.needs_noise and not bool((said.var > 0).any()):
        raise UnsupportedError(f"{who} can't use {name}: it predicts no noise; take a measure of disagreement.")
