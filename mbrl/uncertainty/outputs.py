"""`OutputMeasure`: which of the members' outputs count, in which units, and how they become one number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mbrl.arguments import Positive, check_shape
from mbrl.data import Prediction
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.uncertainty.base import UncertaintyMeasure

Members = Literal["all", "elites"]
Reduce = Literal["norm", "rms", "mean", "max"]
Moment = Literal["sd", "variance"]
CountsReward = bool | Literal["auto"]


class OutputMeasure(UncertaintyMeasure):
    """Base of measures of the `n` members' Gaussians over `D` dims: those of the observation, and the reward if it counts.

    Args:
        members: `"all"`, or the `"elites"` that a rollout may draw.
        reward: whether the predicted reward counts as one more dim; True is refused of a model that doesn't learn it, and
            `"auto"` counts it where the model does.
        scale: divides each output, `D` positive numbers in environment units (a dataset's standard deviations, say; the
            reward's last); None leaves environment units, in which dims of large numbers outweigh the others.

    Raises:
        ConfigError: for a choice that there isn't, or from a call, if the reward is to count and isn't predicted.
        ShapeError: from a call, if `scale` has another length than `D`.
        UnsupportedError: from a call, if fewer than `least_members` members count.
    """

    def __init__(
        self, members: Members = "all", reward: CountsReward = False, scale: Sequence[Positive] | None = None
    ) -> None:
        self.members = members
        self.reward: CountsReward = reward
        self.scale = None if scale is None else tuple(float(number) for number in scale)
        self._divisor: Tensor | None = None  # `scale` as the last call's tensors need it

    def means(self, prediction: Prediction, drawn: Tensor) -> Tensor:
        """Means of the members and dims that count, `n x B x D`."""
        means = self._outputs(prediction.mean, prediction.reward_mean, drawn)
        return means if self.scale is None else means / self._scale(means)

    def variances(self, prediction: Prediction, drawn: Tensor) -> Tensor:
        """Their aleatoric variances, `n x B x D`."""
        variances = self._outputs(prediction.var, prediction.reward_var, drawn)
        return variances if self.scale is None else variances / self._scale(variances).square()

    def counts_reward(self, reward: Tensor | None) -> bool:
        """True if the reward is one of the dims, given the predicted one, or None of a model that leaves it to the task."""
        return reward is not None if self.reward == "auto" else bool(self.reward)

    def _outputs(self, obs: Tensor, reward: Tensor | None, drawn: Tensor) -> Tensor:
        if self.counts_reward(reward):
            if reward is None:
                raise ConfigError(
                    f"{type(self).__name__}(reward=True): expected a model that learns the reward, got one that leaves it "
                    "to the task; set learn_reward: true on the model, or reward: false here."
                )
            obs = torch.cat((obs, reward.unsqueeze(-1)), -1)  # E x B x (S+1)
        if self.members == "elites":
            obs = obs[drawn]
        if obs.shape[0] < self.least_members:
            which = "elites" if self.members == "elites" else "members"
            raise UnsupportedError(
                f"{type(self).__name__}: expected {self.least_members} {which} or more, got {obs.shape[0]}; raise {which}."
            )
        return obs

    def _scale(self, like: Tensor) -> Tensor:
        assert self.scale is not None  # asked by the callers
        last = {True: " and one for the reward", "auto": ", and one for the reward if the model learns it"}
        advice = f"give one number per dim of the observation{last.get(self.reward, '')}"
        check_shape(f"{type(self).__name__}(scale=…)", self.scale, like.shape[-1:], advice)
        if self._divisor is None or self._divisor.dtype != like.dtype or self._divisor.device != like.device:
            self._divisor = torch.tensor(self.scale, dtype=like.dtype, device=like.device)
        return self._divisor


def reduced(values: Tensor, how: Reduce) -> Tensor:
    """`… x D` numbers of 0 or more as one: their Euclidean norm, root mean square, mean or maximum.

    The first two order rows alike and differ by sqrt(D), which makes a penalty's weight comparable between tasks.
    """
    if how == "mean":
        return values.mean(-1)
    if how == "max":
        return values.amax(-1)
    norm = torch.linalg.vector_norm(values, dim=-1)
    return norm if how == "norm" else norm / math.sqrt(values.shape[-1])


def reduced_sd(variances: Tensor, how: Reduce) -> Tensor:
    """`reduced` of the square roots of `… x D` variances, with fewer roots."""
    if how == "mean":
        return root(variances).mean(-1)
    if how == "max":
        return root(variances.amax(-1))
    return root(variances.sum(-1) if how == "norm" else variances.mean(-1))


def root(variance: Tensor) -> Tensor:
    """The square root, with gradient 0 at 0: a plan is differentiated through members that agree, too."""
    nothing = variance == 0
    return variance.masked_fill(nothing, 1.0).sqrt().masked_fill(nothing, 0.0)


def over_members(values: Tensor, ddof: int) -> Tensor:
    """The variance over the first dim: mean first, for `Tensor.var` takes tens of times as long over that dim on a CPU."""
    return (values - values.mean(0)).square_().sum(0) / (values.shape[0] - ddof)
