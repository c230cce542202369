"""The time that a search will take, guessed from the trials that ended, or bounded by its limits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from optuna.trial import FrozenTrial

from mbrl.search.study.outcome import spent


def time_left(most: int | None, trials: Sequence[FrozenTrial], workers: int, running: int) -> str | None:
    """Guesses the time left from the trials that ended; None where there is nothing to guess from.

    Args:
        most: trials of the budget, None without one.
        trials: of the study.
        workers: at work.
        running: trials that run, which are taken for half done.
    """
    times = [float(trial.user_attrs["wall_s"]) for trial in trials if trial.user_attrs.get("wall_s")]
    if most is None or not times or workers == 0:
        return None
    to_do = max(0, most - spent(trials)) + running / 2
    return str(timedelta(seconds=round(to_do * sum(times) / len(times) / workers)))


def expected_time(
    most: int | None, trials: Sequence[FrozenTrial], workers: int, hours: float | None, minutes: float | None
) -> str:
    """Says in words how long a search that begins, or goes on, will take.

    Args:
        most: trials of the budget, None without one.
        trials: of the study so far.
        workers: at work.
        hours: after which no trial begins, None without such a limit.
        minutes: that a run may take, None without such a limit.
    """
    left = time_left(most, trials, workers, 0)
    end = "" if hours is None else f", no trial begins after {hours:g} h"
    if left is not None:
        return f"about {left} to go, if trials go on to take as long{end}"
    limit = "" if minutes is None else f", and none takes longer than {minutes:g} min"
    return f"known once a trial has ended{limit}{end}"
