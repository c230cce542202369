"""`SequenceSAC`: soft actor-critic whose actor emits J actions from one observation, by temporal recall [Patel2025].

Critics are SAC's, of one real step. The actor's loss asks a model where its own later actions would be taken:

    ŝ_0 = s,  ŝ_{j+1} = m(ŝ_j, a_j),  (a_0 … a_{J−1}) ~ π(·|s, a_{−1})
    actor        Σ_j mean(α log π_j − min_i Q_i(ŝ_j, a_j))
    temperature  −log α · mean(mean_j log π_j + H̄)

States ŝ are constants, so that each action's gradient comes from its own value, never through the model. With an exact model
the optimum is the soft-greedy one-step policy rolled out in the model, not the best sequence to execute unseen.

Patel2025: "Overcoming slow decision frequencies in continuous control: model-based sequence reinforcement learning for
model-free control" (SRL, ICLR 2025, arXiv 2410.08979, and the authors' code).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mbrl.arguments import Count
from mbrl.data import Generator, Task, Transitions
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.networks import Normalizer
from mbrl.policies.base import BoundCriticTerm
from mbrl.policies.placed_critics import PlacedCritics
from mbrl.policies.recurrent_policy import Cell, RecurrentPolicy
from mbrl.policies.sac import SAC


class Recalled(NamedTuple):
    """Where a model says that the actions of sequences would be taken.

    Attributes:
        obs: `J x B x S`, finite, the first as it was given.
        alive: `J x B` bool, sequences that nothing has stopped before that action; other terms don't count.
    """

    obs: Tensor
    alive: Tensor


Recall = Callable[[Tensor, Tensor], Recalled]  # of obs `B x S` and actions `B x J x A`, differentiable where these are


class SequenceSAC(SAC):
    """Soft actor-critic with a `RecurrentPolicy`, whose actions are valued where a model predicts that they are taken.

    The planner `SRL` trains it. Alone, in the place of another learner, it has no model to ask, and learns sequences of
    length 1, which is SAC with the action before as a further input.

    Args:
        length: J, actions of a sequence in training; later longer ones can be asked for, untrained. More decide more seldom,
            and rely on a model for more steps.
        cell: `"gru"` [Patel2025], or `"rnn"`, the plain cell of the authors' code.
        actor_reduce: how terms of the J actions make the actor's loss, `"sum"` (authors' code) or `"mean"`; Adam undoes the
            factor.
        temperature_reduce: the entropy that α holds to its target: the `"mean"` over actions (authors' code), where early
            and late ones may trade, or that of the `"first"`, which the critics' target holds.
        bp_through_time: whether the gradient passes through the model, from the value of the last action, the only one that
            is then scored, where that action is taken. The authors' code has it as an option, off, and scores the last
            action at the state after it. The model has to be differentiable.
        time_aware_critic: whether critics know the place j at which an action is taken: they learn from segments of J real
            steps, each step's value at the state that the model predicts from the segment's first, and the policy's j-th
            action is scored at place j. Targets bootstrap from place 0 at real states. An option of the authors' code, off.
            Segments that an episode's end cuts repeat its last step. An update of the critics then takes about J times as
            long.
        **sac: arguments of `SAC`, all but `initial`.

    Raises:
        ConfigError: if an option lies outside its range, for another `initial` than `"mbpo"`, or for a `critic_constraint`
            beside `time_aware_critic`.
    """

    policy: RecurrentPolicy  # type: ignore[assignment]

    def __init__(
        self,
        length: Count = 4,
        cell: Cell = "gru",
        *,
        actor_reduce: Literal["sum", "mean"] = "sum",
        temperature_reduce: Literal["mean", "first"] = "mean",
        bp_through_time: bool = False,
        time_aware_critic: bool = False,
        **sac: Any,
    ) -> None:
        super().__init__(**sac)
        if self.initial != "mbpo":
            raise ConfigError(
                f"{type(self).__name__}(initial=…): expected mbpo, since a recurrent policy draws its first weights in one "
                f"way, got {self.initial!r}; leave it out."
            )
        if time_aware_critic and self.critic_constraint is not None:
            raise ConfigError(
                f"{type(self).__name__}(time_aware_critic=True): expected no critic_constraint beside it, whose budget "
                f"would count places as states, got {type(self.critic_constraint).__name__}; leave one out."
            )
        self.length = length
        self.cell: Cell = cell
        self.actor_reduce = actor_reduce
        self.temperature_reduce = temperature_reduce
        self.bp_through_time = bp_through_time
        self.time_aware_critic = time_aware_critic
        if time_aware_critic:
            self.critics_class = PlacedCritics

    @property
    def needs_model(self) -> bool:
        """True if an update asks a model where actions are taken: from J = 2 on."""
        return self.length > 1

    def make_policy(self, task: Task, generator: torch.Generator, normalizer: Normalizer | None) -> RecurrentPolicy:
        shape = (self.hidden, self.cell, self.log_sigma, self.log_sigma_range, self.precision, normalizer)
        policy = RecurrentPolicy(task.obs_size, task.action_size, generator, *shape)
        policy.trained_length = self.length
        return policy

    def segments(self, windows: Transitions, places: Tensor, recall: Recall) -> Transitions:
        """The rows that time-aware critics learn from, `W·J`, of windows of real steps, `W x J`.

        Each stands at the state that `recall` predicts from its window's first, with its place in `extras["place"]`.

        Args:
            windows: as `ReplayBuffer.sample_cut_windows` draws them. Whole ones hold terminations at the last place alone,
                past which values, bootstrapped from place 0, would go on.
            places: `W x J` int64, of each row in its window.
            recall: as in `update_actor`.
        """
        said = recall(windows.obs[:, 0], windows.action)  # J x W
        rows = windows.map(lambda column: column.transpose(0, 1).flatten(0, 1))  # J·W
        rows.obs = torch.take_along_dim(said.obs, places.T.unsqueeze(-1), 0).flatten(0, 1)
        rows.extras["place"] = places.T.flatten().to(rows.obs.dtype)
        return rows

    def _values_of(self, batch: Transitions) -> Tensor:
        if not self.time_aware_critic:
            return super()._values_of(batch)
        place = batch.extras.get("place")
        return self.critics(batch.obs, batch.action, place=place, masks=self._masks("critics"))

    def row_extras(self, task: Task) -> dict[str, int]:
        return {"prev_action": task.action_size}

    def check_batches(self) -> None:
        self._check_recall(None)

    def update(
        self, batch: Transitions, generator: Generator, critic_terms: Sequence[BoundCriticTerm] = ()
    ) -> dict[str, Tensor]:
        """As `SAC.update`, for sequences of length 1; `SRL` makes the parts of an update of longer ones.

        Raises:
            UnsupportedError: for longer ones, which need a model.
        """
        self._check_recall(None)
        return super().update(batch, generator, critic_terms)

    def update_actor(self, batch: Transitions, generator: Generator, recall: Recall | None = None) -> dict[str, Tensor]:
        """The actor's and the temperature's part of an update.

        Args:
            batch: `B` real transitions with `extras["prev_action"]`.
            generator: draws the actions.
            recall: says where they are taken; None for sequences of length 1 alone. The critics are called once, for all.

        Returns:
            `actor_loss`, `temperature`, `entropy`, `entropy_first`, `entropy_last` (nats, of the first and the last action),
            and with a recall `recalled`, the share of actions that count.

        Raises:
            NotBuiltError: before `build` and `make_optimizers`.
            UnsupportedError: without a `recall` that is needed.
        """
        self._ready()
        self._check_recall(recall)
        temperature = self.log_temperature.detach().exp()
        actions, each = self.policy.sequence(batch.obs, batch.extras["prev_action"], self.length, generator)
        states, log_prob = batch.obs.unsqueeze(0), each.mT  # J x B x S, J x B
        alive: Tensor | None = None  # J x B
        if recall is not None:
            states, alive = recall(batch.obs, actions if self.bp_through_time else actions.detach())
        scored = slice(-1, None) if self.bp_through_time else slice(None)
        asked: dict[str, Any] = {"masks": self._masks("actor")}
        if self.time_aware_critic:
            places = torch.arange(self.length, device=states.device, dtype=states.dtype)
            asked["place"] = places.unsqueeze(-1).expand_as(log_prob)[scored]  # J x B
        values = self.critics(states[scored], actions.transpose(0, 1)[scored], frozen=True, **asked)  # of each critic, J x B
        terms = temperature * log_prob[scored] - self.actor_value(values)  # J x B
        entropies = -log_prob.detach()  # J x B
        held = entropies[:1] if self.temperature_reduce == "first" else entropies[scored]
        if alive is None:
            loss, entropy = terms.mean(), held.mean()
        else:
            weight = alive.to(terms.dtype)  # J x B
            loss = torch.where(alive[scored], terms, 0.0).mean()  # 0 times infinity would be NaN
            share = weight[:1] if self.temperature_reduce == "first" else weight[scored]
            entropy = (held * share).sum() / share.sum().clamp(min=1)
        if self.actor_reduce == "sum":
            loss = loss * len(terms)
        report = self.descend_actor(loss, entropy, temperature)
        report.update(entropy_first=entropies[0].mean(), entropy_last=entropies[-1].mean())
        return report if alive is None else {**report, "recalled": alive.to(terms.dtype).mean()}

    def _check_recall(self, recall: Recall | None) -> None:
        if recall is None and self.needs_model:
            raise UnsupportedError(
                f"{type(self).__name__}(length={self.length}): expected a model that says where later actions are taken, "
                "got none; train it with the planner mbrl.planners.SRL, or set length to 1."
            )
