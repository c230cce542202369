"""Rollout length, updates and share of real rows over training, and the size of the buffer that holds the rollouts.

Janner2019: "When to trust your model: model-based policy optimization" (MBPO; authors' code).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mbrl.errors import ConfigError


def check_schedule(schedule: Sequence[float]) -> tuple[float, float, int, int]:
    """`[start, end, k0, k1]` as numbers.

    Raises:
        ConfigError: if it isn't four numbers with start < end and whole lengths of at least 1.
    """
    if (
        len(schedule) != 4
        or not -math.inf < schedule[0] < schedule[1]
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
    return int(_linear(epoch, *check_schedule(schedule)))


def _linear(epoch: int, start: float, end: float, before: float, after: float) -> float:
    done = min(max((epoch - start) / (end - start), 0.0), 1.0)
    return before + done * (after - before)


def real_rows(epoch: int, ratio: float | Sequence[float], batch_size: int) -> int:
    """Real rows in a batch in an epoch: their share of it, cut to a whole number.

    Args:
        epoch: epochs since the warm-up, from 0.
        ratio: the share, or `[start, end, before, after]`: `before` up to epoch `start`, `after` from epoch `end`, linear in
            between.
        batch_size: rows in a batch.
    """
    share = _linear(epoch, *ratio) if isinstance(ratio, Sequence) else ratio
    return math.floor(share * batch_size + 1e-6)  # of 0.29 * 100 too, which is 28.999…


def fewest_real_rows(ratio: float | Sequence[float], batch_size: int) -> int:
    """The smallest number of real rows in a batch over all epochs; arguments as in `real_rows`."""
    shares = ratio[2:] if isinstance(ratio, Sequence) else [ratio]
    return min(real_rows(0, share, batch_size) for share in shares)


def check_real_ratio(ratio: float | Sequence[float]) -> None:
    """Refuses a schedule of the share of real rows that isn't one.

    Raises:
        ConfigError: if it isn't four numbers with start < end and shares from 0 to 1.
    """
    if isinstance(ratio, Sequence) and not (
        len(ratio) == 4 and -math.inf < ratio[0] < ratio[1] and all(0 <= share <= 1 for share in ratio[2:])
    ):
        raise ConfigError(
            "real_ratio: expected a share, or [first epoch, last epoch, share before, share after] with first < last and "
            f"shares from 0 to 1, got {list(ratio)}; [0, 100, 0.05, 0.5] rises from 5 % to half over the first 100 epochs."
        )


def check_update_schedule(schedule: int | Sequence[int]) -> None:
    """Refuses a schedule of the updates for each real step that isn't one.

    Raises:
        ConfigError: if it isn't four numbers with start < end and whole numbers of at least 0, not both 0.
    """
    if isinstance(schedule, Sequence) and not (
        len(schedule) == 4
        and -math.inf < schedule[0] < schedule[1]
        and all(each >= 0 and float(each).is_integer() for each in schedule[2:])
        and any(schedule[2:])
    ):
        raise ConfigError(
            "updates_per_step: expected a number, or [first epoch, last epoch, updates before, updates after] with first < "
            f"last and whole numbers of at least 0, not both 0, got {list(schedule)}; [0, 20, 5, 20] rises from 5 to 20."
        )


def updates_for_step(epoch: int, schedule: int | Sequence[int]) -> int:
    """Updates for each real step in an epoch, cut to a whole number.

    Args:
        epoch: epochs since the warm-up, from 0.
        schedule: as many in all of them, or `[start, end, before, after]`, as of `rollout_length`.
    """
    return math.floor(_linear(epoch, *schedule) + 1e-6) if isinstance(schedule, Sequence) else schedule


def rollout_capacity(length: int, rollouts_per_refit: int, refit_every: int, epoch_steps: int, retain_epochs: int) -> int:
    """Rows of the model buffer: `retain_epochs` epochs of rollouts of the present `length`, none of which ended early.

    Those of one refit always have room, also where refits are further apart.
    """
    kept = int(retain_epochs * length * rollouts_per_refit * epoch_steps / refit_every)
    return max(kept, length * rollouts_per_refit)
