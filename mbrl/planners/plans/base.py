"""The contract between MPC and what searches its plans: `PlanProblem`, `Plan`, `PlanOptimizer`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mbrl.models import DynamicsModel
from mbrl.spec import Part


@dataclass
class PlanProblem:
    """One decision in each of `N` environments: find the plan with the highest return.

    Attributes:
        horizon: `H`, steps of a plan.
        action_size: `A`.
        generators: one for each environment, fresh for this decision; on any device but used through `normal` and
            `uniform` only, so that an environment's plan doesn't depend on which others are planned for beside it.
        returns: of plans `N x K x H x A` in [−1, 1], `N x K`, −inf where a prediction wasn't finite. Each call draws the
            model's noise anew, and is differentiable in the plans where gradients are enabled and the model allows it.
        like: any tensor of the plans' dtype and device.
        explore: whether the action is for training; an optimiser that executes with noise does so only then.
        policy_plans: gives `n` plans `N x n x H x A` of a policy followed in the model, or None without a policy.
    """

    horizon: int
    action_size: int
    generators: Sequence[torch.Generator]
    returns: Callable[[Tensor], Tensor]
    like: Tensor
    explore: bool = False
    policy_plans: Callable[[int], Tensor] | None = None

    @property
    def environments(self) -> int:
        """`N`."""
        return len(self.generators)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers `N x shape`, each environment's from its own generator."""
        return self._drawn(torch.randn, shape)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), `N x shape`, each environment's from its own generator."""
        return self._drawn(torch.rand, shape)

    def _drawn(self, draw: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        drawn = [
            draw(shape, generator=generator, dtype=self.like.dtype, device=generator.device) for generator in self.generators
        ]
        return torch.stack(drawn).to(self.like.device)


@dataclass
class Plan:
    """Plans that an optimiser found.

    Attributes:
        actions: `N x H x A` in [−1, 1]; the first are executed.
        value: `N`, the return that the model promises: of `actions` where they were evaluated, else of the best plan seen.
        warm: what the next decision starts from, `N x …` by name, the names of `PlanOptimizer.warm_start`.
        halted: share of all particles tried that the model halted, a scalar; None of a model that halts none.
    """

    actions: Tensor
    value: Tensor
    warm: dict[str, Tensor] = field(default_factory=dict)
    halted: Tensor | None = None


class PlanOptimizer(Part, ABC):
    """Searches plans. What it carries from one decision to the next is in `warm`, so that it belongs to an environment.

    Attributes:
        policy_candidates: how many of its candidate plans come from a policy; above 0 it needs `PlanProblem.policy_plans`.
    """

    policy_candidates: int = 0

    @abstractmethod
    def warm_start(self, n: int, horizon: int, action_size: int, like: Tensor) -> dict[str, Tensor]:
        """Tensors that the first decision of an episode starts from, `n x …` by name; empty if nothing is carried over.

        An episode's end sets its rows back to these.
        """

    @abstractmethod
    def optimize(self, problem: PlanProblem, warm: dict[str, Tensor]) -> Plan:
        """Searches the best plan for each environment of `problem`, beginning at `warm`, which stays as it was.

        An environment none of whose plans has a finite return keeps the distribution that it had; its `value` is −inf.
        """

    def advanced(self, warm: dict[str, Tensor], actions: Tensor) -> dict[str, Tensor]:
        """Moves on what the next decision starts from, as more of the plan than its first action is executed before.

        By default `warm`, which suits what has no place in time.

        Args:
            warm: of a `Plan`, made for a next decision one step on.
            actions: `N x n x A`, what is executed in the `n` steps between the decisions.
        """
        return warm

    def check(self, dynamics: DynamicsModel, has_policy: bool) -> None:
        """Refuses a model that it can't search with, or a missing policy (`UnsupportedError`, `ConfigError`)."""
