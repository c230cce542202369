"""`fas`: the frequency-averaged score, the area under the returns over the steps between two decisions.

Patel2025: "Overcoming slow decision frequencies in continuous control: model-based sequence reinforcement learning for
model-free control" (ICLR 2025); the score as the notebook of its authors' code computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mbrl.arguments import Positive, check_argument
from mbrl.errors import DataError

STANDARD_LENGTHS = (1, *range(2, 31, 2))  # steps per decision, the authors' 16
STANDARD_DIVISOR = 30.0
# The authors' scale of returns (largest, offset), by the environment's name without its version: theirs are those of older
# versions, some of which pay other rewards.
STANDARD_SCALES: dict[str, tuple[float, float]] = {
    "Pendulum": (1350.0, 1550.0),
    "LunarLanderContinuous": (300.0, 0.0),
    "Hopper": (3600.0, 0.0),
    "Walker2d": (5000.0, 0.0),
    "Ant": (6500.0, 0.0),
    "Swimmer": (350.0, 0.0),
    "HalfCheetah": (17000.0, 0.0),
    "Humanoid": (10500.0, 0.0),
    "InvertedPendulum": (1000.0, 0.0),
    "InvertedDoublePendulum": (9400.0, 0.0),
    "Reacher": (60.0, 65.0),
}


def fas(
    lengths: Sequence[float],
    returns: Any,
    max_return: float,
    offset: float = 0.0,
    divisor: float | Literal["span"] | None = None,
) -> Any:
    """Frequency-averaged score of returns at several decision lengths [Patel2025].

    The area by the trapezoid rule under (return + offset) / max_return over the length, divided by `divisor`. Nothing is
    clipped: a return below −offset counts negatively, and one above max_return − offset as more than 1. With the default
    divisor, the authors' 30 for their lengths 1, 2, 4, …, 30, a perfect agent has 29/30; with `"span"` it has 1 on any.

    Args:
        lengths: `L` steps per decision, in any order, no two alike.
        returns: `L` mean returns, reward units, or `… x L`, of several seeds or agents.
        max_return: the return, offset added, that counts as 1. Raising it lowers scores in proportion.
        offset: added to each return, reward units. Raising it lifts all scores, also of what has learned nothing.
        divisor: of the area, in steps; `"span"` stands for the longest length less the shortest, and None for the authors'
            30, which other lengths than theirs are refused beside.

    Returns:
        The score as a float, or `…` scores as a float64 array.

    Raises:
        ConfigError: for a `max_return` or a `divisor` that isn't above 0.
        DataError: for fewer than two lengths or two that are alike, other than a return per length, numbers that aren't
            finite, or other lengths than the authors' without a divisor.
    """
    check_argument("fas(max_return=…)", max_return, Positive)
    check_argument("fas(offset=…)", offset, float)
    check_argument("fas(divisor=…)", divisor, Positive | Literal["span"] | None)
    x, y = _numbers("lengths", lengths), _numbers("returns", returns)  # L, … x L
    if x.ndim != 1 or len(x) < 2 or len(np.unique(x)) < len(x):
        raise DataError(f"fas: expected at least two lengths, no two alike, got {x.tolist()}; measure each length once.")
    if y.shape[-1:] != x.shape:
        raise DataError(f"fas: expected {len(x)} returns, one per length, got shape {y.shape}; give the mean over episodes.")
    order = np.argsort(x)
    if divisor is None and tuple(x[order]) != STANDARD_LENGTHS:
        raise DataError(
            f"fas: expected a divisor beside other lengths than 1, 2, 4, …, 30, got none beside {x.tolist()}; give "
            "divisor='span', or measure at those."
        )
    area = np.trapezoid((y[..., order] + offset) / max_return, x[order], axis=-1)
    score = area / (np.ptp(x) if divisor == "span" else STANDARD_DIVISOR if divisor is None else divisor)
    return float(score) if y.ndim == 1 else score


def _numbers(what: str, given: Any) -> np.ndarray:
    try:
        numbers = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"fas({what}=…): expected numbers, got {type(given).__name__} ({error}); give a list.") from error
    if not np.isfinite(numbers).all():
        raise DataError(f"fas({what}=…): expected finite numbers, got {numbers.tolist()}; leave out what diverged.")
    return numbers


def standard_scale(env_id: str) -> tuple[float, float] | None:
    """Largest return and offset that the authors have for an environment; None for one that they haven't."""
    return STANDARD_SCALES.get(env_id.rpartition("-v")[0])
