"""`explained_share`, `explained_shares`: how much of what changed a model explains."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.networks import ROUNDING


def explained_share(said: Tensor, obs: Tensor, next_obs: Tensor) -> Tensor:
    """The share of the observation's change that predictions explain, mean over dims (see `explained_shares`); 0 of none."""
    shares = explained_shares(said, obs, next_obs)
    counts = ~shares.isnan()
    return (torch.where(counts, shares, 0.0).sum() / counts.sum().clamp(min=1)).float()


def explained_shares(said: Tensor, obs: Tensor, next_obs: Tensor) -> Tensor:
    """The same for each dim, `S` float64: 1 − squared error / change², NaN for dims that only rounding moves.

    1 is all of it, 0 what "nothing changes" would explain. Free of units.

    Args:
        said: the next observation as predicted, `B x S`.
        obs: the observation before, `B x S`.
        next_obs: what came, `B x S`.
    """
    change = (next_obs.double() - obs.double()).square().mean(0)  # S
    error = (said.double() - next_obs).square().mean(0)  # S
    rounding = ROUNDING * torch.maximum(obs.abs(), next_obs.abs()).amax(0).double()  # S
    return torch.where(change > rounding.square(), 1 - error / change, torch.nan)
