"""`DataRange`: the range of the real observations, beyond which a model has nothing to go by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl.data import Transitions
from mbrl.networks import ROUNDING

_STEADY = 32 * ROUNDING  # sixteen units in float32's last place: no range is narrower than that of the column's numbers


@dataclass(frozen=True)
class DataRange:
    """The smallest and largest value of each dimension of real observations, environment units.

    Attributes:
        low: `S`.
        high: `S`.
        width: `S`, `high` − `low`; of a dimension that is constant, or that rounding alone moves, sixteen units in the last
            place of its largest number, so that a model's own rounding is not taken for a departure.
    """

    low: Tensor
    high: Tensor
    width: Tensor

    @staticmethod
    def of(rows: Transitions) -> DataRange:
        """The range of `obs` and `next_obs` of `N` rows."""
        low = torch.minimum(rows.obs.amin(0), rows.next_obs.amin(0))  # S
        high = torch.maximum(rows.obs.amax(0), rows.next_obs.amax(0))  # S
        return DataRange.between(low, high)

    @staticmethod
    def between(low: Tensor, high: Tensor) -> DataRange:
        """The range from `low` to `high`, `S` each."""
        largest = torch.maximum(low.abs(), high.abs())  # S
        least = _STEADY * torch.where(largest > 0, largest, torch.ones_like(largest))  # S
        return DataRange(low, high, torch.maximum(high - low, least))

    def outside(self, obs: Tensor, margin: float = 1.0) -> Tensor:
        """Rows of `obs` `B x S` of which a dimension lies beyond the range by more than `margin` widths, `B` bool."""
        reach = margin * self.width  # S
        return ((obs < self.low - reach) | (obs > self.high + reach)).any(-1)

    def clamp(self, obs: Tensor, margin: float) -> Tensor:
        """The nearest observations `B x S` within the range widened by `margin` widths; what is not finite stays."""
        reach = margin * self.width  # S
        return torch.where(torch.isfinite(obs), obs.clamp(self.low - reach, self.high + reach), obs)
