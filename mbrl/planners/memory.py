"""`Memory`: what a planner carries from one decision to the next, for a batch of episodes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Memory:
    """Warm starts, queued actions, previous actions, and the generator that acting draws from.

    It lives outside the planner, so that evaluation has its own and never moves the training streams, and a checkpoint
    keeps the training one.

    Args:
        n: episodes acted in at once.
        generator: what acting draws from.
        tensors: `n x …` each, by name; `reset` sets a row back to what it is here.
    """

    def __init__(self, n: int, generator: torch.Generator, **tensors: Tensor) -> None:
        self.n = n
        self.generator = generator
        self.tensors = tensors
        self._initial = {name: tensor.clone() for name, tensor in tensors.items()}

    def reset(self, mask: Tensor) -> None:
        """Forgets what it knows of the episodes in `mask` (`n` bool), which have ended."""
        for name, tensor in self.tensors.items():
            where = mask.view(-1, *[1] * (tensor.ndim - 1))  # n x 1 …
            self.tensors[name] = torch.where(where, self._initial[name], tensor)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and generator, as tensors."""
        return {"tensors": dict(self.tensors), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state` left it."""
        self.tensors = {name: tensor.clone() for name, tensor in state["tensors"].items()}
        self.generator.set_state(state["generator"].cpu())
