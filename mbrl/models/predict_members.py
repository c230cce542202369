"""`predict_members`: predictions of some of a model's members, without asking the others."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.data import Prediction
from mbrl.models.base import DynamicsModel
from mbrl.models.obs_state import ObsState


def predict_members(model: DynamicsModel, state: ObsState, action: Tensor, members: Tensor) -> Prediction:
    """Predictions of a few members of a model, for the price of those: the drawn-member path, each asked of every row.

    Args:
        model: with members.
        state: `B` rollouts.
        action: `B x A` in [−1, 1].
        members: `n` int64.

    Returns:
        A `Prediction` with dims `n x B x …`, in the order of `members`.
    """
    number, rows = members.shape[0], action.shape[0]
    said = model.predict_from(state.tile(number), action.repeat(number, 1), members.repeat_interleave(rows))  # n·B x …

    def apart(part: Tensor | None) -> Tensor | None:
        return None if part is None else part.unflatten(0, (number, rows))

    def apart_at(next_obs: Tensor, member: Tensor | None = None) -> Tensor:
        """As `Prediction.terminated_at`, where a member is its place in `members`."""
        assert said.terminated_at is not None
        if member is None:
            each = next_obs.expand(number, rows, next_obs.shape[-1])
            return said.terminated_at(each.reshape(number * rows, -1)).unflatten(0, (number, rows))
        if member.ndim > 1:
            return torch.stack([apart_at(*one) for one in zip(next_obs, member, strict=True)])
        return apart_at(next_obs)[member, torch.arange(rows, device=member.device)]

    mean, var = said.mean.unflatten(0, (number, rows)), said.var.unflatten(0, (number, rows))
    ends = apart(said.terminated_logit), None if said.terminated_at is None else apart_at
    return Prediction(mean, var, apart(said.reward_mean), apart(said.reward_var), *ends)
