"""A penalty's weight that is tuned towards a mean penalty."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mbrl.errors import ConfigError
from mbrl.planners import PenaltyWeight
from mbrl.testing import NoScalarReadback

HALF = torch.full((8,), 0.5)


def tuned(weight: float = 1.0, target: float = 1.5, lr: float = 0.01) -> PenaltyWeight:
    return PenaltyWeight("Test", weight, target, lr)


def present(weight: PenaltyWeight) -> float:
    return weight.state_dict()["log_weight"].exp().item()


@pytest.mark.check("offline-9.2")
@pytest.mark.parametrize("start", [0.5, 20.0])
def test_a_constant_uncertainty_of_one_half_ends_at_a_weight_of_3(start: float) -> None:
    weight = tuned(start)
    for _ in range(2000):
        weight.times(HALF)
    assert present(weight) == pytest.approx(3.0, rel=1e-3)
    penalty, _ = weight.times(HALF)
    assert penalty.tolist() == pytest.approx([1.5] * 8, rel=1e-3)


@pytest.mark.check("offline-9.2")
def test_the_gradient_of_log_weight_is_the_mean_penalty_less_the_target() -> None:
    """Against Adam on the loss itself: its steps follow from the gradients, and from nothing else."""
    weight, log_weight = tuned(2.0, 1.5, 0.1), torch.tensor(2.0, dtype=torch.float64).log().requires_grad_()
    adam = torch.optim.Adam([log_weight], lr=0.1)
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        unsure = torch.rand(16, generator=draw, dtype=torch.float64) * 3
        penalty, used = weight.times(unsure)
        constant = (log_weight.exp() * unsure).detach()
        assert used is not None and torch.allclose(penalty, constant)
        adam.zero_grad()
        (log_weight * (constant - 1.5)).mean().backward()
        assert log_weight.grad is not None and torch.allclose(log_weight.grad, constant.mean() - 1.5)
        adam.step()
    assert present(weight) == pytest.approx(log_weight.exp().item(), rel=1e-9)


def test_the_penalty_takes_the_weight_from_before_its_step() -> None:
    weight = tuned(2.0)
    penalty, used = weight.times(HALF)
    assert used is not None and used.item() == pytest.approx(2.0)
    assert penalty.tolist() == pytest.approx([1.0] * 8)  # 2 · ½, less than the target
    assert present(weight) == pytest.approx(2.0 * torch.tensor(0.01).exp().item(), rel=1e-6)  # Adam's first step is lr


def test_rows_that_ended_and_numbers_that_aren_t_finite_do_not_count() -> None:
    few, all_ = tuned(), tuned()
    wild = torch.tensor([0.5, 100.0, torch.nan, torch.inf, 0.5])
    penalty, _ = few.times(wild, torch.tensor([True, False, True, True, True]))
    all_.times(HALF)
    assert present(few) == present(all_) and torch.isnan(penalty[2]) and penalty[1] == 100.0
    before = few.state_dict()
    few.times(wild, torch.zeros(5, dtype=torch.bool))
    assert all(torch.equal(few.state_dict()[name], value) for name, value in before.items())


def test_a_fixed_weight_has_nothing_to_remember() -> None:
    weight = PenaltyWeight("Test", 3.0, None, 0.01)
    penalty, used = weight.times(HALF)
    assert penalty.tolist() == [1.5] * 8 and used is None and weight.state_dict() == {} and not weight.tuned


def test_it_goes_on_where_its_state_was_taken_and_begins_anew() -> None:
    first, second = tuned(), tuned()
    for _ in range(3):
        first.times(HALF)
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    first.times(HALF)
    second.times(HALF)
    assert present(first) == present(second)
    first.reset()
    first.times(HALF)
    fresh = tuned()
    fresh.times(HALF)
    assert present(first) == present(fresh) != present(second)


def test_it_reads_nothing_back() -> None:
    weight, rows = tuned(), torch.ones(8, dtype=torch.bool)
    with NoScalarReadback():
        weight.times(HALF, rows)
        weight.times(HALF)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1.0, None, 0.01), r"PenaltyWeight\(weight=…\): expected a finite number of at least 0, got -1.0"),
        ((float("nan"), None, 0.01), "expected a finite number of at least 0, got nan"),
        ((0.0, 1.5, 0.01), r"Test\(weight=…\): expected more than 0 beside a target"),
        ((1.0, 0.0, 0.01), r"PenaltyWeight\(target=…\): expected a finite number above 0, or None, got 0"),
        ((1.0, 1.5, 0.0), r"PenaltyWeight\(lr=…\): expected a finite number above 0, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PenaltyWeight("Test", *arguments)
