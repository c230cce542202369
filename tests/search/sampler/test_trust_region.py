"""The side of the trust region is a function of the values seen, and the box one of the side."""

from __future__ import annotations

import pytest
import torch

from mbrl.search.sampler.trust_region import box, side

START = [1.0, 3.0, 2.0]


def after(values: list[float], columns: int = 2) -> float:
    return side(START + values, len(START), columns)


def test_sides_by_hand() -> None:
    assert after([]) == 0.8
    assert after([4.0, 5.0]) == 0.8
    assert after([4.0, 5.0, 6.0]) == 1.6  # three in a row
    assert after([4.0, 5.0, 6.0, 7.0, 8.0, 9.0]) == 1.6  # the cap
    assert after([4.0, 5.0, 0.0, 6.0]) == 0.8  # not in a row
    assert after([0.0] * 3) == 0.8
    assert after([0.0] * 4) == 0.4
    assert after([0.0] * 4, columns=11) == 0.8  # patience grows with the columns
    assert after([0.0] * 11, columns=11) == 0.4
    assert after([0.0] * 16) == 0.05
    assert after([0.0] * 20) == 0.8  # 0.025 is below the smallest: it starts over


def test_a_success_is_more_than_rounding() -> None:
    assert after([3.002, 3.004, 3.006]) == 0.8
    assert after([3.01, 3.02, 3.03]) == 1.6


def test_startup_counts_neither_way() -> None:
    assert side([1.0, 2.0, 3.0, 4.0], 4, 2) == 0.8
    assert side([0.0] * 8, 8, 2) == 0.8
    assert side([], 10, 2) == 0.8


def test_boxes_keep_their_volume_and_are_longer_where_little_changes() -> None:
    centre, active = torch.tensor([0.5, 0.5]).double(), torch.tensor([True, True])
    low, high = box(centre, active, torch.tensor([4.0, 1.0]).double(), 0.2)
    assert (high - low).tolist() == pytest.approx([0.4, 0.1])
    low, high = box(torch.tensor([0.0, 0.9]).double(), active, torch.ones(2).double(), 0.4)
    assert low.tolist() == pytest.approx([0.0, 0.7]) and high.tolist() == pytest.approx([0.2, 1.0])


def test_what_the_centre_lacks_may_be_anything() -> None:
    low, high = box(torch.tensor([0.5, 0.5]).double(), torch.tensor([True, False]), torch.ones(2).double(), 0.2)
    assert low.tolist() == pytest.approx([0.4, 0.0]) and high.tolist() == pytest.approx([0.6, 1.0])
