"""`PlacedCritics`: critics that also know at which place of a sequence an action is taken [Patel2025].

Patel2025: "Overcoming slow decision frequencies in continuous control: model-based sequence reinforcement learning for
model-free control" (SRL, ICLR 2025, arXiv 2410.08979, and the authors' code).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mbrl.policies.critics import Critics


class PlacedCritics(Critics):
    """Critics Q_i(s, a, j), whose last input is the number of steps since an observation; where none is given it is 0.

    Args:
        obs_size: `S`.
        action_size: `A`.
        *others: as of `Critics`.
    """

    def __init__(self, obs_size: int, action_size: int, *others: Any) -> None:
        super().__init__(obs_size, action_size + 1, *others)

    def forward(self, obs: Tensor, action: Tensor, *, place: Tensor | None = None, **how: Any) -> Tensor:
        """Values of all critics; arguments as of `Critics.forward`, and `place` `B`, j as a float."""
        return super().forward(obs, _placed(action, place), **how)

    def action_slopes(self, obs: Tensor, action: Tensor) -> Tensor:
        """Gradients of all values in the action, `J x B x A`, at place 0."""
        return super().action_slopes(obs, _placed(action, None))[..., :-1]


def _placed(action: Tensor, place: Tensor | None) -> Tensor:
    column = torch.zeros_like(action[..., :1]) if place is None else place.unsqueeze(-1)
    return torch.cat((action, column), -1)  # B x (A+1)
