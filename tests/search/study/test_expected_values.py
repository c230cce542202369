"""Expected values of objectives in their own units."""

from __future__ import annotations

import math

import pytest

from mbrl.search.study.expected_values import deviation, in_words, interval


def test_by_hand() -> None:
    assert interval(10.0, 2.0, log=False) == (8.0, 12.0) and interval(10.0, 2.0, log=False, times=2.0) == (6.0, 14.0)
    assert interval(10.0, math.log(2), log=True) == pytest.approx((5.0, 20.0))
    assert interval(10.0, math.log(2), log=True, times=2.0) == pytest.approx((2.5, 40.0))
    assert deviation(14.0, 10.0, 2.0, log=False) == 2.0
    assert deviation(40.0, 10.0, math.log(2), log=True) == pytest.approx(2.0)
    assert in_words(10.0, 2.0, log=False) == "10 ± 2"
    assert in_words(123.456, math.log(2), log=True, digits=4) == "123.5 (61.73 to 246.9)"
