"""Action selectors: how Dyna chooses actions, in model rollouts and in real exploration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from mbrl.data import Generator, ModelState, Task, ValueFunction
from mbrl.models import DynamicsModel
from mbrl.planners.metrics import unreported
from mbrl.policies import Policy
from mbrl.spec import Part


@dataclass
class Situation:
    """Everything that a selector may look at.

    Attributes:
        obs: `B x S`, where to act.
        policy: the learner's policy.
        dynamics: the model; None where there is none, which only selectors that don't need one meet.
        start: gives a model state at `obs` to plan from, with its noise from the generator passed in; None without a model.
        policy_generator: the stream of the policy's samples.
        planning_generator: the stream of planning, which moves neither the policy's nor the rollout's.
        value: the learner's critics, or None where there are none.
        report: takes metrics by name, scalar tensors on the device; the planner adds where they come from.
        prev_action: `B x A`, the actions before, zeros where an episode begins; None where they are unknown.
        alive: `B` bool, the rows whose rollouts go on, as in `RolloutContext`; None: all.
        memory: what the selector remembers of each row, `B x …` by name, the names of `ActionSelector.memory`. It puts what
            the next step shall find in the place of what it found.
    """

    obs: Tensor
    policy: Policy
    dynamics: DynamicsModel | None
    start: Callable[[Generator], ModelState] | None
    policy_generator: Generator
    planning_generator: Generator
    value: ValueFunction | None = None
    report: Callable[[Mapping[str, Tensor]], None] = unreported
    prev_action: Tensor | None = None
    alive: Tensor | None = None
    memory: dict[str, Tensor] = field(default_factory=dict)


class ActionSelector(Part, ABC):
    """Chooses actions for a batch of states.

    What it remembers from step to step, such as a noise that lasts, belongs to an environment or a rollout, and lies in
    `Situation.memory`.

    Attributes:
        needs_dynamics: whether it asks the model. One that doesn't says so, and then serves planners without a model too.
    """

    needs_dynamics: ClassVar[bool] = True

    @abstractmethod
    def select(self, situation: Situation) -> Tensor:
        """Actions `B x A` in [−1, 1]."""

    def memory(self, n: int, task: Task, like: Tensor) -> dict[str, Tensor]:
        """Tensors that an episode or a rollout begins with, `n x …` by name; empty, the default, if nothing is remembered.

        An episode's end sets its rows back to these, and a checkpoint keeps them as they stand.

        Args:
            n: environments or rollouts.
            task: the task, for sizes.
            like: any tensor of the actions' dtype and device.
        """
        return {}

    def check(self, dynamics: DynamicsModel) -> None:
        """Refuses a model that this selector can't plan with (`UnsupportedError`)."""


class PolicySample(ActionSelector):
    """A sample of the policy: what MBPO does, in the model and in the environment."""

    needs_dynamics = False

    def select(self, situation: Situation) -> Tensor:
        return situation.policy.sample(situation.obs, situation.policy_generator, situation.prev_action)[0]


class PolicyMode(ActionSelector):
    """The policy's deterministic action: how some MBPO ports collect real data."""

    needs_dynamics = False

    def select(self, situation: Situation) -> Tensor:
        return situation.policy.mode(situation.obs, situation.prev_action)
