"""`Subject`: a trained planner or model with data, for the functions that make a report's parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mbrl.analysis.progress import Progress
from mbrl.data import Transitions
from mbrl.models import DynamicsModel
from mbrl.planners import LearnsPolicy, Planner
from mbrl.policies import Learner
from mbrl.uncertainty import UncertaintyMeasure


@dataclass
class Subject:
    """A trained planner or model, and the data to look at it with.

    Attributes:
        model: built and fitted.
        planner: that has the model; None for a model alone.
        rows: real transitions, in the order in which they happened.
        episodes: the same, split.
        horizon: `H`, steps of open-loop rollouts and returns.
        truth: an exact model of the environment, or None.
        training_rows: what the model was fitted to, or None.
        measures: of uncertainty; None for those of `mbrl.uncertainty` as they were published.
        names: of the observation's dims, or None.
        decisions: of the planner to compare with what really follows; None for as many as the part takes.
        seed: of everything that is drawn.
        allow: modules besides `mbrl` in which the environment may lie.
        progress: told a sentence now and then.
        policy_rows: what the planner collected for this report, or None.
    """

    model: DynamicsModel
    planner: Planner | None
    rows: Transitions
    episodes: list[Transitions]
    horizon: int
    truth: DynamicsModel | None
    training_rows: Transitions | None
    measures: Sequence[UncertaintyMeasure] | None
    names: Sequence[str] | None
    decisions: int | None
    seed: int
    allow: Sequence[str]
    progress: Progress | None
    policy_rows: Transitions | None = None

    @property
    def learner(self) -> Learner | None:
        """The planner's learner, with its policy and values; None where there is none."""
        return self.planner.learner if isinstance(self.planner, LearnsPolicy) else None
