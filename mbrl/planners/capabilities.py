"""Markers of what a planner can do, which analyses ask for: `HasDynamics`, `LearnsPolicy`, `MakesPlans`.

A planner inherits those that hold beside its base class, as a dynamics model does with its own markers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mbrl.data import Transitions, ValueFunction
from mbrl.models import DynamicsModel
from mbrl.planners.memory import Memory
from mbrl.planners.plans.base import Plan
from mbrl.planners.plans.objective import PlanObjective
from mbrl.policies import Learner


class HasDynamics:
    """The planner has a dynamics model.

    Attributes:
        dynamics: the model, built with the planner; None if this planner was made without one.
    """

    dynamics: DynamicsModel | None

    def fit_dynamics(
        self, rows: Transitions, generator: torch.Generator, value: ValueFunction | None
    ) -> dict[str, float | Tensor]:
        """Fits the model, which is there, to all `N` real rows when that is due; returns metrics by name.

        By default it is `DynamicsModel.refit`, with the same arguments. A planner that fits it in another way overrides it.
        """
        assert self.dynamics is not None  # the caller asks only with one
        return self.dynamics.refit(rows, generator, value)


def dynamics_of(planner: object) -> DynamicsModel | None:
    """The planner's model, or None for a planner without one: of a kind that has none, or made without."""
    return planner.dynamics if isinstance(planner, HasDynamics) else None


class LearnsPolicy:
    """The planner has a learner, whose policy and values can be looked at.

    Attributes:
        learner: the learner, built with the planner; None if this planner was made without one.
    """

    learner: Learner | None


class MakesPlans(ABC):
    """The planner searches a plan at each decision, and executes its first action.

    Attributes:
        objective: what a plan earns in the model, once built.
        horizon: `H`, steps of a plan.
    """

    objective: PlanObjective
    horizon: int

    @abstractmethod
    def plan(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> Plan:
        """Searches the plans for a batch of states.

        Args:
            obs: `N x S`.
            memory: of these environments, as for `act`; what is carried to the next decision is written into it.
            explore: whether the actions are for training.
            snapshot: `N x W` simulator states, for models that start from them.
        """
