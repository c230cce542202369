"""The planner of a report in real environments: what its plans bring, and the rows that it collects on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mbrl.analysis.forecasts.windows import Progress
from mbrl.analysis.model_error.plan_outcome import plan_outcome
from mbrl.analysis.result import Result, Skipped
from mbrl.data import Transitions
from mbrl.envs import VectorExperience
from mbrl.models import DynamicsModel
from mbrl.planners import PETS, Planner


@dataclass(frozen=True)
class Sizes:
    """How many rows, windows and draws each part takes at most."""

    windows: int = 500
    particles: int = 10
    one_step: int = 5000
    forecasts: int = 1000
    rows: int = 20_000
    rollouts: int = 500
    value_rows: int = 2048
    value_draws: int = 32
    decisions: int = 10
    environments: int = 4


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


@dataclass
class RecordedRun:
    """A planner in real environments.

    Attributes:
        rows: what happened there.
    """

    planner: Planner
    model: DynamicsModel
    seed: int
    sizes: Sizes
    decisions: int | None
    horizon: int
    allow: Sequence[str]
    progress: Progress | None
    rows: Transitions | None = None

    def outcome(self, generator: torch.Generator) -> Result | Skipped:
        """What plans promise and bring."""
        plans = isinstance(self.planner, PETS)
        number = 1 if plans else self.sizes.environments
        task = self.planner.built_task
        experience = _Recording(task, number, seed=self.seed, device=self.planner.device, allow=self.allow)
        experience.extras = bool(self.model.row_extras(task))
        try:
            found = plan_outcome(
                self.planner,
                experience,
                generator=generator,
                decisions=self.sizes.decisions if self.decisions is None else self.decisions,
                horizon=None if plans else self.horizon,
                progress=self.progress,
            )
        finally:
            experience.close()
            if experience.kept:
                self.rows = Transitions.cat(experience.kept)
        return found
