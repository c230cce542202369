"""Hooks of Dyna, which change a model step or a batch; `mbrl.policies.CriticTerm` changes the critics' loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from mbrl.data import Generator, ModelStep, Transitions, ValueFunction
from mbrl.errors import ShapeError
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
        memory: what the hook keeps of each rollout from step to step, tensors `B x …` by name: empty at depth 0, and from
            then on as the hook left it, with the rows of the rollouts that go on.
    """

    depth: int
    dynamics: DynamicsModel
    generator: Generator
    value: ValueFunction | None = None
    alive: Tensor | None = None
    report: Callable[[Mapping[str, Tensor]], None] = unreported
    memory: dict[str, Tensor] = field(default_factory=dict)


class RolloutHook(Part, ABC):
    """Changes a step of model rollouts before it is stored: a penalty on the reward, a halt, a projection.

    Whatever it makes of `next_obs`, the rollout goes on from there (`ModelState.moved`), and rollouts that the model or a
    hook before it has halted stay halted. It has no state of single rollouts but `RolloutContext.memory`, since finished
    ones are dropped; and it changes no tensor of the step that it gets.

    Attributes:
        want: what it needs in the step, such as `("prediction",)` for the all-member `Prediction`.
    """

    want: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        """The step to store and continue from."""

    def applied(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        """The step that the hook makes of `step`, with its state and its halts in line; what rollouts call.

        Raises:
            ShapeError: if the hook's memory hasn't a row for each rollout.
            UnsupportedError: if it changes where a model led whose rollouts can't be moved.
        """
        led_to, halt = step.next_obs, step.halt
        step = self(step, context)
        for name, kept in context.memory.items():
            if kept.shape[:1] != step.obs.shape[:1]:
                raise ShapeError(
                    f"{type(self).__name__}: expected a row of memory[{name!r}] for each of {len(step.obs)} rollouts, got "
                    f"shape {tuple(kept.shape)}; keep what is of all rollouts in state_dict."
                )
        if step.next_obs is not led_to and step.state.obs is not step.next_obs:
            step = replace(step, state=step.state.moved(step.next_obs))
        if halt is not None and step.halt is not halt:
            step = replace(step, halt=halt if step.halt is None else halt | step.halt)
        return step

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
        needs_model_rows: whether it changes nothing but the model's rows, so that planners refuse it where batches are real
            throughout. A batch of an epoch without any it returns as it came.
    """

    needs_dynamics: ClassVar[bool] = True
    needs_model_rows: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, batch: Transitions, context: BatchContext) -> Transitions:
        """The batch to learn from. The one that comes may be changed only by making another."""

    def check(self, dynamics: DynamicsModel) -> None:
        """Refuses a model, already built, that this hook can't work with (`UnsupportedError`)."""
