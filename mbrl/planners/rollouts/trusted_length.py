"""`TrustedLength`: rollouts as long as the model has just been right, measured on real steps that it hadn't seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from mbrl.arguments import Count, Limits, Positive, check_whole
from mbrl.data import ReplayBuffer
from mbrl.models import DynamicsModel
from mbrl.spec import Part

_FEWEST = 16  # windows: the median of fewer says little


class TrustedLength(Part):
    """Lets rollouts grow while the model predicts real episodes, and shortens them when it doesn't.

    A schedule in epochs knows nothing of the model. Here the steps collected since the last fit, which the model has not
    seen, are predicted before the next one: `windows` rollouts begin at any of them, drawn with replacement, and follow the
    real actions, each with a member's noise, as imagined ones do. A length of h is trusted if, after each of its steps, the
    median over rollouts of the root mean square error over the observation's dims is at most `error` of their standard
    deviations in the newest rows, and below that of predicting no change. Dims that don't vary there don't count.

    The first fit has no model before it, and few steps between fits, or episodes that end early, leave fewer than 16
    different windows of a length: what can't be measured isn't trusted beyond what can. `rollout/trusted_steps` is what was
    measured, `rollout/length` the length.

    Args:
        shortest: steps of a rollout at least, also of a model that isn't trusted for one step.
        longest: steps at most. More costs more rollouts' time where the model is good.
        error: standard deviations of the observation by which a typical rollout may be off. More makes longer rollouts of
            a worse model.
        windows: rollouts that measure it, at least 16. More narrows what chance does, and costs in proportion.

    Attributes:
        trusted: steps that were trusted when last measured, 0 before.
        seen: rows ever added when the model was last fitted; None before.

    Raises:
        ConfigError: if `longest` is below `shortest`, or a number is out of range.
    """

    def __init__(
        self,
        shortest: Count = 1,
        longest: Count = 15,
        error: Positive = 0.2,
        windows: Annotated[int, Limits(_FEWEST)] = 256,
    ) -> None:
        check_whole("TrustedLength(longest=…)", longest, shortest)
        self.shortest = shortest
        self.longest = longest
        self.error = error
        self.windows = windows
        self.trusted = 0
        self.seen: int | None = None

    @property
    def length(self) -> int:
        """Steps of a rollout until the next fit."""
        return min(max(self.trusted, self.shortest), self.longest)

    @torch.no_grad()
    def measure(self, model: DynamicsModel, real: ReplayBuffer, generator: torch.Generator) -> None:
        """Measures what is trusted on the rows since the last call, before each fit; the first fit has nothing to measure.

        Args:
            model: about to be fitted to all rows, and fitted to none since the last call.
            real: the real rows, with episode numbers.
            generator: draws windows, members and noise.
        """
        seen, self.seen = self.seen, real.added
        if seen is None:
            return
        new = min(real.added - seen, len(real))
        windows, place = real.sample_cut_windows(self.windows, self.longest, generator, newest=new)  # n x H
        obs = real.gather(torch.arange(len(real) - new, len(real), device=real.device)).obs
        scale = obs.double().std(0, correction=0)  # S
        scale = torch.where(scale > 4 * torch.finfo(obs.dtype).eps * obs.abs().amax(0), scale, 0.0)
        first = windows.map(lambda column: column[:, 0])
        different = _different(first.row)  # n
        state, sure, still = model.start(first, generator), [], []
        for step in range(self.longest):
            found = model.step(state, windows.action[:, step])
            state, there = found.state, windows.next_obs[:, step]
            left = place[:, step] == step  # n, of episodes that go on
            enough = (left & different).sum() >= _FEWEST
            sure.append(_median(_off(found.next_obs, there, scale), left, enough))
            still.append(_median(_off(first.obs, there, scale), left, enough))
        ours, none = torch.stack(sure), torch.stack(still)  # H
        good = (ours <= self.error) & (ours < none)  # NaN, of too few windows or no numbers, is neither
        self.trusted = int(good.long().cumprod(0).sum())

    def reset(self) -> None:
        """Trusts nothing."""
        self.trusted, self.seen = 0, None

    def state_dict(self) -> dict[str, Any]:
        """The steps that were measured last, and on which rows it will be next."""
        return {"trusted": self.trusted, "seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from `state_dict`."""
        self.trusted, self.seen = state["trusted"], state["seen"]


def _off(predicted: Tensor, real: Tensor, scale: Tensor) -> Tensor:
    """Root mean square over dims that vary, in standard deviations, `n` float64; infinite where one is no number."""
    varies = scale > 0
    return ((predicted - real).double()[:, varies] / scale[varies]).square().mean(-1).sqrt().nan_to_num(nan=torch.inf)


def _median(off: Tensor, left: Tensor, enough: Tensor) -> Tensor:
    """The median over the windows that are `left`, NaN if these are not `enough`."""
    return torch.where(enough, off.where(left, torch.nan).nanmedian(), torch.nan)


def _different(row: Tensor | None) -> Tensor:
    """One window of each that was drawn, `n` bool, by the row that it begins at."""
    assert row is not None  # a buffer's rows have one
    in_order, order = row.sort()
    different = torch.ones_like(row, dtype=torch.bool)
    different[order[1:]] = in_order[1:] != in_order[:-1]
    return different
