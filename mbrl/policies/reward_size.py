"""`tell_of_reward_size`: a warning of rewards that the temperature can't be weighed against."""

from __future__ import annotations

import warnings

from torch import Tensor

from mbrl.data.minds.reward_size import reward_size
from mbrl.errors import MbrlWarning


def tell_of_reward_size(reward: Tensor, temperature: float, lr: float | None) -> None:
    """Warns if rewards are far too large or too small for the temperature; arguments as in `reward_size`."""
    if said := reward_size(reward, temperature, lr):
        warnings.warn(f"SAC: {said}", MbrlWarning, 3)
