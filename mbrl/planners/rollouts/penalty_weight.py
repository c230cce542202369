"""`PenaltyWeight`: the weight λ of a penalty, fixed, or tuned towards a mean penalty.

A tuned weight minimises over log λ the loss log λ · (mean(λ u) − c), with λ u held constant in the brackets, so that its
gradient is mean(λ u) − c and it comes to rest where the mean penalty is c: at λ = c / E[u] for a u that stays as it is.

Lu2023: "Challenges and opportunities in offline reinforcement learning from visual observations" (V-D4RL; its Offline DV2
tunes the penalty so, with c = 1.5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mbrl.arguments import NonNegative, Positive
from mbrl.errors import ConfigError
from mbrl.spec import Part

_DECAYS = (0.9, 0.999)  # Adam's, of the gradient and its square
_TINY = 1e-8


class PenaltyWeight(Part):
    """λ, reward units per unit of u: a part of a hook, whose checkpointed state is what a tuned weight has learned.

    Args:
        who: the class that it belongs to, for messages.
        weight: λ, or where a tuned one starts; 0 or more.
        target: c, reward units, or None for a weight that stays.
        lr: Adam's step size in log λ.

    Raises:
        ConfigError: for a number out of range, or a target without a weight to start from.
    """

    def __init__(self, who: str, weight: NonNegative, target: Positive | None, lr: Positive) -> None:
        if target is not None and weight == 0:
            raise ConfigError(f"{who}(weight=…): expected more than 0 beside a target, got 0; start at a small one.")
        self.initial = weight
        self.target = target
        self.lr = lr
        self._state: dict[str, Tensor] = {}

    @property
    def tuned(self) -> bool:
        """True if it changes."""
        return self.target is not None

    def times(self, unsure: Tensor, counts: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The penalty, with the weight as it stands; then a tuned weight takes a step.

        Args:
            unsure: u, `B`.
            counts: `B` bool, the rows that a tuned weight looks at; None all. What isn't finite never counts.

        Returns:
            λ u, `B`, and, if it is tuned, the λ that this took, a scalar.
        """
        if self.target is None:
            return unsure * self.initial, None
        state = self._on(unsure.device)
        weight = state["log_weight"].exp()
        fine = unsure.isfinite() if counts is None else unsure.isfinite() & counts
        # in float64, so that rows that are masked instead of dropped change no digit that float32 shows
        total, number = torch.where(fine, unsure, 0.0).double().sum(), fine.sum()
        self._step(weight * total / number - self.target, number > 0)
        return unsure * weight.to(unsure.dtype), weight

    def _step(self, gradient: Tensor, happens: Tensor) -> None:
        """One step of Adam down `gradient`, or none, without asking the host which."""
        state = self._state
        updates = state["updates"] + 1
        mean = torch.lerp(gradient, state["mean"], _DECAYS[0])
        square = torch.lerp(gradient.square(), state["square"], _DECAYS[1])
        unbiased = [value / (1 - decay**updates) for value, decay in zip((mean, square), _DECAYS, strict=True)]
        log_weight = state["log_weight"] - self.lr * unbiased[0] / (unbiased[1].sqrt() + _TINY)
        new = {"log_weight": log_weight, "mean": mean, "square": square, "updates": updates}
        self._state = {name: torch.where(happens, value, state[name]) for name, value in new.items()}

    def _on(self, device: torch.device) -> dict[str, Tensor]:
        if not self._state:
            zero = torch.zeros((), dtype=torch.float64, device=device)
            start = torch.full_like(zero, math.log(self.initial))
            self._state = {"log_weight": start, "mean": zero, "square": zero, "updates": zero}
        elif self._state["mean"].device != device:  # a checkpoint's lie on the CPU
            self._state = {name: value.to(device) for name, value in self._state.items()}
        return self._state

    def reset(self) -> None:
        self._state = {}

    def state_dict(self) -> dict[str, Any]:
        return dict(self._state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._state = dict(state)
