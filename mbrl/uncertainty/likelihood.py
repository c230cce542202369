"""Differences of the members' Gaussians p_i as distributions: unlike distances, in units of the noise that they predict.

    LeaveOneOutKL      KL(p_i ‖ p_−i), p_−i the Gaussian with the mean and variance of the other members' mixture
    LikelihoodSpread   the spread over i of log p_i(x) at a sampled next observation x

Both stay the same in other units, so they take no scale. A deterministic model has neither: NaN.

Pan2020: "Trust the model when it is confident: masked model-based actor-critic" (M2AC: one against the rest; that the
rest are one Gaussian with their mixture's moments is our reading).
Rafailov2021: "Offline reinforcement learning from images with latent space models" (LOMPO, the likelihood's spread).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from mbrl.data import Generator, Prediction, draw_balanced
from mbrl.errors import ConfigError
from mbrl.uncertainty.base import Sample, draw_sample
from mbrl.uncertainty.outputs import CountsReward, Members, Moment, OutputMeasure, over_members, root


class LeaveOneOutKL(OutputMeasure):
    """KL divergence from one member's Gaussian to that of all others, as in M2AC [Pan2020].

    Args:
        of: the member `"drawn"` for the row, by the rollout or here; or the `"mean"` over all that count, which costs
            as many times more and doesn't depend on what was drawn.
        members: `"all"`, or the `"elites"` that a rollout may draw: which members the others are.
        reward: whether the predicted reward counts as one more dim; `"auto"`: where the model learns it.

    Raises:
        ConfigError: for a choice that there isn't, or from a call, if the reward is to count and isn't predicted.
    """

    least_members = 2
    needs_noise = True

    def __init__(
        self, of: Literal["drawn", "mean"] = "drawn", members: Members = "all", reward: CountsReward = False
    ) -> None:
        super().__init__(members, reward)
        self.of = of

    def __call__(
        self, prediction: Prediction, drawn: Tensor, sample: Sample | None = None, generator: Generator | None = None
    ) -> Tensor:
        means, variances = self.means(prediction, drawn), _defined(self.variances(prediction, drawn))  # n x B x D
        place = torch.arange(means.shape[0], device=means.device)  # n
        if self.of == "mean":
            one_by_one = [
                _divergence(means[i], variances[i], means, variances, place != i) for i in range(means.shape[0])
            ]  # n of B
            return torch.stack(one_by_one).mean(0)
        if sample is not None and sample.member is not None:
            member = sample.member  # B
        else:
            member = draw_balanced(self._drawing(generator), means.shape[1], drawn)
        number = drawn if self.members == "elites" else place  # n, the members' own numbers
        rest = number.view(-1, *[1] * member.ndim) != member  # n x B
        own = (~rest).unsqueeze(-1)  # n x B x 1
        mean, variance = (torch.where(own, values, 0.0).sum(0) for values in (means, variances))
        return _divergence(mean, _defined(variance), means, variances, rest)  # undefined if it isn't one of them


def _divergence(mean: Tensor, variance: Tensor, means: Tensor, variances: Tensor, rest: Tensor) -> Tensor:
    """KL of a Gaussian `B x D` to the moments of the mixture of those of `n x B x D` in `rest` (`n` or `n x B`), `B`."""
    rest = rest.view(*rest.shape, *[1] * (means.ndim - rest.ndim))
    count = rest.sum(0)  # 1 … or B x 1

    def averaged(values: Tensor) -> Tensor:
        return torch.where(rest, values, 0.0).sum(0) / count

    center = averaged(means)  # B x D
    spread = averaged(variances + (means - center).square())  # B x D
    terms = torch.log(spread / variance) + (variance + (mean - center).square()) / spread - 1
    return 0.5 * terms.sum(-1).clamp_min(0.0)  # rounding takes members that agree below 0


class LikelihoodSpread(OutputMeasure):
    """The spread over members of the log-likelihood of the sampled next observation [Rafailov2021].

    The sample is the rollout's, or one drawn here as a rollout would: from one member, balanced.

    Args:
        of: the `"variance"`, or the `"sd"`, which the authors' code computes (as does V-D4RL's `log_prob_ens`).
        members: `"all"`, or the `"elites"` that a rollout may draw.
        reward: whether the reward counts as one more dim, or `"auto"`: where the model learns it. It must be the sampled
            one: put a hook that changes rewards after this one.
        ddof: 0 divides by the number of members, 1 by one less.

    Raises:
        ConfigError: for a choice that there isn't, or from a call, if the reward is to count and isn't given.
    """

    least_members = 2
    needs_noise = True

    def __init__(
        self, of: Moment = "variance", members: Members = "all", reward: CountsReward = False, ddof: Literal[0, 1] = 0
    ) -> None:
        super().__init__(members, reward)
        self.of = of
        self.ddof = ddof

    def __call__(
        self, prediction: Prediction, drawn: Tensor, sample: Sample | None = None, generator: Generator | None = None
    ) -> Tensor:
        means, variances = self.means(prediction, drawn), _defined(self.variances(prediction, drawn))  # n x B x D
        if sample is None:
            sample = draw_sample(prediction, drawn, self._drawing(generator))
        x = sample.next_obs  # B x S
        if self.counts_reward(prediction.reward_mean):
            if sample.reward is None:
                raise ConfigError("LikelihoodSpread(reward=True): expected a sample with its reward, got none; pass it.")
            x = torch.cat((x, sample.reward.unsqueeze(-1)), -1)  # B x D
        log_likelihood = -0.5 * ((x - means).square() / variances + torch.log(variances) + math.log(2 * math.pi)).sum(
            -1
        )  # n x B
        spread = over_members(log_likelihood, self.ddof)  # B
        return root(spread) if self.of == "sd" else spread


def _defined(variances: Tensor) -> Tensor:
    """NaN where there is no noise: a density that doesn't exist must not come out as a number."""
    return variances.masked_fill(variances == 0, torch.nan)
