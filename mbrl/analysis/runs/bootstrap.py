"""`interquartile_mean` and `bootstrap_interval`: what return statistics and learning curves are made of.

Definitions are those of Agarwal et al. (2021). Their package, rliable, isn't used: version 1.2.0 as pip installs it fails on
import (it asks for `arch` below 8, and 7.2.0 doesn't import with pandas 3), and its bootstrap draws from NumPy's global
generator whatever `random_state` it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mbrl.arguments import ShareBetween, check_argument, check_whole
from mbrl.errors import DataError

_AT_ONCE = 4_000_000  # resampled numbers in memory at a time


def interquartile_mean(scores: Tensor) -> Tensor:
    """Mean of the middle half: the lowest and the highest quarter, each rounded down to whole scores, are left out.

    So up to three scores it is the plain mean. NaN where a score is NaN. Source: Agarwal et al. 2021, arXiv 2108.13264.

    Args:
        scores: `... x R`.

    Returns:
        `...`.

    Raises:
        DataError: if there are no scores.
    """
    number = scores.shape[-1] if scores.ndim else 0
    if not number:
        raise DataError(f"interquartile_mean: expected scores, ... x R, got shape {tuple(scores.shape)}; give one at least.")
    cut = number // 4
    middle = scores.sort(-1).values[..., cut : number - cut].mean(-1)
    # a NaN is sorted last, where the trimming would hide it
    return torch.where(scores.isnan().any(-1), torch.nan, middle)


def bootstrap_interval(
    statistic: Callable[[Sequence[Tensor]], Tensor],
    strata: Sequence[Tensor],
    *,
    generator: torch.Generator,
    resamples: int = 10_000,
    level: float = 0.95,
) -> tuple[Tensor, Tensor] | None:
    """Percentile interval of a statistic when each stratum's runs are drawn anew, with replacement, as many as there are.

    A run is drawn whole: with leading dims (points of a learning curve) the same runs are drawn for all of them. The
    interval of few runs is too narrow, since no resample lies outside what was seen: the 95 % interval of the interquartile
    mean of normal scores holds the true value in 75 % of cases with 3 runs (it is their range), 90 % with 5, 94 % with 10.

    Args:
        statistic: of tensors like `strata`, with any dims before the last, which it reduces.
        strata: the runs of each task (or of each method and task), `... x R` with an `R` of each.
        generator: draws the runs.
        resamples: more make the interval repeatable to more digits.
        level: share of the resampled statistics inside; raising it widens the interval.

    Returns:
        Lower and upper ends, each `...`; None if a stratum has a single run, whose spread is unknown.

    Raises:
        ConfigError: if there are no resamples, or `level` isn't between 0 and 1.
    """
    check_whole("bootstrap_interval(resamples=…)", resamples, 1)
    check_argument("bootstrap_interval(level=…)", level, ShareBetween)
    if any(runs.shape[-1] < 2 for runs in strata):
        return None
    size = sum(runs.numel() for runs in strata)
    parts = []
    for start in range(0, resamples, max(1, _AT_ONCE // size)):
        number = min(max(1, _AT_ONCE // size), resamples - start)
        drawn = []
        for runs in strata:
            count = runs.shape[-1]
            chosen = torch.randint(count, (number, count), generator=generator, device=generator.device)
            drawn.append(runs[..., chosen.to(runs.device)])  # ... x number x R
        parts.append(statistic(drawn))
    found = torch.cat(parts, -1)  # ... x resamples
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=found.dtype, device=found.device)
    rows = found.reshape(-1, resamples)
    # torch.quantile refuses more than 16 million numbers
    low, high = torch.cat([part.quantile(ends, -1) for part in rows.split(max(1, _AT_ONCE // resamples))], -1)
    return low.reshape(found.shape[:-1]), high.reshape(found.shape[:-1])
