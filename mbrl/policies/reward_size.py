"""`tell_if_entropy_is_lost`: rewards so large that the entropy beside them means nothing."""

from __future__ import annotations

import math
import warnings

from torch import Tensor

from mbrl.errors import MbrlWarning

# Mean |reward| per unit of temperature from which on it is said. Rewards of tasks that SAC is known to learn from its
# temperature of 1 are below: Pendulum's are about 6, HumanoidStandup's about 100.
LARGEST = 1000.0


def tell_if_entropy_is_lost(reward: Tensor, temperature: float, lr: float | None) -> None:
    """Warns if rewards are more than `LARGEST` times the temperature on average.

    An action's entropy is a few nats, so that the policy then hears of the reward alone and turns deterministic before it
    has tried anything, and values are as much larger than what critics begin with. Adam moves log α by no more than its
    step size at each update, which makes a lower bound of when a learned temperature can have followed.

    Args:
        reward: real rewards, `B`.
        temperature: α; 0 asks for no entropy, and nothing is said.
        lr: Adam's step size of log α, or None where α is fixed.
    """
    size = reward.double().abs().mean().item()
    if not temperature > 0 or not math.isfinite(size) or size <= LARGEST * temperature:
        return
    late = "stays so, being fixed" if lr is None else f"needs {math.log(size / temperature) / lr:.0f} updates to follow"
    warnings.warn(
        f"SAC: expected rewards that are on average no larger than {LARGEST:g} times the temperature, got {size:.3g} at a "
        f"temperature of {temperature:.3g}, which {late}: the entropy means nothing beside them, and critics begin far from "
        f"such values; multiply rewards by about {10 ** -round(math.log10(size / temperature)):g} in the dataset or the "
        "environment.",
        MbrlWarning,
        stacklevel=3,
    )
