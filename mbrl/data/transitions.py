"""`Transitions`: named tensors of one step each, with free leading dims."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Transitions:
    """Steps of an environment or of a model.

    Actions are in [−1, 1]; observations and rewards in environment units.

    Attributes:
        obs: `B x S`.
        action: `B x A`.
        reward: `B`.
        next_obs: `B x S`, the observation that the step led to, never that of the next reset.
        terminated: `B` bool, the task ended: nothing is earned after it.
        truncated: `B` bool, the episode was cut (time limit): a value function still bootstraps.
        row: `B` int64, insertion numbers in the buffer that they came from, never reused; None outside a buffer.
        extras: what a method adds by name (`sim_state`, `prev_action`, …), `B x …` each.
    """

    obs: Tensor
    action: Tensor
    reward: Tensor
    next_obs: Tensor
    terminated: Tensor
    truncated: Tensor
    row: Tensor | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)

    @property
    def batch_shape(self) -> torch.Size:
        """The leading dims `B`."""
        return self.obs.shape[:-1]

    def __len__(self) -> int:
        return self.obs.shape[0]

    def map(self, function: Callable[[Tensor], Tensor]) -> Transitions:
        """`function` applied to every tensor."""
        return Transitions(
            function(self.obs),
            function(self.action),
            function(self.reward),
            function(self.next_obs),
            function(self.terminated),
            function(self.truncated),
            None if self.row is None else function(self.row),
            {name: function(extra) for name, extra in self.extras.items()},
        )

    def select(self, rows: Tensor | slice) -> Transitions:
        """The rows of an index, a mask or a slice over the first dim."""
        return self.map(lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> Transitions:
        """The same on `device`."""
        return self.map(lambda tensor: tensor.to(device))

    def digest(self) -> str:
        """SHA-256 of the observations and actions in their order, by which rows can be known again."""
        found = hashlib.sha256()
        for column in (self.obs, self.action, self.next_obs):
            found.update(column.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

    @staticmethod
    def cat(parts: Sequence[Transitions]) -> Transitions:
        """`parts` one after another along the first dim; `row` is kept only if all have it, extras only if all do."""
        named: dict[str, Tensor | None] = {}
        for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated", "row"):
            tensors = [getattr(part, name) for part in parts]
            named[name] = None if any(tensor is None for tensor in tensors) else torch.cat(tensors)
        shared = set.intersection(*(set(part.extras) for part in parts))
        extras = {name: torch.cat([part.extras[name] for part in parts]) for name in sorted(shared)}
        return Transitions(**named, extras=extras)  # type: ignore[arg-type]

    @staticmethod
    def from_obs(obs: Tensor, action_size: int, **extras: Tensor) -> Transitions:
        """Rows of which only the observation (and extras) is known, as a model's `start` takes them."""
        flat = obs.new_zeros(obs.shape[:-1])  # B
        flags = torch.zeros_like(flat, dtype=torch.bool)  # B
        action = obs.new_zeros(*obs.shape[:-1], action_size)  # B x A
        return Transitions(obs, action, flat, obs, flags, flags, extras=dict(extras))
