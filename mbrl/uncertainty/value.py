"""`ValueSpread`: the members' disagreement about what their next observations are worth, MOBILE's penalty.

    symbol   meaning
    p_i      the Gaussian of member i
    V_j      the critics' values of an observation

    ValueSpread   sd over i of E_{s'~p_i}[min_j V_j(s')]

Members may disagree where it doesn't matter, or agree to a hair where a hair matters: this measures it in what it costs. It
is in the value's units, and it is only as good as the critics.

Sun2023: "Model-Bellman inconsistency for model-based offline reinforcement learning" (MOBILE, ICML 2023).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from mbrl.arguments import Count
from mbrl.data import Generator, Prediction, ValueFunction, draw_normal
from mbrl.errors import ConfigError
from mbrl.uncertainty.base import Sample
from mbrl.uncertainty.outputs import Members, OutputMeasure, over_members, root


class ValueSpread(OutputMeasure):
    """The sd over members of the value that each of them expects of the next observation [Sun2023].

    The defaults are those of the authors' code. It asks target critics at a' ~ π(s'); here a `ValueFunction` decides by
    itself which critics answer, and under which action (`SAC.value`: the present critics, under the policy's deterministic
    action).

    Args:
        samples: next observations drawn of each member, over which its value is averaged. Each costs as many values as there
            are members; with fewer, the noise that members predict counts as disagreement. Without noise 1 is enough.
        critics: the `"min"` or the `"mean"` over critics.
        ddof: 0 divides by the number of members, 1 by one less, which makes the sd sqrt(n / (n − 1)) times larger.
        members: the `"elites"` that a rollout may draw, or `"all"`.
        mask_terminations: whether an observation at which the task ends is worth 0, whatever the critics say of it; the end
            is the task's known one, or each member's own.
        common_noise: whether all members meet the same draws of a standard normal, each scaled by its own sd, so that what
            they don't disagree about cancels. With ever more samples both come to the same; a few common ones are closer to
            it, and 2 rank rows as 10 of the default do (docs/offline.md).

    Raises:
        ConfigError: for a number out of range or a choice that there isn't; from a call, if there are no critics or no
            generator, or if terminations are to be masked and nobody knows them.
        UnsupportedError: from a call, if fewer than two members count.
    """

    least_members = 2
    needs_value = True
    former = MappingProxyType({"common_noise": False})

    def __init__(
        self,
        samples: Count = 10,
        critics: Literal["min", "mean"] = "min",
        ddof: Literal[0, 1] = 1,
        members: Members = "elites",
        mask_terminations: bool = False,
        common_noise: bool = False,
    ) -> None:
        super().__init__(members)
        self.samples = samples
        self.critics = critics
        self.ddof = ddof
        self.mask_terminations = mask_terminations
        self.common_noise = common_noise

    def __call__(
        self, prediction: Prediction, drawn: Tensor, sample: Sample | None = None, generator: Generator | None = None
    ) -> Tensor:
        if sample is None or sample.value is None:
            raise ConfigError(
                "ValueSpread: expected critics that value next observations, got none; give a learner, or sample.value."
            )
        source = self._drawing(generator)
        means, deviations = self.means(prediction, drawn), root(self.variances(prediction, drawn))  # n x B x S
        members, *rows, size = means.shape
        total = torch.zeros_like(means[..., 0])  # n x B
        for _ in range(self.samples):  # all at once would be `samples` times the memory of the critics' layers
            noise = draw_normal(source, means[0, ..., 0].numel(), (1 if self.common_noise else members) * size, means)
            noise = noise.view(*rows, -1, size).movedim(-2, 0)  # n x B x S, or 1 x B x S
            total = total + self._worth(torch.addcmul(means, deviations, noise), prediction, drawn, sample, sample.value)
        mean = total / self.samples
        return root(over_members(mean - mean[0], self.ddof))  # members that agree give exactly 0 so, however large the value

    def _worth(
        self, next_obs: Tensor, prediction: Prediction, drawn: Tensor, sample: Sample, value: ValueFunction
    ) -> Tensor:
        """Values of one next observation of each member: `n x B` of `n x B x S`."""
        values = value.value(next_obs.flatten(0, -2))  # J x nB
        worth = (values.amin(0) if self.critics == "min" else values.mean(0)).view(next_obs.shape[:-1])
        if not self.mask_terminations:
            return worth
        ended = None if sample.ends is None else sample.ends(next_obs)  # n x B
        if ended is None:
            logit = prediction.end_logit(next_obs, drawn if self.members == "elites" else None)
            if logit is None:
                raise ConfigError(
                    "ValueSpread(mask_terminations=True): expected a task or a model that knows when the task ends, got "
                    "neither; name the function in data.init_args.terminated, let the model learn it, or leave the mask out."
                )
            ended = logit > 0
        return torch.where(ended, 0.0, worth)
