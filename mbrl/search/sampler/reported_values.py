"""Values that trials reported before their end, as further rows of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from optuna.trial import FrozenTrial, TrialState
from torch import Tensor

# Each report is a row, and a suggestion's time grows with the cube of these. Of a pruned trial the last ones say most. A
# whole run shows what a report says of the end, at about where others are pruned: with its last reports, which lie next to
# its value, pruned runs of the benchmark's `rlmix-curves` were predicted worse (rms error 6.9 against 5.5, bias 2.0 against
# 0.9, mean of 6 random searches of 400 steps).
LAST, MARKS = 3, (1 / 3, 2 / 3)


@dataclass(frozen=True)
class Reports:
    """Reported values, `R` of them, as further rows of a model.

    Attributes:
        of: row of the trial that each belongs to, `R`.
        left: share of the whole run that was still to come, 1 − s, `R`.
        y: as the trials' values, larger is better, `R x 1`.
        noise: variance of `y`, that of a single run, `R x 1`; None where it must be inferred.
    """

    of: Tensor
    left: Tensor
    y: Tensor
    noise: Tensor | None

    def __len__(self) -> int:
        return len(self.of)

    def at(self, index: Tensor) -> Reports | None:
        """Keeps the reports of some of the trials, whose rows are then those of `index`; None if these made none."""
        places = {int(old): new for new, old in enumerate(index)}
        kept = torch.tensor([int(old) in places for old in self.of], dtype=torch.bool)
        if not kept.any():
            return None
        of = torch.tensor([places[int(old)] for old in self.of[kept]], dtype=torch.long)
        return Reports(of, self.left[kept], self.y[kept], None if self.noise is None else self.noise[kept])


def reported(trial: FrozenTrial, log: bool) -> list[tuple[int, float]]:
    """Lists the usable reports of a trial, (step, value), in order of steps."""
    return [(step, value) for step, value in sorted(trial.intermediate_values.items()) if is_usable(value, log)]


def is_usable(value: Any, log: bool) -> bool:
    """Tells whether a model can take a value, or its logarithm; the square of one beyond 1e100 is no number."""
    return abs(value) <= 1e100 and (value > 0 or not log)


def whole_length(trials: Sequence[FrozenTrial]) -> int:
    """Finds the largest step that any of the trials reported; 0 if none did."""
    return max((step for trial in trials for step in trial.intermediate_values), default=0)


def read_reports(
    trials: Sequence[FrozenTrial], failed: Tensor, length: int, sign: float, log: bool, noise: Tensor | None
) -> Reports | None:
    """Reads reports: the last three of pruned trials, of completed ones those nearest to a third and two thirds of a run.

    A completed trial's report at the end of the whole run is left out: its value says the same of the same run, and twice
    would count as two runs. A failed trial's all are: its curve looks like a good one's until it fails.

    Args:
        trials: finished ones.
        failed: whether each of them failed.
        length: steps of a whole run.
        sign: −1 if small values are good.
        log: whether the model takes their logarithms.
        noise: variance of a single run of each trial.

    Returns:
        The reports, in order of their trials and steps; None if there are none.
    """
    of: list[int] = []
    left: list[float] = []
    values: list[float] = []
    for row, trial in enumerate(trials):
        if failed[row]:
            continue
        found = [(1.0 - step / length if length > 0 else 0.0, value) for step, value in reported(trial, log)]
        for still, value in found[-LAST:] if trial.state == TrialState.PRUNED else _at_marks(found):
            of.append(row)
            left.append(still)
            values.append(sign * (math.log(value) if log else value))
    if not of:
        return None
    rows = torch.tensor(of, dtype=torch.long)
    y = torch.tensor(values, dtype=torch.float64)[:, None]
    return Reports(rows, torch.tensor(left, dtype=torch.float64), y, None if noise is None else noise[rows])


def _at_marks(found: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The pairs (share left, value) nearest to the marks, each once."""
    before = [pair for pair in found if pair[0] > 0]
    if not before:
        return []
    nearest = {min(range(len(before)), key=lambda i: abs(1.0 - before[i][0] - mark)) for mark in MARKS}
    return [before[i] for i in sorted(nearest)]
