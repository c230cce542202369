"""Records of one step of a dynamics model: `Prediction`, `ModelStep`, and the state that it steps from, `ModelState`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor

from mbrl.data.streams import Generator
from mbrl.errors import UnsupportedError

CriticsAsked = Literal["online", "target", "both"]


@dataclass
class Prediction:
    """One step ahead, in environment units, from every member (`E x B`) or from the one drawn for each row (`B`).

    Attributes:
        mean: `E x B x S`, mean of the next observation.
        var: `E x B x S`, aleatoric variance; 0 for a deterministic model. Ignorance is spread over `E`, never in here.
        reward_mean: `E x B`, or None where the model doesn't learn the reward.
        reward_var: `E x B`, or None likewise.
        terminated_logit: `E x B`, or None where the model doesn't learn termination; that of the mean where it depends on
            where the step leads.
        terminated_at: None where termination depends on obs and action alone; else the logits as a function of a next
            observation `E x B x S`, or of `B x S` and the members `B` to ask. `end_logit` answers either way.
    """

    mean: Tensor
    var: Tensor
    reward_mean: Tensor | None = None
    reward_var: Tensor | None = None
    terminated_logit: Tensor | None = None
    terminated_at: Callable[..., Tensor] | None = None

    def end_logit(self, next_obs: Tensor, members: Tensor | None = None) -> Tensor | None:
        """The termination logits of steps that led to `next_obs`, None where the model doesn't learn termination.

        Args:
            next_obs: with the dims of `mean`; with `members` `n x B x S`, or `B x S`, which they share.
            members: `n` int64 of an all-member prediction, whose logits `n x B` are asked for; None: all, or those drawn.
        """
        if self.terminated_logit is None or self.terminated_at is None:
            return (
                self.terminated_logit if members is None or self.terminated_logit is None else self.terminated_logit[members]
            )
        if members is None:
            return self.terminated_at(next_obs)
        lead = (len(members), *self.terminated_logit.shape[1:])
        member = members.view(-1, *[1] * (len(lead) - 1)).expand(lead)
        return self.terminated_at(next_obs.expand(*lead, next_obs.shape[-1]), member=member)

    def of_member(self, member: Tensor) -> Prediction:
        """Picks one member for each row: from an all-member prediction `E x B …` to one of `B …`.

        Args:
            member: `B` int64.
        """
        rows = torch.arange(member.shape[0], device=member.device)

        def pick(value: Tensor | None) -> Tensor | None:
            return None if value is None else value[member, rows]

        return Prediction(
            self.mean[member, rows],
            self.var[member, rows],
            pick(self.reward_mean),
            pick(self.reward_var),
            pick(self.terminated_logit),
            None if self.terminated_at is None else partial(self.terminated_at, member=member),
        )


class ModelState(ABC):
    """The state of a batch of model rollouts, opaque but for `obs`, `select`, `tile`, `fork` and `moved`.

    It carries what the next step depends on: the generator of the model's noise, the member that a particle follows, a
    simulator's full state, a latent.

    Attributes:
        obs: `B x S`.
    """

    obs: Tensor

    @abstractmethod
    def select(self, rows: Tensor) -> ModelState:
        """The state of the rows in an index or a mask (`B`); the other rows' later draws stay as they were."""

    @abstractmethod
    def tile(self, n: int) -> ModelState:
        """`n` copies, laid out as `n` blocks of `B` rows: reshape to `n x B`, never `B x n`."""

    @abstractmethod
    def fork(self, generator: Generator) -> ModelState:
        """The same state with its noise from `generator`, so that planning from it moves no other stream."""

    def moved(self, obs: Tensor) -> ModelState:
        """The same rollouts standing at `obs` (`B x S`), for who projects or clips where they led; draws stay as they are.

        Raises:
            UnsupportedError: if this kind of state can't, such as one of which an observation doesn't say all.
        """
        raise UnsupportedError(
            f"{type(self).__name__} can't move rollouts to other observations: it has no method moved; implement it, or "
            "leave out what moves them."
        )

    def replaced(self, rows: Tensor, other: ModelState) -> ModelState:
        """This state with `rows` (`k` int64, distinct) taken from `other` (`k` rows); its draws stay its own.

        For rollouts that end one by one and begin anew, as in `mbrl.models.ModelVectorEnv`.

        Raises:
            UnsupportedError: if this kind of state doesn't implement it.
        """
        raise UnsupportedError(
            f"{type(self).__name__} can't replace rollouts: it has no method replaced; implement it, or begin all at once."
        )


@dataclass
class ModelStep:
    """One step of a batch of model rollouts.

    Attributes:
        obs: `B x S`, where the step started.
        action: `B x A` in [−1, 1].
        next_obs: `B x S`, sampled and projected.
        reward: `B`.
        terminated: `B` bool.
        state: where the rollouts stand now.
        prediction: the all-member `Prediction` at (obs, action), if `"prediction"` was in `want`, else None.
        halt: `B` bool rows that the model or a hook stops without a terminal value of zero (a rollout left the trusted
            region and is cut there, as by a time limit), or None.
        member: `B` int64, the member that each row was drawn from, or None where no single one was.
    """

    obs: Tensor
    action: Tensor
    next_obs: Tensor
    reward: Tensor
    terminated: Tensor
    state: ModelState
    prediction: Prediction | None = None
    halt: Tensor | None = None
    member: Tensor | None = None

    @property
    def ended(self) -> Tensor:
        """`B` bool: rollouts that take no further step, terminated or halted."""
        return self.terminated if self.halt is None else self.terminated | self.halt

    @property
    def finite(self) -> Tensor:
        """`B` bool: rows whose next observation and reward are finite numbers."""
        # 0 times a number is 0, times anything else NaN: a third of the time of isfinite and all
        return torch.addcmul((self.next_obs * 0.0).sum(-1), self.reward, torch.zeros_like(self.reward)) == 0


class ValueFunction(Protocol):
    """Interface of whatever values observations: a learner, or any critic.

    It may also have `slopes(obs, action, critics)`: the gradient of each value in its observation, `J x B x S`, constants,
    of `obs` `B x S` and an `action` `B x A` that is held fixed. Without it whoever wants them makes a pass per critic.
    """

    def value(self, obs: Tensor, action: Tensor | None = None, critics: CriticsAsked = "online") -> Tensor:
        """Values of observations, differentiable in `obs` and `action`.

        Args:
            obs: `B x S`, any leading dims.
            action: `B x A` in [−1, 1], whose values are asked for; None: the policy's.
            critics: `"online"`, the ones that learn, `"target"`, those that follow them slowly, or `"both"`, online first.

        Returns:
            `J x B`, one value per critic; `2J x B` of `"both"`.
        """
        ...
