"""The contract of uncertainty measures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mbrl.data import Generator, ModelStep, Prediction, draw_balanced, draw_normal
from mbrl.errors import ConfigError
from mbrl.spec import Configurable


@dataclass
class Sample:
    """What was drawn from a prediction: where a rollout went, of which some measures ask how likely it was.

    Attributes:
        next_obs: `B x S`.
        reward: `B`, or None where nobody asks for it.
        member: `B` int64, the member that each row was drawn from, or None where no single one was.
    """

    next_obs: Tensor
    reward: Tensor | None = None
    member: Tensor | None = None

    @classmethod
    def of(cls, step: ModelStep) -> Sample:
        """What a rollout drew in `step`."""
        return cls(step.next_obs, step.reward, step.member)


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


class UncertaintyMeasure(Configurable, ABC):
    """Says in one number a row how uncertain a prediction is.

    Every choice that changes the number is an argument of the measure.

    Attributes:
        least_members: how many members it needs to say anything; fewer are refused.
        needs_noise: whether it says nothing of a model that predicts no noise: it would be 0 throughout, or undefined.
    """

    least_members: ClassVar[int] = 1
    needs_noise: ClassVar[bool] = False

    @abstractmethod
    def __call__(
        self, prediction: Prediction, drawn: Tensor, sample: Sample | None = None, generator: Generator | None = None
    ) -> Tensor:
        """The uncertainty, `B`, 0 or more; NaN where it is undefined, or the prediction is.

        Args:
            prediction: of all members, `E x B x …`.
            drawn: `e` int64, the members that a rollout may draw (`DynamicsModel.drawn_members`).
            sample: what a rollout drew from the prediction. A measure of it draws one of its own if there is none.
            generator: draws whatever the measure draws; most draw nothing, and need none.

        Raises:
            ConfigError: if the measure draws, and there is no generator.
        """

    def _drawing(self, generator: Generator | None) -> Generator:
        if generator is None:
            raise ConfigError(
                f"{type(self).__name__}: expected a generator, since this measure draws something that wasn't given, got "
                "none; pass generator, or the whole sample."
            )
        return generator
