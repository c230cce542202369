"""Rank statistics agree with independent ones and are undefined where nothing is there to rank."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from mbrl.analysis.correlations import average_precision, is_constant, mean_ranks, pearson, roc_auc, roc_curve, spearman
from mbrl.data import make_generator


def numbers(case: str, number: int = 200) -> tuple[Tensor, Tensor]:
    generator = make_generator("cpu", "rank", case)
    a = torch.randn(number, generator=generator)
    b = 0.5 * a + torch.randn(number, generator=generator)
    if case == "ties":
        return (a * 2).round(), (b * 2).round()
    if case == "huge":
        return a.double() * 1e200, b.double() * 1e-200
    if case == "skewed":
        return a.exp().pow(4), b.exp()
    return a, b


def precision_at_events(score: Tensor, event: Tensor) -> float:
    """By the definition, one event after the other."""
    precisions = [float(event[score >= threshold].double().mean()) for threshold in score[event]]
    return sum(precisions) / len(precisions)


@pytest.mark.parametrize("case", ["plain", "ties", "huge", "skewed"])
def test_correlations_agree_with_scipy(case: str) -> None:
    a, b = numbers(case)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    scale = 1e-200 if case == "huge" else 1.0  # whose squares scipy can hold
    assert pearson(a, b) == pytest.approx(stats.pearsonr(a.double() * scale, b.double() / scale).statistic, abs=1e-9)


@pytest.mark.parametrize("case", ["plain", "ties"])
def test_detection_agrees_with_mann_whitney_and_the_definitions(case: str) -> None:
    score, other = numbers(case)
    event = other > 0.6
    auc = roc_auc(score, event)
    events, rest = score[event], score[~event]
    assert auc == pytest.approx(stats.mannwhitneyu(events, rest).statistic / (len(events) * len(rest)), abs=1e-12)
    wins = (events[:, None] > rest).double() + 0.5 * (events[:, None] == rest)
    assert auc == pytest.approx(float(wins.mean()), abs=1e-12)
    assert average_precision(score, event) == pytest.approx(precision_at_events(score, event), abs=1e-12)
    alarms, hits = roc_curve(score, event)
    assert float(torch.trapezoid(hits, alarms)) == pytest.approx(auc, abs=1e-12)
    assert (alarms[0], hits[0], alarms[-1], hits[-1]) == (0, 0, 1, 1)


def test_small_cases_by_hand() -> None:
    assert mean_ranks(torch.tensor([3.0, 1.0, 2.0, 2.0])).tolist() == [4.0, 1.0, 2.5, 2.5]
    score = torch.tensor([0.1, 0.4, 0.35, 0.8])
    event = torch.tensor([False, False, True, True])
    assert roc_auc(score, event) == 0.75  # of the four pairs only (0.4, 0.35) is the wrong way round
    assert average_precision(score, event) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert roc_auc(torch.ones(4), event) == 0.5
    assert average_precision(torch.ones(4), event) == 0.5  # the share of events


@pytest.mark.check("offline-9.3")
def test_the_statistics_of_calibration() -> None:
    """One gross error among small ones: ranks see it, the linear correlation sees it dimly."""
    error = torch.tensor([0.0, 1.0, 2.0, 3.0, 100.0])
    score = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    event = error > 50
    assert spearman(score, error) == pytest.approx(1.0, abs=1e-12)
    assert pearson(score, error) == pytest.approx(0.724820, abs=1e-6)
    assert roc_auc(score, event) == 1.0
    assert roc_auc(-score, event) == 0.0
    stretched = score.exp()
    assert spearman(stretched, error) == pytest.approx(1.0, abs=1e-12)
    assert roc_auc(stretched, event) == 1.0
    assert pearson(stretched, error) != pytest.approx(0.724820, abs=1e-2)
    assert spearman(torch.ones(5), error) is None
    assert pearson(torch.ones(5), error) is None


def test_nothing_to_rank_is_undefined() -> None:
    one, two = torch.tensor([1.0]), torch.tensor([1.0, 2.0])
    assert pearson(one, one) is None and spearman(one, one) is None
    assert pearson(two, torch.zeros(2)) is None and spearman(torch.zeros(2), two) is None
    never = torch.tensor([False, False])
    assert roc_auc(two, never) is None and roc_auc(two, ~never) is None
    assert average_precision(two, never) is None


def test_rounding_is_not_ranked_where_asked() -> None:
    equal = torch.tensor([1.0, 1.0 + 1e-7, 1.0 - 1e-7])
    assert is_constant(equal, 1e-6) and not is_constant(equal)
    ranked = torch.tensor([1.0, 2.0, 3.0])
    assert spearman(equal, ranked, 1e-6) is None and pearson(equal, ranked, 1e-6) is None
    assert spearman(equal, ranked) is not None
