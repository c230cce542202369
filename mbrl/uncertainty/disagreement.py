"""How far the members of an ensemble disagree."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mbrl.data import Prediction
from mbrl.errors import ConfigError
from mbrl.uncertainty.base import UncertaintyMeasure


class MeanDisagreement(UncertaintyMeasure):
    """The spread of the members' means: zero where they agree, whatever noise each of them predicts.

    Args:
        of: `"sd"` over members in environment units, or their `"variance"`, which weighs large spreads more.
        reduce: over observation dims: their `"mean"`, or the `"max"`, which one badly known dim is enough to raise.
        members: `"all"`, or the `"elites"` that a rollout may draw.
        reward: whether the predicted reward counts as one more dim; refused of a model that doesn't learn it.
        ddof: 0 divides by the number of members, 1 by one less, which makes it sqrt(E / (E − 1)) times larger.

    Raises:
        ConfigError: for a choice that there isn't, or from a call, if the reward is to count and isn't predicted.
    """

    least_members = 2

    def __init__(
        self,
        of: Literal["sd", "variance"] = "sd",
        reduce: Literal["mean", "max"] = "mean",
        members: Literal["all", "elites"] = "all",
        reward: bool = False,
        ddof: Literal[0, 1] = 0,
    ) -> None:
        for name, choice, choices in (
            ("of", of, ("sd", "variance")),
            ("reduce", reduce, ("mean", "max")),
            ("members", members, ("all", "elites")),
            ("ddof", ddof, (0, 1)),
        ):
            if choice not in choices:
                raise ConfigError(
                    f"MeanDisagreement({name}=…): expected one of {', '.join(map(str, choices))}, got {choice!r}; choose one."
                )
        self.of = of
        self.reduce = reduce
        self.members = members
        self.reward = reward
        self.ddof = ddof

    def __call__(self, prediction: Prediction, drawn: Tensor) -> Tensor:
        means = prediction.mean  # E x B x S
        if self.reward:
            if prediction.reward_mean is None:
                raise ConfigError(
                    "MeanDisagreement(reward=True): expected a model that learns the reward, got one that leaves it to the "
                    "task; set learn_reward: true on the model, or reward: false here."
                )
            means = torch.cat((means, prediction.reward_mean.unsqueeze(-1)), -1)  # E x B x (S+1)
        if self.members == "elites":
            means = means[drawn]
        spread = means.var(0, correction=self.ddof)  # B x D
        if self.of == "sd":
            spread = spread.sqrt()
        return spread.mean(-1) if self.reduce == "mean" else spread.amax(-1)
