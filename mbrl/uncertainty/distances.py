"""The worst of the members: the most noise that one predicts, and how far their means lie apart.

    symbol   shape   meaning
    μ_i, σ_i n x D   the members' means and standard deviations
    |·|              norm over dims, or another reduction

    MaxAleatoric          max_i |σ_i|
    MaxPairwiseDistance   max_{i,j} |μ_i − μ_j|
    DistanceToMean        max_i |μ_i − μ̄|, or the mean over i

Maxima grow with the number of members, so a penalty's weight has to be set anew with it; the mean over i stays.

Yu2020: "MOPO: model-based offline policy optimization".
Kidambi2020: "MOReL: model-based offline reinforcement learning".
Rafailov2021: "Offline reinforcement learning from images with latent space models" (LOMPO).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mbrl.arguments import Positive
from mbrl.data import Generator, Prediction
from mbrl.uncertainty.base import Sample
from mbrl.uncertainty.outputs import CountsReward, Members, Moment, OutputMeasure, Reduce, reduced, reduced_sd


class MaxAleatoric(OutputMeasure):
    """The most noise that any member predicts: MOPO's penalty [Yu2020]. It is 0 for a deterministic model.

    Its authors' code takes the norm of the sds over all members, the reward included (`reward="auto"`, as in
    `configs/offline/mopo.yaml`). The paper's Frobenius norm of a covariance is `of="variance"`.

    Args:
        of: the `"sd"` in each dim, or the `"variance"`.
        reduce: over dims: `"norm"`, `"rms"`, `"mean"` or `"max"`.
        members: `"all"`, or the `"elites"` that a rollout may draw.
        reward: whether the predicted reward counts as one more dim; `"auto"`: where the model learns it.
        scale: divides each output, `D` numbers in environment units; see `OutputMeasure`.

    Raises:
        ConfigError: for a choice that there isn't, or from a call, if the reward is to count and isn't predicted.
    """

    needs_noise = True

    def __init__(
        self,
        of: Moment = "sd",
        reduce: Reduce = "norm",
        members: Members = "all",
        reward: CountsReward = False,
        scale: Sequence[Positive] | None = None,
    ) -> None:
        super().__init__(members, reward, scale)
        self.of = of
        self.reduce: Reduce = reduce

    def __call__(
        self, prediction: Prediction, drawn: Tensor, sample: Sample | None = None, generator: Generator | None = None
    ) -> Tensor:
        noise = self.variances(prediction, drawn)  # n x B x D
        size = reduced_sd(noise, self.reduce) if self.of == "sd" else reduced(noise, self.reduce)  # n x B
        return size.amax(0)


class MaxPairwiseDistance(OutputMeasure):
    """The largest distance between two members' means: MOReL's discrepancy [Kidambi2020], next observations only.

    Args:
        reduce: over the dims of a difference: `"norm"`, `"rms"`, `"mean"` or `"max"` of its absolute numbers.
        members: `"all"`, or the `"elites"` that a rollout may draw.
        reward: whether the predicted reward counts as one more dim; `"auto"`: where the model learns it.
        scale: divides each output, `D` numbers in environment units; see `OutputMeasure`.

    Raises:
        ConfigError: for a choice that there isn't, or from a call, if the reward is to count and isn't predicted.
    """

    least_members = 2

    def __init__(
        self,
        reduce: Reduce = "norm",
        members: Members = "all",
        reward: CountsReward = False,
        scale: Sequence[Positive] | None = None,
    ) -> None:
        super().__init__(members, reward, scale)
        self.reduce: Reduce = reduce

    def __call__(
        self, prediction: Prediction, drawn: Tensor, sample: Sample | None = None, generator: Generator | None = None
    ) -> Tensor:
        means = self.means(prediction, drawn)  # n x B x D
        # each pair once; all at a time would hold n² x B x D
        farthest = [
            reduced((means[i + 1 :] - means[i]).abs(), self.reduce).amax(0) for i in range(means.shape[0] - 1)
        ]  # n−1 of B
        return torch.stack(farthest).amax(0)


class DistanceToMean(OutputMeasure):
    """Distances of the members' means from their mean.

    `over="max"` is the other penalty in MOPO's code [Yu2020] (one toolkit calls it a pairwise difference); `over="mean"`
    is a variant of LOMPO's [Rafailov2021], V-D4RL's `meandis`. MOPO leaves the reward out.

    Args:
        over: the `"max"` or the `"mean"` over members.
        reduce: over the dims of a difference: `"norm"`, `"rms"`, `"mean"` or `"max"` of its absolute numbers.
        members: `"all"`, or the `"elites"` that a rollout may draw.
        reward: whether the predicted reward counts as one more dim; `"auto"`: where the model learns it.
        scale: divides each output, `D` numbers in environment units; see `OutputMeasure`.

    Raises:
        ConfigError: for a choice that there isn't, or from a call, if the reward is to count and isn't predicted.
    """

    least_members = 2

    def __init__(
        self,
        over: Literal["max", "mean"] = "max",
        reduce: Reduce = "norm",
        members: Members = "all",
        reward: CountsReward = False,
        scale: Sequence[Positive] | None = None,
    ) -> None:
        super().__init__(members, reward, scale)
        self.over = over
        self.reduce: Reduce = reduce

    def __call__(
        self, prediction: Prediction, drawn: Tensor, sample: Sample | None = None, generator: Generator | None = None
    ) -> Tensor:
        means = self.means(prediction, drawn)  # n x B x D
        distance = reduced((means - means.mean(0)).abs(), self.reduce)  # n x B
        return distance.amax(0) if self.over == "max" else distance.mean(0)
