"""Reduction of a run's values of a metric to one number, as the search file's `reduce` says."""

from __future__ import annotations

from collections.abc import Sequence


def reduced(values: Sequence[float], how: str) -> float:
    """Reduces a series to one number.

    Args:
        values: in order, at least one.
        how: `last`, `mean`, `max`, `min`, or `mean_last_<k>`: the mean of the last k, or of all if there are fewer.
    """
    if how == "last":
        return values[-1]
    if how == "max":
        return max(values)
    if how == "min":
        return min(values)
    last = values if how == "mean" else values[-int(how.removeprefix("mean_last_")) :]
    return sum(last) / len(last)
