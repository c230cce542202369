"""`reward_size`: rewards so large that the entropy beside them means nothing, or so small that nothing else counts."""

from __future__ import annotations

import math

from torch import Tensor

# Mean |reward| per unit of temperature from which on it is said. Rewards of tasks that SAC is known to learn from its
# temperature of 1 are between: Pendulum's are about 6, HumanoidStandup's about 100, HalfCheetah's about 1.
LARGEST = 1000.0
SMALLEST = 1e-3
TEMPERATURE = 1.0  # SAC's first one and its step size, where nobody has said others yet
TEMPERATURE_LR = 3e-4


def reward_size(reward: Tensor, temperature: float = TEMPERATURE, lr: float | None = TEMPERATURE_LR) -> str | None:
    """A sentence where rewards are more than `LARGEST` or less than `SMALLEST` times the temperature on average.

    An action's entropy is a few nats. Beside larger rewards the policy hears of these alone and turns deterministic before
    it has tried anything, and values are as much larger than what critics begin with; beside smaller ones it hears of the
    entropy alone. Adam moves log α by no more than its step size at each update, which makes a lower bound of when a
    learned temperature can have followed.

    Args:
        reward: real rewards, `B`. Those of 0 don't count among small ones, since a rare reward isn't a small one.
        temperature: α; 0 asks for no entropy, and there is nothing to say.
        lr: Adam's step size of log α, or None where α is fixed.

    Returns:
        What was expected, what came and what to do, from "expected" on; None where all is well.
    """
    sizes = reward.double().abs()
    size = sizes.mean().item()
    if not temperature > 0 or not math.isfinite(size) or size == 0:
        return None
    paid = size * len(sizes) / int((sizes > 0).sum())
    if size > LARGEST * temperature:
        expected = f"on average no larger than {LARGEST:g} times the temperature"
        why = "the entropy means nothing beside them, and critics begin far from such values"
    elif paid < SMALLEST * temperature:
        size = paid
        expected = f"on average, where they aren't 0, no smaller than {SMALLEST:g} times the temperature"
        why = "the policy learns of its entropy alone"
    else:
        return None
    late = "stays so, being fixed" if lr is None else f"needs {abs(math.log(size / temperature)) / lr:.0f} updates to follow"
    return (
        f"expected rewards that are {expected}, got {size:.3g} at a temperature of {temperature:.3g}, which {late}: {why}; "
        f"multiply rewards by about {10.0 ** -round(math.log10(size / temperature)):g} in the dataset or the environment."
    )
