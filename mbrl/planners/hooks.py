"""The plug points of Dyna: what may change a model step, a batch, or the critics' loss (`mbrl.policies.CriticTerm`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from mbrl.data import Generator, ModelStep, Transitions
from mbrl.models import DynamicsModel
from mbrl.policies import Learner
from mbrl.spec import Configurable


@dataclass
class RolloutContext:
    """Where a hook is called.

    Attributes:
        depth: of the step, from 0 at the branching point.
        dynamics: the model.
        generator: the hook's own stream, a number for each of the `B` rows; it moves no other.
    """

    depth: int
    dynamics: DynamicsModel
    generator: Generator


class RolloutHook(Configurable, ABC):
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


class BatchHook(Configurable, ABC):
    """Changes a batch before the learner sees it."""

    @abstractmethod
    def __call__(self, batch: Transitions, learner: Learner) -> Transitions:
        """The batch to learn from."""
