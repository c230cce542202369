"""The contracts of policies, which act, and of learners, which change them.

`mbrl.testing.check_policy` and `check_learner` are the conformance suites.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mbrl.data import CriticsAsked, Generator, Task, TaskBound, Transitions
from mbrl.errors import UnsupportedError
from mbrl.policies.critics import Critics
from mbrl.spec import Configurable, Part


class Policy(nn.Module, ABC):
    """Maps observations to actions in [−1, 1].

    Attributes:
        trained_length: actions of a sequence that its training looked at; 1 of a policy that decides one step at a time.
    """

    trained_length: int = 1

    @abstractmethod
    def sample(self, obs: Tensor, generator: Generator, prev_action: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draws actions.

        Args:
            obs: `B x S`; `B` stands for any number of leading dims. Several samples of each state are asked for as
                `obs.expand(K, B, S)`.
            generator: draws the noise.
            prev_action: `B x A`, for policies that depend on it; zeros where an episode begins, None where it is unknown.

        Returns:
            Actions `B x A` and log-probabilities `B`, both reparameterised.
        """

    @abstractmethod
    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        """The deterministic action `B x A`, used by evaluation."""

    def log_prob(self, obs: Tensor, action: Tensor, prev_action: Tensor | None = None) -> Tensor:
        """The log-probability `B` of actions `B x A` in [−1, 1], finite at ±1 too: of an action of `sample`, what that says.

        Raises:
            UnsupportedError: if this kind of policy doesn't implement it.
        """
        raise UnsupportedError(
            f"{type(self).__name__} can't say how likely an action is, since it has no method log_prob; implement it."
        )

    def sequence(self, obs: Tensor, prev_action: Tensor | None, length: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Draws `length` actions in a row, without observations in between; the first is that of `sample`.

        A policy that decides one step at a time holds its action, which it draws once.

        Args:
            obs: `B x S`, where the sequence begins.
            prev_action: as in `sample`.
            length: number of actions, at least 1.
            generator: draws the noise.

        Returns:
            Actions `B x length x A`, and the log-probability of each given those before it, `B x length`: 0 for one that is
            held.
        """
        action, log_prob = self.sample(obs, generator, prev_action)  # B x A, B
        held = log_prob.new_zeros(*log_prob.shape, length - 1)
        return _held(action, length), torch.cat((log_prob.unsqueeze(-1), held), -1)

    def mode_sequence(self, obs: Tensor, prev_action: Tensor | None, length: int) -> Tensor:
        """The deterministic actions `B x length x A`, of which the first is `mode`; arguments as in `sequence`."""
        return _held(self.mode(obs, prev_action), length)


class BuildablePolicy(TaskBound, Configurable, Policy, ABC):
    """A policy that a spec describes, for planners that take one without a learner; its constructor takes plain data only.

    Attributes:
        task: what it acts in, once built.
    """

    @abstractmethod
    def build(self, task: Task, seed: int = 0) -> None:
        """Makes the parameters and buffers for `task`, and remembers it; the same seed gives the same ones."""


def _held(action: Tensor, length: int) -> Tensor:
    return action.unsqueeze(-2).expand(*action.shape[:-1], length, -1)  # B x length x A


@dataclass
class CriticContext:
    """The place where a critic term is called.

    Attributes:
        critics: the critics that learn; called with obs `B x S` and action `B x A` they give values `J x B`, and
            their `count` is J.
        target_critics: those that follow them, called likewise and constant; of a learner without any, `critics`.
        policy: the learner's policy.
        temperature: α, the weight of the entropy in values, a scalar tensor; 0 of a learner without one.
        discount: γ of one real step.
        model_rows: the rows of the batch that are the model's, the others being real.
        generator: the term's own stream; it moves no other.
        report: takes metrics by name, scalar tensors on the device; the planner adds where they come from.
        values: values `J x B` of the batch's own actions by `critics`, with their graph, where the learner has them already:
            `batch_values` gives these, so that a term needn't compute them again.
    """

    critics: Critics
    target_critics: nn.Module
    policy: Policy
    temperature: Tensor
    discount: float
    model_rows: slice
    generator: Generator
    report: Callable[[Mapping[str, Tensor]], None]
    values: Tensor | None = None

    def batch_values(self, batch: Transitions) -> Tensor:
        """Values `J x B` of a batch's own actions, differentiable in the critics' parameters."""
        return self.critics(batch.obs, batch.action) if self.values is None else self.values


class CriticTerm(Part, ABC):
    """A term added to the critics' loss (EDAC's diversity, COMBO's regulariser, …)."""

    @abstractmethod
    def __call__(self, batch: Transitions, context: CriticContext) -> Tensor:
        """A scalar for a batch of `B` rows, differentiable in the parameters of `context.critics`."""

    def check(self, dynamics: nn.Module | None, learner: Learner) -> None:
        """Refuses a dynamics model or a learner, both built, that this term can't work with (`UnsupportedError`).

        The model is None where all rows are real.
        """


@dataclass
class BoundCriticTerm:
    """A critic term and the planner's half of its context; the learner that calls it gives its own half.

    Attributes:
        term: the term.
        model_rows: see `CriticContext`, as the others.
        generator: its stream.
        report: takes its metrics.
    """

    term: CriticTerm
    model_rows: slice
    generator: Generator
    report: Callable[[Mapping[str, Tensor]], None]

    def __call__(
        self,
        batch: Transitions,
        critics: Critics,
        target_critics: nn.Module,
        policy: Policy,
        temperature: Tensor,
        discount: float,
        values: Tensor | None = None,
    ) -> Tensor:
        place = (self.model_rows, self.generator, self.report, values)
        return self.term(batch, CriticContext(critics, target_critics, policy, temperature, discount, *place))


class Learner(Configurable, nn.Module, ABC):
    """Changes a policy (and critics) from batches; values observations (`ValueFunction`).

    Attributes:
        policy: the policy that it changes, once built.
        float64_extras: names of those of `row_extras` that are kept as float64; the others are float32.
        has_critics: whether it values observations. One without critics says no, refuses `value`, and is refused by whatever
            asks for values.
        learns_from_rollouts: whether rows of a model's rollouts teach it anything: not if it clones recorded actions.
        discount: γ of one real step in its values; None if it has none.
        actor_every: updates in which its policy changes once.
    """

    policy: Policy
    has_critics: ClassVar[bool] = True
    learns_from_rollouts: ClassVar[bool] = True
    discount: float | None = None
    actor_every: int = 1

    @abstractmethod
    def build(self, task: Task, seed: int = 0) -> None:
        """Makes policy and critics for `task`; the same seed gives the same parameters."""

    float64_extras: Collection[str] = ()

    def row_extras(self, task: Task) -> dict[str, int]:
        """Widths of the extras that `update` needs in its batch, `B x width` each, such as `prev_action` of width `A`.

        Planners keep them with their real rows, from the tensor of that name in their `Memory` as it was before the action,
        and rollouts know `prev_action`.
        """
        return {}

    @abstractmethod
    def make_optimizers(self) -> list[Optimizer]:
        """The optimisers, made once after `build`; the learner keeps and steps them raw."""

    def check_batches(self) -> None:
        """Refuses planners that show it batches of rows and no more (`UnsupportedError`).

        They call it after `build`. By default batches are all that an update asks for.
        """

    def take_length(self, updates: int) -> None:
        """Takes in how many updates the run makes, for schedules that are as long; by default nothing.

        It warns (`MbrlWarning`) of a schedule that has another length. Planners call it when a fit begins or goes on.
        """

    def fit_inputs(self, rows: Transitions) -> None:
        """Takes statistics of real rows, such as those of an observation normaliser; by default nothing.

        Planners call it after each fit of their model, or when one would be due, so that what it takes is constant in
        between. It belongs to the learner's state dict, and to the policy's what the policy uses.

        Args:
            rows: all `N` real rows that are kept; they may be views of a buffer, so copy what is to stay.
        """

    @abstractmethod
    def update(
        self, batch: Transitions, generator: Generator, critic_terms: Sequence[BoundCriticTerm] = ()
    ) -> dict[str, Tensor]:
        """One update from a batch of `B` transitions; returns scalar tensors by metric name, still on the device.

        Args:
            batch: the transitions.
            generator: draws the learner's own noise.
            critic_terms: called once each with the batch and the learner's half of `CriticContext`; what they return is
                added to the critics' loss.
        """

    @abstractmethod
    def value(self, obs: Tensor, action: Tensor | None = None, critics: CriticsAsked = "online") -> Tensor:
        """Values `J x B` of `obs` `B x S`, as `ValueFunction` says.

        Raises:
            UnsupportedError: for `"target"` and `"both"`, of a learner without target critics; of one without any.
        """
