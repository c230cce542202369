"""`MetricSums`: means of metrics between two log lines, kept on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def unreported(metrics: Mapping[str, Tensor]) -> None:
    """Takes metrics that nobody asked for."""


class MetricSums:
    """Sums scalar metrics as tensors, so that only writing a log line reads them back.

    A resumed run must write the line that the unbroken one would, so the sums are part of the checkpoint.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, Tensor | float], prefix: str = "") -> None:
        """Adds one value per name.

        Args:
            metrics: scalars by name.
            prefix: put before each name, such as `learner/`.
        """
        for name, value in metrics.items():
            name = prefix + name
            if not isinstance(value, Tensor):
                value = torch.tensor(float(value), dtype=torch.float64)
            value = value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def pop(self) -> dict[str, float]:
        """The mean of each metric since the last call."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """Sums and counts, as tensors and numbers."""
        return {"sums": {name: total.cpu() for name, total in self._sums.items()}, "counts": dict(self._counts)}

    def load_state_dict(self, state: dict[str, Any], device: torch.device | str = "cpu") -> None:
        """Continues from `state`."""
        self._sums = {name: total.to(device) for name, total in state["sums"].items()}
        self._counts = dict(state["counts"])
