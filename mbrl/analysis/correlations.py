"""Correlations of two numbers: how well one tells the other; and the detection of events by a score.

    Spearman           the correlation of ranks; any increasing transform of a number keeps it
    Pearson            the correlation of the numbers themselves: what a linear penalty needs
    ROC AUC            the chance that an event has a higher score than another row, ties counted as half (Mann1947)
    average precision  the precision at the score of each event, averaged over events; by chance the share of events

Mann1947: Mann and Whitney, "On a test of whether one of two random variables is stochastically larger than the other".
Where a statistic is undefined (a constant, fewer than two rows, no event or nothing else) it is None, never 0. scipy and
scikit-learn are imported when they are asked, since that takes a second.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SWEEPS = 50


def pearson(a: Tensor, b: Tensor, rounding: float = 0.0) -> float | None:
    """Pearson's correlation of two lists of `B` numbers; None if one of them is constant.

    Args:
        a: `B`, finite.
        b: `B`, finite.
        rounding: see `is_constant`.
    """
    if is_constant(a, rounding) or is_constant(b, rounding):
        return None
    # centred first, since an offset eats digits; then at most 1 in size, since squares of others may leave float64
    centred = [x.double() - x.double().mean() for x in (a, b)]
    return float(torch.corrcoef(torch.stack([x / x.abs().max() for x in centred]))[0, 1])


def spearman(a: Tensor, b: Tensor, rounding: float = 0.0) -> float | None:
    """Spearman's rank correlation of two lists of `B` numbers, ties with their mean rank; None if one is constant.

    Args:
        a: `B`, finite.
        b: `B`, finite.
        rounding: see `is_constant`.
    """
    if is_constant(a, rounding) or is_constant(b, rounding):
        return None
    return pearson(mean_ranks(a), mean_ranks(b))


def within_correlation(a: Tensor, b: Tensor, first: Tensor, second: Tensor, rounding: float = 1e-9) -> float | None:
    """Pearson's correlation of what is left of two lists without the means of two groupings.

    Args:
        a: `B`, finite.
        b: `B`, finite.
        first: `B` int64 from 0 up, the group of each row in one grouping.
        second: the same in the other.
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
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(event.numpy(), score.numpy())) if event.any() and not event.all() else None


def average_precision(score: Tensor, event: Tensor) -> float | None:
    """The precision at each event's score, averaged; None if there is no event.

    Rows of equal score are found together, so that their order doesn't count.

    Args:
        score: `B`, finite.
        event: `B` bool.
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(event.numpy(), score.numpy())) if event.any() else None


def roc_curve(score: Tensor, event: Tensor) -> tuple[Tensor, Tensor]:
    """The share of other rows and of events found as the threshold falls, from (0, 0) to (1, 1), float64.

    Args:
        score: `B`, finite.
        event: `B` bool, of both kinds.
    """
    from sklearn.metrics import roc_curve as curve

    false_alarms, hits, _ = curve(event.numpy(), score.numpy(), drop_intermediate=False)
    return torch.from_numpy(false_alarms), torch.from_numpy(hits)


def mean_ranks(x: Tensor) -> Tensor:
    """Ranks from 1 to `B`, float64; equal numbers share the mean of theirs."""
    from scipy.stats import rankdata

    return torch.from_numpy(rankdata(x.numpy()))


def is_constant(x: Tensor, rounding: float = 0.0) -> bool:
    """Says whether `B` numbers are too few or too equal for a correlation.

    Args:
        x: `B`, finite.
        rounding: numbers that differ by no more than this share of the largest count as equal, so that nothing is read
            into rounding: 0 takes them as they are, 1e-6 suits numbers that were computed in float32.
    """
    return len(x) < 2 or float(x.max() - x.min()) <= rounding * float(x.abs().max())
