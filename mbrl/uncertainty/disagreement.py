"""Spreads of an ensemble's members in each dim, with and without the noise that they predict.

    symbol   shape   meaning
    μ_i, σ_i n x D   the members' means and standard deviations
    V        D       population (ddof 0) or unbiased (ddof 1) variance over members

    MeanDisagreement   V[μ_i]                   what the members don't agree on: 0 where they do
    TotalSpread        mean_i σ_i² + V[μ_i]     the variance of their mixture: at least the noise
    SampleSpread       V[μ_i + σ_i ε_i]         of one noisy draw of each member: both parts, and random itself

Each is a variance per dim. A measure takes its square root if asked `of="sd"`, and then reduces over dims.

Lakshminarayanan2017: "Simple and scalable predictive uncertainty estimation using deep ensembles" (the total variance).
Sun2023: "OfflineRL-Kit" (`ensemble_std`).
Wang2024: "COPlanner: plan to roll out conservatively but to explore optimistically for model-based RL" (noisy samples, as
its authors' code has it).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mbrl.arguments import Positive
from mbrl.data import Generator, Prediction, draw_normal
from mbrl.uncertainty.base import Sample
from mbrl.uncertainty.outputs import (
    CountsReward,
    Members,
    Moment,
    OutputMeasure,
    Reduce,
    over_members,
    reduced,
    reduced_sd,
    root,
)


class MemberSpread(OutputMeasure):
    """Base of the spreads over members in each dim.

    Args:
        of: the `"sd"` in each dim, or the `"variance"`, which weighs large spreads more.
        reduce: over dims: their `"mean"`, their `"max"`, which one badly known dim is enough to raise, their `"norm"` (of
            sds: the square root of the summed variances), or their root mean square, `"rms"`.
        members: `"all"`, or the `"elites"` that a rollout may draw.
        reward: whether the predicted reward counts as one more dim; `"auto"`: where the model learns it.
        ddof: 0 divides by the number of members, 1 by one less, which makes the sd sqrt(n / (n − 1)) times larger.
        scale: divides each output, `D` numbers in environment units; see `OutputMeasure`.

    Raises:
        ConfigError: for a choice that there isn't, or from a call, if the reward is to count and isn't predicted.
    """

    least_members = 2

    def __init__(
        self,
        of: Moment = "sd",
        reduce: Reduce = "mean",
        members: Members = "all",
        reward: CountsReward = False,
        ddof: Literal[0, 1] = 0,
        scale: Sequence[Positive] | None = None,
    ) -> None:
        super().__init__(members, reward, scale)
        self.of = of
        self.reduce: Reduce = reduce
        self.ddof = ddof

    @abstractmethod
    def spread(self, prediction: Prediction, drawn: Tensor, generator: Generator | None) -> Tensor:
        """The variance over members in each dim, `B x D`; arguments as in a call."""

    def __call__(
        self, prediction: Prediction, drawn: Tensor, sample: Sample | None = None, generator: Generator | None = None
    ) -> Tensor:
        spread = self.spread(prediction, drawn, generator)  # B x D
        return reduced_sd(spread, self.reduce) if self.of == "sd" else reduced(spread, self.reduce)


class MeanDisagreement(MemberSpread):
    """The spread of the members' means: zero where they agree, whatever noise each of them predicts.

    With `reduce="rms"` it is OfflineRL-Kit's `ensemble_std` [Sun2023]. Arguments are those of `MemberSpread`.
    """

    def spread(self, prediction: Prediction, drawn: Tensor, generator: Generator | None) -> Tensor:
        return over_members(self.means(prediction, drawn), self.ddof)


class TotalSpread(MemberSpread):
    """The spread of the members' mixture: mean of their variances plus variance of their means [Lakshminarayanan2017].

    Its floor is the noise that the members predict, so it is high in noisy regions however well they are known. With
    `of="sd", reduce="mean"` it is V-D4RL's `mixstd_mean`. Arguments are those of `MemberSpread`; `ddof` is of the means.
    """

    def spread(self, prediction: Prediction, drawn: Tensor, generator: Generator | None) -> Tensor:
        return self.variances(prediction, drawn).mean(0) + over_members(self.means(prediction, drawn), self.ddof)


class SampleSpread(MemberSpread):
    """The spread of one noisy draw of each member, as COPlanner's code measures disagreement [Wang2024].

    It varies from call to call, and isn't 0 where members agree: seven members that agree on a noise of σ give 0.888 σ on
    average (0.959 σ with `ddof=1`). The authors count the reward, and all members. It needs a generator. Arguments are
    those of `MemberSpread`.
    """

    def spread(self, prediction: Prediction, drawn: Tensor, generator: Generator | None) -> Tensor:
        source = self._drawing(generator)
        means, variances = self.means(prediction, drawn), self.variances(prediction, drawn)
        members, *rows, size = means.shape
        noise = draw_normal(source, means[0, ..., 0].numel(), members * size, means)  # B x nD
        noise = noise.view(*rows, members, size).movedim(-2, 0)  # n x B x D
        return over_members(torch.addcmul(means, root(variances), noise), self.ddof)
