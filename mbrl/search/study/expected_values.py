"""Intervals of values that the model expects, in an objective's own units, also of one whose logarithm it models."""

from __future__ import annotations

import math


def interval(mean: float, sd: float, log: bool, times: float = 1.0) -> tuple[float, float]:
    """Computes the ends of an interval around an expected value.

    Args:
        mean: expected value; of an objective in logarithms the median.
        sd: standard deviation; of an objective in logarithms that of the logarithm, so that both ends are above 0.
        log: whether the objective is in logarithms.
        times: standard deviations from the middle to either end.
    """
    if log:
        return mean * math.exp(-times * sd), mean * math.exp(times * sd)
    return mean - times * sd, mean + times * sd


def deviation(observed: float, mean: float, sd: float, log: bool) -> float:
    """Computes by how many standard deviations a value lies above the expected one."""
    return (math.log(observed / mean) if log else observed - mean) / sd


def in_words(mean: float, sd: float, log: bool, digits: int = 5) -> str:
    """Writes `12.3 ± 0.4`, or of a logarithm `12.3 (11.9 to 12.7)`, the median with a standard deviation either way.

    Args:
        mean: as for `interval`.
        sd: as for `interval`.
        log: as for `interval`.
        digits: of the expected value.
    """
    if log:
        low, high = interval(mean, sd, log)
        return f"{mean:.{digits}g} ({low:.{digits}g} to {high:.{digits}g})"
    return f"{mean:.{digits}g} ± {sd:.2g}"
