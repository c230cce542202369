"""Choosing among policies by real episodes: the known answers, and the flaws of the published protocol."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mbrl.analysis import BanditSelection, select_by_bandit
from mbrl.analysis.selection.bandit import _pulled
from mbrl.data import make_generator
from mbrl.errors import DataError

ARMS = [[float(mean)] for mean in range(10, 90, 10)]


def select(returns: list[list[float]], **options: object) -> BanditSelection:
    return select_by_bandit(returns, generator=make_generator("cpu", 0), **{"repeats": 20, "pulls": 30, **options})  # type: ignore[arg-type]


@pytest.mark.check("offline-9.7")
def test_the_best_of_deterministic_policies_is_known_after_one_pull_each() -> None:
    found = select(ARMS)
    assert bool((found.chosen[:, 7:] == 80).all())
    assert bool((found.chosen[:, 1:] >= found.chosen[:, :-1]).all())  # no policy is pulled twice before all are once


@pytest.mark.check("offline-9.7")
def test_equal_policies_and_a_single_one_give_their_mean_throughout() -> None:
    assert bool((select([[5.0], [5.0], [5.0]]).chosen == 5).all())
    assert bool((select([[1.0, 2.0, 6.0]]).chosen == 3).all())


@pytest.mark.check("offline-9.7")
def test_the_first_pull_is_a_policy_at_random() -> None:
    first = select(ARMS, repeats=4000, pulls=1).chosen
    assert float(first.mean()) == pytest.approx(45.0, abs=1.5)


def test_returns_are_scaled_so_that_the_bonus_means_the_same_in_any_units() -> None:
    noise = make_generator("cpu", 1)
    returns = [(torch.randn(50, generator=noise) + mean).tolist() for mean in range(4)]
    in_units = select(returns).chosen
    scaled = select([[1e4 * each - 3e5 for each in arm] for arm in returns]).chosen
    torch.testing.assert_close(scaled, 1e4 * in_units - 3e5)
    arms = [torch.tensor(arm, dtype=torch.float64) for arm in ARMS]
    chosen = _pulled(arms, [0.5] * 200, 10.0, 70.0, 2.0)
    assert chosen.shape == (200,) and int(chosen[-1]) == 7


def told(arms: list[Tensor], luck: list[float], bonus: float) -> list[int]:
    """The best mean's arm after each pull, by the rule as it is written."""
    seen: list[list[float]] = [[] for _ in arms]
    best = []
    for t, draw in enumerate(luck, 1):
        bound = [sum(one) / len(one) + math.sqrt(bonus * math.log(t) / len(one)) if one else math.inf for one in seen]
        pulled = bound.index(max(bound))
        seen[pulled].append(arms[pulled][int(draw * len(arms[pulled]))].item())
        mean = [sum(one) / len(one) if one else -math.inf for one in seen]
        best.append(mean.index(max(mean)))
    return best


@pytest.mark.parametrize("bonus", [0.0, 0.5, 2.0])
def test_pulls_are_those_of_the_upper_confidence_bound(bonus: float) -> None:
    """Unlucky once, the better arm is pulled again for its bonus alone: never without one."""
    arms = [torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64), torch.tensor([0.4, 0.40625], dtype=torch.float64)]
    luck = [0.0, *torch.rand(80, generator=make_generator("cpu", 2), dtype=torch.float64).tolist()]
    found = _pulled(arms, luck, 0.0, 1.0, bonus).tolist()
    assert found == told(arms, luck, bonus)
    assert (found[-1] == 0) == (bonus > 0)


def test_a_policy_without_a_pull_is_never_reported() -> None:
    found = select([[-80.0], [-70.0], [-60.0]], pulls=1, repeats=300)
    assert float(found.chosen.mean()) == pytest.approx(-70, abs=2)  # a mean of 0 would make an unpulled one the best


def test_too_few_policies_and_no_episodes_are_refused() -> None:
    with pytest.raises(DataError, match="expected 9 policies at least, got 8; give more, or draw fewer"):
        select(ARMS, policies=9)
    with pytest.raises(DataError, match="got \\[\\] of policy 1"):
        select([[1.0], []])
    with pytest.raises(DataError, match="got \\[nan\\] of policy 0"):
        select([[float("nan")], [1.0]])
    with pytest.raises(DataError, match="expected 1 policies"):
        select([])


def test_it_says_what_it_found() -> None:
    found = select(ARMS, policies=4)
    said = found.summary()
    assert said["return_of_the_best"] == 80 and said["drawn"] == 4 and said["return_of_a_policy_at_random"] == 45
    assert len(found.table()["pulls"]) == 30 and "the best of 8 80" in found.in_short()[0]
    assert found.plot().axes
