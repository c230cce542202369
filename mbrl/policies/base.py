"""The contracts of policies, which act, and of learners, which change them.

`mbrl.testing.check_policy` and `check_learner` are the conformance suites.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim import Optimizer

from mbrl.data import Generator, Task, Transitions
from mbrl.spec import Configurable, Part


class Policy(nn.Module, ABC):
    """Maps observations to actions in [−1, 1]."""

    @abstractmethod
    def sample(
        self, obs: Tensor, generator: Generator, prev_action: Tensor | None = None, length: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Draws actions.

        Args:
            obs: `B x S`; `B` stands for any number of leading dims. Several samples of each state are asked for as
                `obs.expand(K, B, S)`.
            generator: draws the noise.
            prev_action: `B x A`, for policies that depend on it.
            length: how many actions in a row, for sequence policies; others refuse more than 1.

        Returns:
            Actions `B x A` (`B x length x A` if `length > 1`) and log-probabilities `B`, both reparameterised.
        """

    @abstractmethod
    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        """The deterministic action `B x A`, used by evaluation."""


class CriticTerm(Part, ABC):
    """A term added to the critics' loss (EDAC's diversity, COMBO's regulariser, …)."""

    @abstractmethod
    def __call__(self, batch: Transitions, critics: nn.Module, policy: Policy) -> Tensor:
        """A scalar, differentiable in the critics' parameters."""


class Learner(Configurable, nn.Module, ABC):
    """Changes a policy (and critics) from batches; values observations (`ValueFunction`).

    Attributes:
        policy: the policy that it changes, once built.
    """

    policy: Policy

    @abstractmethod
    def build(self, task: Task, seed: int = 0) -> None:
        """Makes policy and critics for `task`; the same seed gives the same parameters."""

    @abstractmethod
    def make_optimizers(self) -> list[Optimizer]:
        """The optimisers, made once after `build`; the learner keeps and steps them raw."""

    @abstractmethod
    def update(self, batch: Transitions, generator: Generator, critic_terms: Sequence[CriticTerm] = ()) -> dict[str, Tensor]:
        """One update from a batch of `B` transitions; returns scalar tensors by metric name, still on the device."""

    @abstractmethod
    def value(self, obs: Tensor) -> Tensor:
        """`J x B` values of `obs` `B x S`, one per critic, differentiable in `obs`."""
