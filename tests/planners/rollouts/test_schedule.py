"""Rollout lengths and buffer sizes against the values of the authors' code (Janner2019)."""

from __future__ import annotations

import pytest

from mbrl.errors import ConfigError
from mbrl.planners.rollouts.schedule import rollout_capacity, rollout_length

HOPPER = (20, 150, 1, 15)


@pytest.mark.check("coplanner-25")
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (HOPPER, {0: 1, 20: 1, 29: 1, 30: 2, 75: 6, 100: 9, 125: 12, 150: 15, 400: 15}),
        ((20, 100, 1, 15), {29: 2, 60: 8, 100: 15}),
        ((20, 100, 1, 25), {30: 4, 60: 13, 100: 25}),
        ((20, 300, 1, 25), {32: 2, 100: 7, 300: 25}),
        ((20, 150, 1, 4), {63: 1, 64: 2, 106: 2, 107: 3, 149: 3, 150: 4}),
        ((1, 15, 1, 1), {0: 1, 7: 1, 80: 1}),
    ],
)
def test_known_schedules(schedule: tuple[int, ...], expected: dict[int, int]) -> None:
    assert {epoch: rollout_length(epoch, schedule) for epoch in expected} == expected


@pytest.mark.check("coplanner-25")
def test_hopper_changes_at_these_epochs() -> None:
    lengths = [rollout_length(epoch, HOPPER) for epoch in range(160)]
    changes = [epoch for epoch in range(1, 160) if lengths[epoch] != lengths[epoch - 1]]
    assert changes == [30, 39, 48, 58, 67, 76, 85, 95, 104, 113, 123, 132, 141, 150]


@pytest.mark.check("coplanner-26")
@pytest.mark.parametrize(
    ("length", "rollouts", "refit_every", "retain", "rows"),
    [(1, 100_000, 250, 1, 400_000), (15, 100_000, 250, 1, 6_000_000), (25, 100_000, 1000, 5, 12_500_000)],
)
def test_capacity(length: int, rollouts: int, refit_every: int, retain: int, rows: int) -> None:
    assert rollout_capacity(length, rollouts, refit_every, 1000, retain) == rows


@pytest.mark.parametrize(
    "schedule", [(20, 150, 1), (150, 20, 1, 15), (20, 150, 0, 15), (20, 150, 1.5, 2), (20, 150, 1, float("nan"))]
)
def test_bad_schedule_is_refused(schedule: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"rollout_length: expected .*first < last"):
        rollout_length(0, schedule)
