"""The edge of reach where it can be computed: a chain of integers, rollouts of five steps from 0, and exact backups.

s' = s + a, a ∈ {−1, 0, 1}, r = −0.1 |s'|. States up to ±4 are regressed; ±5 are targets and never inputs, so that their
values stay at whatever a critic began with, c ("the void").
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

GAMMA, LENGTH = 0.99, 5
INSIDE = range(-LENGTH + 1, LENGTH)  # s: −4 … 4
STATES = torch.arange(-LENGTH, LENGTH + 1)
EXIT_COST = sum(0.1 * j * GAMMA ** (j - 1) for j in range(1, LENGTH + 1))
CRITICAL = EXIT_COST / GAMMA**LENGTH
TRUE_EDGE = -0.9900499  # V*(5): straight home


def converged(void: Tensor, shared: bool = True) -> Tensor:
    """Values of all members after exact backups, `N x 11`; `void` (`N`): each member's value beyond reach.

    Args:
        void: c of each member.
        shared: whether all regress on the smallest target, or each on its own.
    """
    values = torch.zeros(len(void), len(STATES), dtype=torch.float64)
    values[:, [0, -1]] = void[:, None].double()
    for _ in range(400):
        seen = values.amin(0, keepdim=True).expand_as(values) if shared else values
        reward = -0.1 * STATES.abs().double()
        worth = reward + GAMMA * seen  # N x 11, of arriving at each
        best = torch.stack((worth[:, :-2], worth[:, 1:-1], worth[:, 2:])).amax(0)
        values = torch.cat((values[:, :1], best, values[:, -1:]), 1)
    return values


def value(c: float, state: int) -> float:
    return float(converged(torch.tensor([c]))[0, state + LENGTH])


def leaves(values: Tensor) -> bool:
    """Whether the policy that is greedy in the smallest value walks out from 0."""
    worth = -0.1 * STATES.abs() + GAMMA * values.amin(0)
    return bool(worth[LENGTH + 1] > worth[LENGTH])


@pytest.mark.check("ravl-9.2")
def test_the_edge_is_what_rollouts_reach_at_their_last_step_alone() -> None:
    inputs, reached = {0}, {0}
    for _ in range(LENGTH):
        inputs |= reached
        reached = {state + action for state in reached for action in (-1, 0, 1)}
    assert inputs == set(INSIDE) and reached - inputs == {-5, 5}


@pytest.mark.check("ravl-9.2")
def test_the_start_is_left_for_the_void_beyond_a_critical_value() -> None:
    assert pytest.approx(1.460447605, abs=1e-9) == EXIT_COST
    assert pytest.approx(0.9509900499, abs=1e-10) == GAMMA**LENGTH
    assert pytest.approx(1.5357128134, abs=1e-9) == CRITICAL
    for c, expected in ((0.0, 0.0), (1.5, 0.0), (1.6, 0.0611), (10.0, 8.0495), (100.0, 93.6386)):
        assert value(c, 0) == pytest.approx(expected, abs=5e-5)
        assert value(c, 0) == pytest.approx(max(0.0, -EXIT_COST + GAMMA**LENGTH * c), abs=1e-6)
        assert leaves(converged(torch.tensor([c]))) == (c > CRITICAL)


@pytest.mark.check("ravl-9.2")
def test_the_error_is_there_before_the_policy_shows_it() -> None:
    assert value(1.5, 4) == pytest.approx(0.985, abs=1e-6)
    assert value(1.5, 4) + 0.59601 == pytest.approx(1.58101, abs=1e-5)
    for state in INSIDE[LENGTH - 1 :]:  # what walking straight out is worth, by t = s steps from 0
        left = LENGTH - state
        out = sum(-0.1 * (state + j) * GAMMA ** (j - 1) for j in range(1, left + 1))
        off = (out + GAMMA**left * 1.5) - (out + GAMMA**left * TRUE_EDGE)
        assert off == pytest.approx(GAMMA**left * (1.5 - TRUE_EDGE))
        if state == 4:
            assert off == pytest.approx(2.46515, abs=1e-5)


@pytest.mark.check("ravl-9.2")
def test_patched_with_the_true_value_at_the_edge_all_values_are_true() -> None:
    found = converged(torch.tensor([TRUE_EDGE], dtype=torch.float64))[0]
    for state in INSIDE:
        home = sum(-0.1 * (abs(state) - j) * GAMMA ** (j - 1) for j in range(1, abs(state) + 1))
        assert float(found[state + LENGTH]) == pytest.approx(home, abs=1e-6)
    assert float(found[LENGTH]) == 0 and float(found[LENGTH + 4]) == pytest.approx(-0.59601, abs=1e-5)


@pytest.mark.check("ravl-9.2")
def test_a_shared_minimum_helps_if_it_lies_below_the_critical_value() -> None:
    stays = converged(torch.tensor([-10.0, 10.0]))
    torch.testing.assert_close(stays[:, LENGTH], torch.zeros(2, dtype=torch.float64))
    assert not leaves(stays)
    apart = converged(torch.tensor([-10.0, 10.0]), shared=False)
    assert apart[:, LENGTH].tolist() == pytest.approx([0.0, 8.04945], abs=1e-5)
    both = converged(torch.tensor([2.0, 10.0]))
    assert both[:, LENGTH].tolist() == pytest.approx([0.44153, 0.44153], abs=1e-5) and leaves(both)


@pytest.mark.check("ravl-9.2")
def test_many_members_leave_seldom_since_their_least_is_low() -> None:
    share = (10 - CRITICAL) / 20
    chances = {1: 0.423, 2: 0.179, 10: 1.84e-4, 50: 2.1e-19}
    for members, expected in chances.items():
        assert share**members == pytest.approx(expected, rel=1e-2)
    c = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 20 - 10
    left = (c.amin(1) > CRITICAL).double().mean()
    assert float(left) == pytest.approx(chances[2], abs=0.03)
    assert float(c.amin(1).mean()) == pytest.approx(-10 * (2 - 1) / (2 + 1), abs=0.3)
    for pair in c[:20]:
        assert leaves(converged(pair)) == bool(pair.amin() > CRITICAL)


@pytest.mark.check("ravl-9.2")
def test_members_disagree_at_the_edge_and_nowhere_within_reach() -> None:
    c = torch.tensor([-3.0, 0.0, 4.0], dtype=torch.float64)
    spread = converged(c).std(0)
    torch.testing.assert_close(spread[1:-1], torch.zeros(9, dtype=torch.float64))
    torch.testing.assert_close(spread[[0, -1]], c.std().expand(2))
