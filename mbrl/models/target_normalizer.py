"""`TargetNormalizer`: the scale of what a model learns to predict, and which of it moves at all."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from mbrl.data import Transitions
from mbrl.networks import ROUNDING, Normalizer


class TargetNormalizer(Normalizer):
    """Normalises changes of observations, and the reward beside them.

    Args:
        size: `D`, width of the targets.
        ddof: see `Normalizer`.

    Attributes:
        moves: `D` bool, whether a target moves by more than rounding of the numbers that it is a difference of; one that
            doesn't has no scale by which an error could be judged.
    """

    moves: Tensor

    def __init__(self, size: int, ddof: Literal[0, 1] = 0) -> None:
        super().__init__(size, ddof)
        self.register_buffer("moves", torch.ones(size, dtype=torch.bool))  # D

    @torch.no_grad()
    def fit(self, x: Tensor, largest: Tensor | None = None) -> None:
        """Takes the statistics of the targets `N x D`; arguments as of `Normalizer.fit`."""
        super().fit(x, largest)
        if largest is not None:
            self.moves.copy_(self.sd > 1.5 * ROUNDING * torch.where(largest > 0, largest, 1.0))

    def take_older(self, state: dict[str, Any], prefix: str) -> None:
        """Puts into the state of the model around it, in place, what older versions wrote elsewhere or not at all.

        Args:
            state: of that model, or of more.
            prefix: of that model's names in it.
        """
        moves = state.pop(f"{prefix}target_moves", None)
        own = f"{prefix}target_normalizer."
        if moves is not None:
            state[f"{own}moves"] = moves
        elif not any(name.startswith(own) for name in state):  # nothing was normalised
            state |= type(self)(len(self.sd), self.ddof).state_dict(prefix=own)


def targets_of(rows: Transitions, with_reward: bool) -> Tensor:
    """[Δobs, reward], or Δobs alone, in environment units, `… x D` of `…` rows."""
    change = rows.next_obs - rows.obs  # … x S
    return torch.cat((change, rows.reward.unsqueeze(-1)), -1) if with_reward else change


def targets_and_largest(rows: Transitions, with_reward: bool) -> tuple[Tensor, Tensor]:
    """Targets `N x D`, and the largest of the numbers that each is a difference of, `D`, for `TargetNormalizer.fit`."""
    largest = torch.maximum(rows.obs.abs(), rows.next_obs.abs()).amax(0)  # S
    if with_reward:
        largest = torch.cat((largest, rows.reward.abs().amax().view(1)))  # D
    return targets_of(rows, with_reward), largest
