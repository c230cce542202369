"""How well one number tells another: correlations, and the detection of events by a score.

    Spearman           the correlation of ranks; any increasing transform of a number keeps it
    Pearson            the correlation of the numbers themselves: what a linear penalty needs
    ROC AUC            the chance that an event has a higher score than another row, ties counted as half (Mann1947)
    average precision  the precision at the score of each event, averaged over events; by chance the share of events

Mann1947: Mann and Whitney, "On a test of whether one of two random variables is stochastically larger than the other".
Where a statistic is undefined (a constant, fewer than two rows, no event or nothing else) it is None, never 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SWEEPS = 50


def pearson(a: Tensor, b: Tensor, rounding: float = 0.0) -> float | None:
    """Pearson's correlation of two lists of `B` numbers; None if one of them is constant.

    Args:
        a, b: `B` each, finite.
        rounding: see `is_constant`.
    """
    if is_constant(a, rounding) or is_constant(b, rounding):
        return None
    a, b = (_unit(x.double() - x.double().mean()) for x in (a, b))
    return float((a @ b).clamp(-1.0, 1.0))


def spearman(a: Tensor, b: Tensor, rounding: float = 0.0) -> float | None:
    """Spearman's rank correlation of two lists of `B` numbers, ties with their mean rank; None if one is constant.

    Args:
        a, b: `B` each, finite.
        rounding: see `is_constant`.
    """
    if is_constant(a, rounding) or is_constant(b, rounding):
        return None
    return pearson(mean_ranks(a), mean_ranks(b))


def within_correlation(a: Tensor, b: Tensor, first: Tensor, second: Tensor, rounding: float = 1e-9) -> float | None:
    """Pearson's correlation of what is left of two lists without the means of two groupings.

    Args:
        a, b: `B` each, finite.
        first, second: `B` int64 from 0 up, the group of each row in either grouping.
        rounding: what is left and no larger than this share of the largest number is nothing.

    Returns:
        None if a grouping has one group only, or nothing is left of a list.
    """
    if not (len(first.unique()) > 1 and len(second.unique()) > 1):
        return None
    of_a, of_b = (without_means(x.double(), first, second) for x in (a, b))
    if any(bool(x.abs().max() <= rounding * whole.abs().max()) for x, whole in ((of_a, a), (of_b, b))):
        return None
    return pearson(of_a, of_b)


def without_means(x: Tensor, *groupings: Tensor) -> Tensor:
    """`x` (`B`) less the means of its groups, so that every group of every grouping (`B` int64 each) has mean 0.

    With cells missing one sweep disturbs what the last one did; sweeping on converges to the least-squares answer.
    """
    for _ in range(_SWEEPS):
        before = x
        for group in groupings:
            count = torch.zeros(int(group.max()) + 1, dtype=x.dtype).index_add_(0, group, torch.ones_like(x))
            mean = torch.zeros_like(count).index_add_(0, group, x) / count.clamp_min(1)
            x = x - mean[group]
        if float((x - before).abs().max()) <= 1e-12 * float(before.abs().max()):
            break
    return x


def roc_auc(score: Tensor, event: Tensor) -> float | None:
    """The area under the ROC curve of detecting `event` by a high `score`; None if no row, or every row, is an event.

    Args:
        score: `B`, finite.
        event: `B` bool.
    """
    events, others = int(event.sum()), int((~event).sum())
    if events == 0 or others == 0:
        return None
    lowest = events * (events + 1) / 2  # the rank sum of events if all others scored higher
    return float((mean_ranks(score)[event].sum() - lowest) / (events * others))


def average_precision(score: Tensor, event: Tensor) -> float | None:
    """The precision at each event's score, averaged; None if there is no event.

    Rows of equal score are found together, so that their order doesn't count.

    Args:
        score: `B`, finite.
        event: `B` bool.
    """
    events = int(event.sum())
    if events == 0:
        return None
    found, hits = _found_from_the_top(score, event)
    precision = hits.double() / found
    gained = torch.diff(hits, prepend=hits.new_zeros(1)).double()
    return float((gained * precision).sum() / events)


def roc_curve(score: Tensor, event: Tensor) -> tuple[Tensor, Tensor]:
    """The share of other rows and of events found as the threshold falls, from (0, 0) to (1, 1), float64.

    Args:
        score: `B`, finite.
        event: `B` bool, of both kinds.
    """
    found, hits = _found_from_the_top(score, event)
    start = hits.new_zeros(1).double()
    false_alarms = torch.cat((start, (found - hits).double() / (~event).sum()))
    return false_alarms, torch.cat((start, hits.double() / event.sum()))


def mean_ranks(x: Tensor) -> Tensor:
    """Ranks from 1 to `B`, float64; equal numbers share the mean of theirs."""
    _, group, counts = torch.unique(x, sorted=True, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()  # the highest rank of each group
    return (last - (counts - 1) / 2)[group]


def is_constant(x: Tensor, rounding: float = 0.0) -> bool:
    """Whether `B` numbers are too few or too equal for a correlation.

    Args:
        x: `B`, finite.
        rounding: numbers that differ by no more than this share of the largest count as equal, so that nothing is read
            into rounding: 0 takes them as they are, 1e-6 suits numbers that were computed in float32.
    """
    return len(x) < 2 or float(x.max() - x.min()) <= rounding * float(x.abs().max())


def _unit(x: Tensor) -> Tensor:
    x = x / x.abs().max()  # first, since squares of large or small numbers may leave float64
    return x / torch.linalg.vector_norm(x)


def _found_from_the_top(score: Tensor, event: Tensor) -> tuple[Tensor, Tensor]:
    """Rows, and events among them, of at least each distinct score, the highest first."""
    _, group, counts = torch.unique(score, sorted=True, return_inverse=True, return_counts=True)
    hits = torch.zeros_like(counts).index_add_(0, group, event.to(counts.dtype))
    return counts.flip(0).cumsum(0), hits.flip(0).cumsum(0)
