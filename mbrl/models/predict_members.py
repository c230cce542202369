"""`predict_members`: predictions of some of a model's members, without asking the others."""

from __future__ import annotations

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

    mean, var = said.mean.unflatten(0, (number, rows)), said.var.unflatten(0, (number, rows))
    return Prediction(mean, var, apart(said.reward_mean), apart(said.reward_var), apart(said.terminated_logit))
