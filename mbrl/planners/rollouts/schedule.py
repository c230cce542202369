"""Rollout length over training, and the size of the buffer that holds the rollouts (Janner2019, authors' code)."""

from __future__ import annotations

from collections.abc import Sequence

from mbrl.errors import ConfigError


def check_schedule(schedule: Sequence[float]) -> tuple[float, float, int, int]:
    """`[start, end, k0, k1]` as numbers.

    Raises:
        ConfigError: if it isn't four numbers with start < end and whole lengths of at least 1.
    """
    if (
        len(schedule) != 4
        or not schedule[0] < schedule[1]
        or not all(length >= 1 and float(length).is_integer() for length in schedule[2:])
    ):
        raise ConfigError(
            "rollout_length: expected [first epoch, last epoch, length before, length after] with first < last and "
            f"whole lengths of at least 1, got {list(schedule)}; [20, 150, 1, 1] keeps one step throughout."
        )
    return float(schedule[0]), float(schedule[1]), int(schedule[2]), int(schedule[3])


def rollout_length(epoch: int, schedule: Sequence[float]) -> int:
    """The rollout length `k` in an epoch: linear from `k0` to `k1` between two epochs, cut to a whole number.

    Args:
        epoch: epochs since the warm-up, from 0.
        schedule: `[start, end, k0, k1]`; `k` is `k0` up to epoch `start` and `k1` from epoch `end`.
    """
    start, end, before, after = check_schedule(schedule)
    share = min(max((epoch - start) / (end - start), 0.0), 1.0)
    return int(before + share * (after - before))


def rollout_capacity(length: int, rollouts_per_refit: int, refit_every: int, epoch_steps: int, retain_epochs: int) -> int:
    """Rows of the model buffer: `retain_epochs` epochs of rollouts of the present `length`, none of which ended early.

    Those of one refit always have room, also where refits are further apart.
    """
    kept = int(retain_epochs * length * rollouts_per_refit * epoch_steps / refit_every)
    return max(kept, length * rollouts_per_refit)
