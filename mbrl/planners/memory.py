"""`Memory`: everything that a planner carries from one decision to the next, for a batch of episodes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mbrl.data import make_generator


class Memory:
    """Warm starts, queued actions, previous actions, and the generator that acting draws from.

    It lives outside the planner, so that evaluation has its own and never moves the training streams, and a checkpoint
    keeps the training one.

    Args:
        n: episodes acted in at once.
        generator: what the policy's samples draw from; `planning_generator` is derived from its seed.
        tensors: `n x …` each, by name; `reset` sets a row back to what it is here.

    Attributes:
        decisions: made so far by a planner that counts them; see `decision_generators`.
        looked: `n` bool, whose last action was decided on at its own observation; None for all of them.
    """

    def __init__(self, n: int, generator: torch.Generator, **tensors: Tensor) -> None:
        self.n = n
        self.generator = generator
        # planning draws from its own, so that switching a planner on leaves the policy's samples as they were
        self.planning_generator = make_generator(generator.device, generator.initial_seed(), "planning")
        self.decisions = 0
        self.looked: Tensor | None = None
        self.tensors = tensors
        self._initial = {name: tensor.clone() for name, tensor in tensors.items()}

    def decision_generators(self, purpose: str, device: torch.device | str) -> list[torch.Generator]:
        """`n` fresh generators for the present decision, one per episode, on `device`; `purpose` names independent ones.

        They follow from the generator's seed, the number of decisions so far and the episode's place, so an episode draws
        the same whichever others are decided for beside it, and however much each decision draws.
        """
        seed = self.generator.initial_seed()
        return [make_generator(device, seed, "decision", self.decisions, purpose, place) for place in range(self.n)]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix`, by the rest of their names: what a planner's part keeps in here."""
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}

    def reset(self, mask: Tensor) -> None:
        """Forgets what it knows of the episodes in `mask` (`n` bool), which have ended."""
        for name, tensor in self.tensors.items():
            where = mask.view(-1, *[1] * (tensor.ndim - 1))  # n x 1 …
            self.tensors[name] = torch.where(where, self._initial[name], tensor)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and generator, as tensors."""
        return {
            "tensors": dict(self.tensors),
            "decisions": self.decisions,
            "generator": self.generator.get_state(),
            "planning_generator": self.planning_generator.get_state(),
        }

    def copied_state(self) -> dict[str, Any]:
        """The state with tensors of its own, which acting on doesn't move."""
        state = self.state_dict()
        return {**state, "tensors": {name: tensor.clone() for name, tensor in state["tensors"].items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state` left it."""
        device = self.generator.device  # a checkpoint's tensors come on the CPU
        self.tensors = {name: tensor.to(device, copy=True) for name, tensor in state["tensors"].items()}
        self.decisions = state["decisions"]
        self.generator.set_state(state["generator"].cpu())
        self.planning_generator.set_state(state["planning_generator"].cpu())
