"""Hooks of Dyna, which change a model step or a batch; `mbrl.policies.CriticTerm` changes the critics' loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mbrl.data import Generator, ModelStep, Transitions, ValueFunction
from mbrl.models import DynamicsModel
from mbrl.planners.metrics import unreported
from mbrl.policies import Learner
from mbrl.spec import Part


@dataclass
class RolloutContext:
    """The place where a rollout hook is called.

    Attributes:
        depth: of the step, from 0 at the branching point.
        dynamics: the model.
        generator: the hook's own stream, a number for each of the `B` rows; it moves no other.
        value: the learner's critics, or None where there are none.
        alive: `B` bool, the rows whose rollouts go on: on CUDA finished ones stay in the batch, and nobody keeps their
            steps; None: all.
        report: takes metrics by name, scalar tensors on the device; the planner adds where they come from.
    """

    depth: int
    dynamics: DynamicsModel
    generator: Generator
    value: ValueFunction | None = None
    alive: Tensor | None = None
    report: Callable[[Mapping[str, Tensor]], None] = unreported


class RolloutHook(Part, ABC):
    """Changes a step of model rollouts before it is stored: a penalty on the reward, a halt, a projection.

    Attributes:
        want: what it needs in the step, such as `("prediction",)` for the all-member `Prediction`.
    """

    want: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        """The step to store and continue from."""

    def check(self, dynamics: DynamicsModel) -> None:
        """Refuses a model, already built, that this hook can't work with (`UnsupportedError`)."""


@dataclass
class BatchContext:
    """The place where a batch hook is called.

    Attributes:
        learner: what the batch is for, with critics as they are now.
        dynamics: the model as it is now; the batch's rollouts may be of an earlier fit. None where there is none, which only
            hooks that don't need one meet.
        generator: the hook's own stream; it moves no other.
        model_rows: which rows of the batch are the model's, the others being real. A hook that moves rows, or changes how
            many there are, writes their new places here for the hooks and critic terms after it.
        report: takes metrics by name, scalar tensors on the device; the planner adds where they come from.
    """

    learner: Learner
    dynamics: DynamicsModel | None
    generator: Generator
    model_rows: slice
    report: Callable[[Mapping[str, Tensor]], None] = unreported


class BatchHook(Part, ABC):
    """Changes a batch before the learner sees it.

    Attributes:
        needs_dynamics: whether it asks the model, or changes its rows. One that doesn't says so, and then serves planners
            without a model too.
    """

    needs_dynamics: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, batch: Transitions, context: BatchContext) -> Transitions:
        """The batch to learn from. The one that comes may be changed only by making another."""

    def check(self, dynamics: DynamicsModel) -> None:
        """Refuses a model, already built, that this hook can't work with (`UnsupportedError`)."""
