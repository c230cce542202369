"""`UnitCircle`: pairs of observations that are an angle's cosine and sine."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from mbrl.arguments import Items, Natural
from mbrl.data import Task, Transitions
from mbrl.errors import ConfigError, MbrlWarning
from mbrl.models.domains.base import Domain

_MAY_BE_OFF = 0.2  # median distance of the real rows from the circle, such as by noise


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
        self._told = False

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

    def fitted(self, model: Any, rows: Transitions) -> None:
        """Looks whether the real rows (`N`) lie near the circle: each predicted step jumps onto it."""
        for first, second in self.pairs:
            length = torch.hypot(rows.next_obs[..., first], rows.next_obs[..., second])  # N
            if self._told or float((length - 1).abs().median()) <= _MAY_BE_OFF:  # one read-back per refit
                continue
            self._told = True
            warnings.warn(
                f"UnitCircle(pairs=…): expected a cosine and a sine, whose squares add up to 1, got lengths of "
                f"{float(length.min()):.3g} to {float(length.max()):.3g} at {first} and {second} in {len(rows)} real rows; "
                "name other places, or each predicted step jumps onto a circle where no real one is.",
                MbrlWarning,
                2,
            )

    def reset(self) -> None:
        self._told = False
