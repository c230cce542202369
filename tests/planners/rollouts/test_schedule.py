"""Rollout lengths and buffer sizes against the values of the authors' code (Janner2019)."""

from __future__ import annotations

from typing import Any

import pytest

from mbrl.errors import ConfigError
from mbrl.planners.rollouts.schedule import (
    check_real_ratio,
    check_update_schedule,
    fewest_real_rows,
    real_rows,
    rollout_capacity,
    rollout_length,
    updates_for_step,
)

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
    "schedule",
    [
        (20, 150, 1),
        (150, 20, 1, 15),
        (20, 150, 0, 15),
        (20, 150, 1.5, 2),
        (20, 150, 1, float("nan")),
        (float("-inf"), 5, 1, 2),
    ],
)
def test_bad_schedule_is_refused(schedule: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"rollout_length: expected .*first < last"):
        rollout_length(0, schedule)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (0.29, {0: 29, 50: 29}),
        ([10, 30, 0.05, 0.45], {0: 5, 10: 5, 11: 7, 20: 25, 29: 43, 30: 45, 31: 45}),
        ([0, 4, 1, 0.0], {0: 100, 1: 75, 2: 50, 3: 25, 4: 0, 9: 0}),
        ((0, 3, 0.0, 0.1), {0: 0, 1: 3, 2: 6, 3: 10}),  # cut to whole rows
        ([5, 6, 0.57, 0.57], {0: 57, 5: 57, 6: 57}),
    ],
)
def test_real_rows_follow_their_schedule(ratio: Any, expected: dict[int, int]) -> None:
    assert {epoch: real_rows(epoch, ratio, 100) for epoch in expected} == expected
    assert fewest_real_rows(ratio, 100) == min(expected.values())


@pytest.mark.parametrize(
    "ratio",
    [
        [0, 1, 0.5],
        [3, 3, 0, 1],
        [4, 3, 0, 1],
        [0, 1, -0.1, 1],
        [0, 1, 0, 1.1],
        [0.05, 0.5, 0, 100],
        [],
        [float("-inf"), 5, 0, 1],
    ],
)
def test_what_is_no_schedule_of_shares_is_refused(ratio: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"real_ratio: expected a share, or \[first epoch, last epoch, share before"):
        check_real_ratio(ratio)


@pytest.mark.check("vagram-K18")
def test_the_ramp_of_vagrams_code_is_a_schedule_that_begins_an_epoch_early() -> None:
    """It takes model rows with p(epoch + 1), linear from 0 to 0.95 over 20 epochs; ours is asked at the epoch itself."""
    early, rows = [-1.0, 19.0, 1.0, 0.05], 100_000
    check_real_ratio(early)
    share = {epoch: 1 - real_rows(epoch, early, rows) / rows for epoch in (0, 9, 19, 40)}
    assert share == pytest.approx({0: 0.0475, 9: 0.475, 19: 0.95, 40: 0.95})
    same_numbers = {epoch: 1 - real_rows(epoch, [0.0, 20.0, 1.0, 0.05], rows) / rows for epoch in (0, 9, 19, 20)}
    assert same_numbers == pytest.approx({0: 0.0, 9: 0.4275, 19: 0.9025, 20: 0.95})


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (7, {0: 7, 100: 7}),
        ([0, 3, 5, 20], {0: 5, 1: 10, 2: 15, 3: 20, 9: 20}),
        ([2, 4, 20, 1], {0: 20, 2: 20, 3: 10, 4: 1, 5: 1}),
        ([0, 10, 0, 29], {epoch: int(2.9 * epoch) for epoch in (0, 1, 5)} | {10: 29}),
    ],
)
def test_updates_follow_their_schedule(schedule: Any, expected: dict[int, int]) -> None:
    check_update_schedule(schedule)
    assert {epoch: updates_for_step(epoch, schedule) for epoch in expected} == expected


@pytest.mark.parametrize("schedule", [[0, 1, 5], [3, 3, 1, 2], [0, 1, -1, 2], [0, 1, 1, 2.5], [0, 1, 0, 0], []])
def test_what_is_no_schedule_of_updates_is_refused(schedule: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"updates_per_step: expected a number, or \[first epoch, last epoch, updates"):
        check_update_schedule(schedule)  # type: ignore[arg-type]
