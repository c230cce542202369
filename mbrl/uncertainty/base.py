"""The contract of uncertainty measures."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from mbrl.data import Generator, ModelStep, Prediction, Task, ValueFunction, draw_balanced, draw_normal
from mbrl.errors import ConfigError
from mbrl.spec import Part


@dataclass
class Sample:
    """Facts that a measure may ask for beyond a prediction: what was drawn from it, and what next observations are worth.

    Attributes:
        next_obs: `B x S`, the next observations that a rollout drew.
        reward: `B`, or None where nobody asks for it.
        member: `B` int64, the member that each row was drawn from, or None where no single one was.
        value: critics that value next observations, or None where there are none.
        ends: function from next observations of the rows, `… x B x S`, to whether the task ends there, `… x B` bool, or to
            None where the model learns that; None where nobody asks.
    """

    next_obs: Tensor
    reward: Tensor | None = None
    member: Tensor | None = None
    value: ValueFunction | None = None
    ends: Callable[[Tensor], Tensor | None] | None = None

    @classmethod
    def of(cls, step: ModelStep, value: ValueFunction | None = None, task: Task | None = None) -> Sample:
        """The sample that a rollout drew in `step`, valued if critics and a task are given."""
        drawn = cls(step.next_obs, step.reward, step.member)
        return drawn if value is None or task is None else drawn.valued(value, task, step.obs, step.action)

    def valued(self, value: ValueFunction, task: Task, obs: Tensor, action: Tensor) -> Sample:
        """The same sample, with what its next observations are worth.

        Args:
            value: critics.
            task: the task, which may know when it ends.
            obs: `B x S`, the observations that the prediction starts from.
            action: `B x A` in [−1, 1], the actions that it is of.
        """

        def ends(next_obs: Tensor) -> Tensor | None:
            lead = next_obs.shape[:-1]
            return task.terminated(obs.expand(*lead, -1), action.expand(*lead, -1), next_obs)

        return replace(self, value=value, ends=ends)


def draw_sample(prediction: Prediction, drawn: Tensor, generator: Generator) -> Sample:
    """Draws what a step of a rollout would: one of `drawn` for each row, balanced, and a point of its Gaussian.

    Args:
        prediction: of all members, `E x B x …`.
        drawn: `e` int64, the members to draw from.
        generator: draws members and noise.
    """
    rows, size = prediction.mean.shape[1:]
    member = draw_balanced(generator, rows, drawn)  # B
    one = prediction.of_member(member)
    noise = draw_normal(generator, rows, size + 1, one.mean)  # B x (S+1)
    reward = one.reward_mean
    if reward is not None and one.reward_var is not None:
        reward = torch.addcmul(reward, one.reward_var.sqrt(), noise[:, size])
    return Sample(torch.addcmul(one.mean, one.var.sqrt(), noise[:, :size]), reward, member)


class UncertaintyMeasure(Part, ABC):
    """Says in one number per row how uncertain a prediction is.

    Every choice that changes the number is an argument of the measure.

    Attributes:
        least_members: how many members it needs to say anything; fewer are refused.
        needs_noise: whether it is 0 throughout, or undefined, for a model that predicts no noise.
        needs_value: whether it asks critics (`Sample.value`); it is refused where there are none.
    """

    least_members: ClassVar[int] = 1
    needs_noise: ClassVar[bool] = False
    needs_value: ClassVar[bool] = False

    @abstractmethod
    def __call__(
        self, prediction: Prediction, drawn: Tensor, sample: Sample | None = None, generator: Generator | None = None
    ) -> Tensor:
        """The uncertainty, `B`, 0 or more; NaN where it is undefined, or the prediction is.

        Args:
            prediction: of all members, `E x B x …`.
            drawn: `e` int64, the members that a rollout may draw (`DynamicsModel.drawn_members`).
            sample: what a rollout drew from the prediction, and the critics. A measure of what was drawn draws for itself if
                there is none.
            generator: draws whatever the measure draws; most draw nothing, and need none.

        Raises:
            ConfigError: if the measure draws, and there is no generator, or asks critics, and there are none.
        """

    def check_call(self) -> None:
        """Refuses a user's measure whose `__call__` doesn't take the four arguments that it is given.

        Raises:
            ConfigError: naming what it takes.
        """
        signature = inspect.signature(self.__call__)
        try:
            signature.bind(None, None, None, None)
            signature.bind(None, None, sample=None, generator=None)
        except TypeError:
            name = type(self).__name__
            raise ConfigError(
                f"{name}: expected __call__(self, prediction, drawn, sample=None, generator=None), got "
                f"__call__(self, {', '.join(signature.parameters)}); take all four, also those that it doesn't use."
            ) from None

    def _drawing(self, generator: Generator | None) -> Generator:
        if generator is None:
            raise ConfigError(f"{type(self).__name__}: expected a generator to draw with, got none; pass it, or a sample.")
        return generator
