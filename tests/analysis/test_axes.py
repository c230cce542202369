"""Labels that can be read, whatever range is drawn."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from mbrl.analysis.axes import log_scale, whole_numbers


def labels(values: list[float], *, x: bool = False) -> list[str]:
    figure = Figure()
    axes = figure.subplots()
    axes.plot(values, [1.0] * len(values)) if x else axes.plot(values)
    log_scale(axes, x=x)
    figure.canvas.draw()
    ticks = axes.get_xticklabels() if x else axes.get_yticklabels()
    low, high = axes.get_xlim() if x else axes.get_ylim()
    return [tick.get_text() for tick in ticks if low <= tick.get_position()[0 if x else 1] <= high]


@pytest.mark.parametrize("x", [False, True])
def test_few_decades_have_plain_numbers_enough(x: bool) -> None:
    assert labels([0.8, 5.0], x=x) == ["1", "1.5", "2", "3", "4", "5"]
    assert labels([0.8, 50.0], x=x) == ["1", "2", "5", "10", "20", "50"]


def test_many_decades_have_powers_of_ten() -> None:
    found = labels([1e-3, 1e6])
    assert found and all("10^" in text for text in found)


def test_steps_are_whole() -> None:
    ticks = whole_numbers().tick_values(0, 3)
    assert all(float(tick).is_integer() for tick in ticks) and len(ticks) >= 4
