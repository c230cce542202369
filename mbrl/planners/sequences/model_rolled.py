"""`ModelRolled`: a policy that decides one step at a time, rolled out in a model for the steps that it can't look at."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.arguments import check_whole
from mbrl.data import Task
from mbrl.models import DynamicsModel
from mbrl.planners.capabilities import HasDynamics
from mbrl.planners.fixed_policy import FixedPolicy
from mbrl.planners.memory import Memory
from mbrl.planners.sequences.temporal_recall import TemporalRecall
from mbrl.policies import BuildablePolicy, Learner


class ModelRolled(FixedPolicy, HasDynamics):
    """Takes the policy's deterministic action, and for later steps that of where the model says that it will be.

    Where it looks at each step it is a `FixedPolicy`, and it learns as little. With the model and the learner of an `SRL`
    run this is the planner that SRL's policy learns to do without the model: what SRL earns less is its error of
    amortisation, and none of the model.

        >>> planner = mbrl.load("runs/srl-pendulum/seed0")  # doctest: +SKIP
        >>> rolled = ModelRolled(planner.dynamics, planner.learner)  # doctest: +SKIP
        >>> rolled.build(planner.task)  # doctest: +SKIP

    Args:
        dynamics: the model, fitted or fixed; one that is built already stays as it is.
        policy: a policy, or a learner for the one that it has; one that is built already stays as it is.

    Raises:
        UnsupportedError: from `build`, for a model that needs more than an observation.
    """

    dynamics: DynamicsModel  # never None here

    def __init__(self, dynamics: DynamicsModel, policy: Learner | BuildablePolicy) -> None:
        super().__init__(policy)
        self.dynamics = dynamics

    def make_parts(self, task: Task, seed: int) -> None:
        if self.dynamics.task is None:
            self.dynamics.build(task, seed)
        super().make_parts(task, seed)
        self._recall = TemporalRecall(self.dynamics)

    @torch.no_grad()
    def decide(self, obs: Tensor, memory: Memory, length: int, *, snapshot: Tensor | None = None) -> Tensor:
        """Chooses the policy's actions where the model predicts that they are taken; see `Planner.decide`."""
        check_whole("ModelRolled.decide(length=…)", length)
        here, actions = obs, list[Tensor]()
        for _ in range(length):
            if actions:
                here = self._recall(here, torch.stack((actions[-1], actions[-1]), 1)).obs[1]  # N x S
            actions.append(self.act(here, memory, explore=False)[0])
        return torch.stack(actions, 1)
