"""`UnitCircle`: pairs of observations that are an angle's cosine and sine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from mbrl.arguments import Items, Natural
from mbrl.data import Task
from mbrl.errors import ConfigError
from mbrl.models.domains.base import Domain


class UnitCircle(Domain):
    """Divides each pair of observations by its length, so that a sampled angle stays one; all others stay as they are.

    Without it the length drifts, and a polynomial of it grows. A pair of two zeros has no angle, and stays.

    Args:
        pairs: places of the two numbers in an observation, from 0, such as `[[1, 2]]`.

    Raises:
        ConfigError: if a place is named twice, or by a model's `build` if the task's observations have no such place.
    """

    def __init__(self, pairs: Annotated[Sequence[Annotated[Sequence[Natural], Items(2, 2)]], Items(1)]) -> None:
        self.pairs = tuple((int(first), int(second)) for first, second in pairs)
        places = [place for pair in self.pairs for place in pair]
        if len(set(places)) < len(places):
            raise ConfigError(f"UnitCircle(pairs=…): expected each place once, got {places}; name other ones.")

    def check(self, task: Task) -> None:
        largest = max(place for pair in self.pairs for place in pair)
        if largest >= task.obs_size:
            raise ConfigError(
                f"UnitCircle(pairs=…): expected places from 0 to {task.obs_size - 1}, of the task's observations, got "
                f"{largest}; count from 0."
            )

    def project(self, next_obs: Tensor) -> Tensor:
        columns = list(next_obs.unbind(-1))  # S of B
        for first, second in self.pairs:
            nowhere = (columns[first] == 0) & (columns[second] == 0)  # there the length has no gradient, not even 0
            cosine = torch.where(nowhere, torch.ones_like(columns[first]), columns[first])
            length = torch.hypot(cosine, columns[second])  # which squares nothing that could overflow
            columns[first], columns[second] = columns[first] / length, columns[second] / length
        return torch.stack(columns, -1)
