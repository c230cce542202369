"""`ClampToData`: a hook that keeps model rollouts within the range of the real observations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from mbrl.arguments import NonNegative
from mbrl.data import ModelStep, Transitions
from mbrl.errors import NotBuiltError
from mbrl.models import DynamicsModel
from mbrl.planners.rollouts.data_range import DataRange
from mbrl.planners.rollouts.hooks import RolloutContext, RolloutHook


class ClampToData(RolloutHook):
    """Clamps each dimension of imagined next observations to the real rows' range, and goes on from there.

    A model knows nothing of where no data are, and what it makes of its own errors there can grow at each step. The range is
    that of all real rows at the last refit (`DataRange`), widened on both sides. Reward and termination stay those of the
    step as the model made it. A next observation that is not finite stays so, and is dropped and counted as ever.

    Its metric is `rollout/clamped`, the share of steps that it changed.

    Args:
        margin: widths of a dimension's range by which it is widened on each side; 0 keeps to the data, more lets rollouts
            leave them further.

    Raises:
        NotBuiltError: from a call before a refit showed it any rows.
        UnsupportedError: from a call, if rollouts of the model can't be moved (`ModelState.moved`).
    """

    def __init__(self, margin: NonNegative = 0.5) -> None:
        self.margin = margin
        self._range: DataRange | None = None

    @torch.no_grad()
    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        if self._range is None:
            raise NotBuiltError(
                "ClampToData: expected a refit before rollouts, which shows it the real rows, got none; have the planner "
                "call fitted_parts after each refit."
            )
        if self._range.low.device != step.next_obs.device:  # a checkpoint's, once
            self._range = DataRange(*(each.to(step.next_obs.device) for each in vars(self._range).values()))
        next_obs = self._range.clamp(step.next_obs, self.margin)  # B x S
        changed = (next_obs != step.next_obs).any(-1) & step.finite  # B
        alive = torch.ones_like(changed) if context.alive is None else context.alive
        context.report({"clamped": (changed & alive).sum() / alive.sum().clamp(min=1)})
        return replace(step, next_obs=next_obs, state=step.state.moved(next_obs))

    def fitted(self, model: DynamicsModel, rows: Transitions) -> None:
        self._range = DataRange.of(rows)

    def reset(self) -> None:
        self._range = None

    def state_dict(self) -> dict[str, Any]:
        return {} if self._range is None else {"low": self._range.low, "high": self._range.high}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._range = DataRange.between(state["low"], state["high"])
