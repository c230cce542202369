"""`TrustedLength`: rollouts as long as the model has just been right, measured on real steps that it hadn't seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mbrl.arguments import Count, Positive, check_whole
from mbrl.data import ReplayBuffer
from mbrl.models import DynamicsModel
from mbrl.spec import Part

_FEWEST = 16  # windows: the median of fewer says little


class TrustedLength(Part):
    """Lets rollouts grow while the model predicts real episodes, and shortens them when it doesn't.

    A schedule in epochs knows nothing of the model. Here the steps collected since the last fit, which the model has not
    seen, are predicted before the next one: from up to `windows` of them single rollouts follow the real actions, each with
    a member's noise, as imagined ones do. A length of h is trusted if, after each of its steps, the median over rollouts of
    the root mean square error over the observation's dims is at most `error` of their standard deviations in the newest
    rows, and below that of predicting no change. Dims that don't vary there don't count.

    The first fit has no model before it, and episodes that end early leave fewer than 16 windows of a length: what can't be
    measured isn't trusted beyond what can. The length is in `rollout/trusted_steps`.

    Args:
        shortest: steps of a rollout at least, also of a model that isn't trusted for one step.
        longest: steps at most. More costs more rollouts' time where the model is good.
        error: standard deviations of the observation by which a typical rollout may be off. More makes longer rollouts of
            a worse model.
        windows: rollouts that measure it, 16 or more. More narrows what chance does, and costs in proportion.

    Raises:
        ConfigError: if `longest` is below `shortest`, or a number is out of range.
    """

    def __init__(self, shortest: Count = 1, longest: Count = 15, error: Positive = 0.2, windows: Count = 256) -> None:
        check_whole("TrustedLength(longest=…)", longest, shortest)
        check_whole("TrustedLength(windows=…)", windows, _FEWEST)
        self.shortest = shortest
        self.longest = longest
        self.error = error
        self.windows = windows
        self.trusted = 0

    @property
    def length(self) -> int:
        """Steps of a rollout until the next fit."""
        return min(max(self.trusted, self.shortest), self.longest)

    @torch.no_grad()
    def measure(self, model: DynamicsModel, real: ReplayBuffer, new: int, generator: torch.Generator) -> None:
        """Measures what is trusted on the newest rows, before the model is fitted to them.

        Args:
            model: fitted to none of them.
            real: the real rows, with episode numbers.
            new: how many of the newest the model hasn't seen.
            generator: draws windows, members and noise.
        """
        new = min(new, len(real))
        windows, place = real.sample_cut_windows(self.windows, self.longest, generator, newest=new)  # n x H
        obs = real.gather(torch.arange(len(real) - new, len(real), device=real.device)).obs
        scale = obs.double().std(0, correction=0)  # S
        scale = torch.where(scale > 4 * torch.finfo(obs.dtype).eps * obs.abs().amax(0), scale, 0.0)
        first = windows.map(lambda column: column[:, 0])
        state, sure, still = model.start(first, generator), [], []
        for step in range(self.longest):
            found = model.step(state, windows.action[:, step])
            state, there = found.state, windows.next_obs[:, step]
            left = place[:, step] == step  # n, of episodes that go on
            sure.append(_median(_off(found.next_obs, there, scale), left))
            still.append(_median(_off(first.obs, there, scale), left))
        ours, none = torch.stack(sure), torch.stack(still)  # H
        good = (ours <= self.error) & (ours < none)  # NaN, of too few windows or no numbers, is neither
        self.trusted = int(good.long().cumprod(0).sum())

    def reset(self) -> None:
        """Trusts nothing."""
        self.trusted = 0

    def state_dict(self) -> dict[str, Any]:
        """What was measured last."""
        return {"trusted": self.trusted}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from `state_dict`."""
        self.trusted = int(state["trusted"])


def _off(predicted: Tensor, real: Tensor, scale: Tensor) -> Tensor:
    """Root mean square over dims that vary, in standard deviations, `n` float64; infinite where one is no number."""
    varies = scale > 0
    return ((predicted - real).double()[:, varies] / scale[varies]).square().mean(-1).sqrt().nan_to_num(nan=torch.inf)


def _median(off: Tensor, left: Tensor) -> Tensor:
    """The median over the windows that are `left`, NaN if these are too few."""
    return torch.where(left.sum() < _FEWEST, torch.nan, off.where(left, torch.nan).nanmedian())
