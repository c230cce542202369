"""The planner of a report in real environments: what its plans bring, and the rows that it collects on the way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mbrl.analysis.model_error.plan_outcome import plan_outcome
from mbrl.analysis.model_report.subject import Subject
from mbrl.analysis.result import Result, Skipped
from mbrl.data import Transitions
from mbrl.envs import VectorExperience
from mbrl.errors import UnsupportedError
from mbrl.planners import MakesPlans


def recorded_outcome(of: Subject, generator: torch.Generator, *, decisions: int, environments: int) -> Result | Skipped:
    """Compares what plans promise with what they bring, and keeps the planner's steps as `of.policy_rows`.

    Args:
        of: with a planner.
        generator: draws the episodes' starts, and whatever the planner and its model draw.
        decisions: in each environment, unless the subject says another number.
        environments: `N`, for a planner that follows a policy; one that plans is slow and acts in one.

    Raises:
        UnsupportedError: without a planner.
        MbrlError: if the environment can't be made, or the planner can't act in it.
    """
    if of.planner is None:
        raise UnsupportedError("the checkpoint holds a model alone, without a planner or a policy.")
    plans = isinstance(of.planner, MakesPlans)
    task = of.planner.built_task
    number = 1 if plans else environments
    experience = _Recording(task, number, seed=of.seed, device=of.planner.device, allow=of.allow)
    experience.extras = bool(of.model.row_extras(task))
    try:
        return plan_outcome(
            of.planner,
            experience,
            generator=generator,
            decisions=decisions if of.decisions is None else of.decisions,
            horizon=None if plans else of.horizon,
            progress=of.progress,
        )
    finally:
        experience.close()
        if experience.kept:
            of.policy_rows = Transitions.cat(experience.kept)


class _Recording(VectorExperience):
    """Environments that keep what happens in them."""

    extras = False  # whether with the simulator's state, which a model starts from

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kept: list[Transitions] = []

    def step(self, action: Tensor) -> Transitions:
        before = self.snapshot if self.extras else None
        rows = super().step(action)
        if before is not None:
            rows.extras["sim_state"] = before
        self.kept.append(rows)
        return rows
