"""`EdgeValues`: what targets are worth where rollouts end, beside all others, over the course of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from mbrl.data import Transitions
from mbrl.errors import UnsupportedError
from mbrl.planners.rollouts.hooks import BatchContext, BatchHook

_NAMES = ("edge_value", "edge_value_max", "edge_penalty", "inner_value", "inner_value_max", "inner_penalty")


class EdgeValues(BatchHook):
    """Leaves batches as they are, and reports what the target critics say of the states that its rows lead to.

    Values that run away do so where rollouts end (`cut`), which is asked for and never fitted, before they do elsewhere
    (Sims2024's edge of reach). It costs the target critics' values of a batch per update. Metrics, means over updates:
    `batch/edge_share`, the share of targets that are such ends; `batch/edge_value` and `batch/inner_value`, the least
    critic's value at the policy's deterministic action, mean over the ends and over the others; `batch/…_value_max`, the
    largest of these; `batch/…_penalty`, the critics' mean less their least. A batch without any reports what the last one
    with some did, 0 before.

    Raises:
        UnsupportedError: when called, for a learner without critics.
    """

    needs_dynamics: ClassVar[bool] = False

    def __init__(self) -> None:
        self._last: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, batch: Transitions, context: BatchContext) -> Transitions:
        if not context.learner.has_critics:
            raise UnsupportedError(
                f"EdgeValues: expected a learner with critics, got {type(context.learner).__name__}; leave the hook out."
            )
        values = context.learner.value(batch.next_obs, None, "target")  # J x B
        least = values.amin(0)
        penalty = values.mean(0) - least
        edge, goes_on = batch.extras["cut"][:, 0].bool() & ~batch.terminated, ~batch.terminated
        found = {"edge_share": edge.sum() / goes_on.sum().clamp_min(1)}
        for name, where in (("edge", edge), ("inner", goes_on & ~edge)):
            number = where.sum()
            said = {
                f"{name}_value": torch.where(where, least, 0.0).sum() / number,
                f"{name}_value_max": torch.where(where, least, -torch.inf).amax(),
                f"{name}_penalty": torch.where(where, penalty, 0.0).sum() / number,
            }
            for metric, value in said.items():
                before = self._last.get(metric, torch.zeros_like(value)).to(value)
                found[metric] = torch.where(number > 0, value, before)
        self._last = {metric: found[metric] for metric in _NAMES}
        context.report(found)
        return batch

    def reset(self) -> None:
        self._last = {}

    def state_dict(self) -> dict[str, Any]:
        return dict(self._last)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._last = dict(state)
