"""How work grows with its size: the ratio, and that every row of the benchmark runs."""

from __future__ import annotations

import pytest

from benchmarks.speed.growth import GROWTHS, Growth, growth_rows, show_growth


class Clock:
    """Time that passes when somebody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


def test_the_ratio_is_that_of_the_double_size(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    shapes = {"constant": lambda n: 0.5, "linear": lambda n: 0.1 * n, "square": lambda n: 0.1 * n**2}

    def growth(name: str) -> Growth:
        return Growth("rows", name, 3, 1, lambda n: lambda: clock.work(shapes[name](n)))

    rows = growth_rows(5, 2.0, clock, [growth(name) for name in shapes])
    assert [row["doubled"] for row in rows] == pytest.approx([1.0, 2.0, 4.0])
    assert [row["ms"] for row in rows] == pytest.approx([500.0, 300.0, 900.0])
    show_growth(rows)
    assert "square" in capsys.readouterr().out


@pytest.mark.parametrize("growth", GROWTHS, ids=lambda growth: f"{growth.grows}: {growth.work}")
def test_every_row_runs_at_a_small_size(growth: Growth) -> None:
    growth.make(growth.small)()


def test_what_a_library_grows_with_has_a_row() -> None:
    assert {growth.grows for growth in GROWTHS} == {"members", "rows", "horizon", "environments", "trials"}
