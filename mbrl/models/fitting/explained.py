"""`explained_share`: how much of what changed a model explains."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.networks import ROUNDING


def explained_share(said: Tensor, obs: Tensor, next_obs: Tensor) -> Tensor:
    """The share of the observation's change that predictions explain, mean over dims: 1 − squared error / change².

    1 is all of it, 0 what "nothing changes" would explain. Dims that only rounding moves don't count. Free of units.

    Args:
        said: the next observation as predicted, `B x S`.
        obs: the observation before, `B x S`.
        next_obs: what came, `B x S`.
    """
    change = (next_obs.double() - obs.double()).square().mean(0)  # S
    error = (said.double() - next_obs).square().mean(0)  # S
    rounding = ROUNDING * torch.maximum(obs.abs(), next_obs.abs()).amax(0).double()  # S
    counts = change > rounding.square()  # S
    share = torch.where(counts, 1 - error / change, 0.0)  # S
    return (share.sum() / counts.sum().clamp(min=1)).float()
