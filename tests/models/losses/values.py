"""Value functions whose gradients are known, and rows to ask them about."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mbrl.data import Transitions


class Formulas:
    """One critic per formula of observations `… x S`, whichever critics are asked for."""

    def __init__(self, *formulas: Callable[[Tensor], Tensor]) -> None:
        self.formulas = formulas

    def value(self, obs: Tensor, action: Tensor | None = None, critics: str = "online") -> Tensor:
        return torch.stack([formula(obs) for formula in self.formulas])


def linear(*slopes: list[float], offset: float = 0.0) -> Formulas:
    """V_j(s) = w_j·s + offset."""
    return Formulas(*(lambda obs, w=w: obs @ torch.tensor(w, dtype=obs.dtype) + offset for w in slopes))


def rows_to(next_obs: Tensor, terminated: Tensor | None = None) -> Transitions:
    """Rows from the origin to `next_obs`, `N x S`, with one action and no reward."""
    n = len(next_obs)
    flags = torch.zeros(n, dtype=torch.bool)
    ended = flags if terminated is None else terminated
    return Transitions(torch.zeros_like(next_obs), torch.zeros(n, 1), torch.zeros(n), next_obs, ended, flags)
