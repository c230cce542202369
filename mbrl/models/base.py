"""The contract of dynamics models; `capabilities` has what a planner may ask of one besides.

A model predicts one step; the base class makes a batched environment of it. `mbrl.testing.check_dynamics_model` is the
conformance suite.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from mbrl.arguments import check_argument
from mbrl.data import (
    Generator,
    ModelState,
    ModelStep,
    Prediction,
    Task,
    Transitions,
    ValueFunction,
    default_draws,
    draw_balanced,
    draw_normal,
    make_generator,
)
from mbrl.errors import UnsupportedError
from mbrl.models.capabilities import Exact, WantsValueFunction
from mbrl.models.domains.model import DomainModel
from mbrl.models.obs_state import ObsState
from mbrl.parts import reset_parts


class DynamicsModel(DomainModel, ABC):
    """Predicts one step of a task, and steps a batch of rollouts with what it predicts.

    A model of observations implements `predict` (and `make_parameters`, if it has any); everything else follows. One whose
    state is an observation and more (a hidden state, a history) starts from a subclass of `ObsState`, answers
    `predict_from`, and takes the rest along in `sample`. One with a state of another kind (a simulator) overrides `start`,
    `step`, `particles` and `predict_rows`, and honours `project` and `halted`. Lightning runs any of them alone on a dataset
    (`ModelModule`). All answer from `build` on, before a fit by their prior: fresh weights, or in closed form "nothing
    changes", with variance 1 where they will have one.

    Args:
        domain: sets of states in which its rollouts are kept, or behind which they end: `UnitCircle`, `Box`.

    Attributes:
        fitting: `"gradient"` (see `GradientModel`), `"closed_form"` (implements `refit` by one solve) or `"fixed"`.
        task: what it models, once built.
        lacks: capabilities of its class that this model hasn't, where its arguments decide; `require` asks for both.
        draws_termination: whether a learned termination is drawn by its probability; else it comes at one half.
    """

    fitting: ClassVar[Literal["gradient", "closed_form", "fixed"]] = "fixed"
    draws_termination: bool = True
    lacks: Collection[type] = ()

    @property
    def wants_value(self) -> bool:
        """True if `refit` needs a `ValueFunction`; override it where that depends on an argument."""
        return isinstance(self, WantsValueFunction)

    # life ------------------------------------------------------------------------------------------------------------

    def build(self, task: Task, seed: int = 0) -> None:
        """Makes the parameters for `task`; the same seed gives the same parameters."""
        check_argument(f"{type(self).__name__}.build(task=…)", task, Task)
        for part in self.domain:
            part.check(task)
        self.task, self.seed = task, seed
        reset_parts(self)
        with default_draws(seed, "dynamics", "default init"):
            self.make_parameters(task, make_generator("cpu", seed, "dynamics", "init"))

    def make_parameters(self, task: Task, generator: torch.Generator) -> None:
        """Makes parameters and buffers for `task`, drawing from `generator`; torch's layers may draw as they do."""

    def make_optimizers(self) -> list[Optimizer]:
        """The optimisers of the parameters, made once after `build`; the model keeps and steps them raw."""
        return []

    def refit(
        self, rows: Transitions, generator: torch.Generator, value: ValueFunction | None = None
    ) -> dict[str, float | Tensor]:
        """Fits the model to all of `rows` (`N` transitions), from where it stands; returns metrics by name.

        Args:
            rows: real transitions, float32, or float64 of a dataset; `extras["episode"]`: their episodes where known.
            generator: draws the split, the bootstrap and the order.
            value: for value-aware losses (`wants_value`); others have no use for it.
        """
        if self.fitting != "fixed":
            raise UnsupportedError(f"{type(self).__name__} says fitting = {self.fitting!r} but has no refit; implement it.")
        return {}

    # one step --------------------------------------------------------------------------------------------------------

    @abstractmethod
    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        """Predicts the next observation, and whatever else the model learns.

        Args:
            obs: `B x S`, environment units; `B` stands for any number of leading dims.
            action: `B x A` in [−1, 1].
            member: `B` int64, the member to ask for each row; None asks all.

        Returns:
            A `Prediction` with dims `E x B x …`, or `B x …` with `member`.
        """

    def predict_from(self, state: ObsState, action: Tensor, member: Tensor | None = None) -> Prediction:
        """As `predict`, from where rollouts stand: whatever steps the model asks this, by default of `state.obs` alone.

        Args:
            state: `B` rollouts, from `start` or a step; left as it was.
            action: `B x A` in [−1, 1].
            member: `B` int64, the member to ask for each row; None asks all.
        """
        return self.predict(state.obs, action, member)

    def predict_rows(self, rows: Transitions) -> Prediction:
        """The all-member prediction of `B` real rows, `E x B x …`, from where `start` puts them, extras and all."""
        state = self.start(rows, torch.Generator())  # which draws nothing: members are drawn to follow, or by a step
        return self.predict_from(state, rows.action) if isinstance(state, ObsState) else self.predict(rows.obs, rows.action)

    @torch.no_grad()
    def score(self, rows: Transitions, value: ValueFunction | None = None) -> Tensor:
        """The error of each member on `B` rows, `E`: a mean over rows, lower is better. No graph, no read-back.

        It is the mean squared error of the next observation, and of the reward where the model predicts it, over rows and
        dims, in environment units. A fit's holdout has the extras of `fit_extras`; `value` is as in `refit`.
        """
        said = self.predict_rows(rows)
        error = said.mean - rows.next_obs  # E x B x S
        if said.reward_mean is not None:
            error = torch.cat((error, (said.reward_mean - rows.reward).unsqueeze(-1)), -1)  # E x B x (S+1)
        return error.square().mean((1, 2), dtype=torch.float64)

    # a batch of rollouts ---------------------------------------------------------------------------------------------

    def start(self, rows: Transitions, generator: Generator, *, follow: bool = False) -> ModelState:
        """Rollouts that begin at `rows.obs` (`B x S`).

        Args:
            rows: where to begin; a model with a state of its own reads its extras.
            generator: draws members and noise of these rollouts.
            follow: whether a rollout keeps one member throughout (TS∞) instead of drawing at every step (TS1).
        """
        members = draw_balanced(generator, len(rows), self.drawn_members) if follow else None
        return ObsState(rows.obs, generator, members)

    def particles(self, state: ModelState, plans: int, particles: int, *, follow: bool = False) -> ModelState:
        """`plans x particles` copies of each rollout of `state` (`B` rows), to try as many plans from there.

        Args:
            state: from `start` or a step, of any rollouts; left as it was.
            plans: `K`.
            particles: `P` rollouts of each plan. If the model has members, each plan's particles ask them equally often.
            follow: whether a particle keeps its member throughout (TS∞) instead of drawing at every step (TS1).

        Returns:
            A state of `P` blocks of `K` blocks of `B` rows.

        Raises:
            UnsupportedError: for a state of another kind, unless the model is exact: all its particles could be equal.
        """
        tiled = state.tile(plans * particles)
        if not isinstance(tiled, ObsState):
            if isinstance(self, Exact):  # there is nothing in which particles could differ
                return tiled
            raise UnsupportedError(
                f"{type(self).__name__}.particles: expected an ObsState, whose members can be spread over particles, got "
                f"{type(state).__name__}; override particles as well."
            )
        member = None
        if follow:
            member = draw_balanced(tiled.generator, tiled.obs.shape[0], self.drawn_members, particles)
        return replace(tiled, member=member, particles=particles)

    def step(self, state: ModelState, action: Tensor, want: Collection[str] = ()) -> ModelStep:
        """Steps all rollouts once.

        Args:
            state: from `start` or an earlier step; left as it was.
            action: `B x A` in [−1, 1].
            want: `"prediction"` for the all-member `Prediction`, which costs E times as much and changes the rest by no more
                than rounding.

        Raises:
            UnsupportedError: if neither the task nor the model knows the reward, or termination, or for a foreign `state`.
        """
        if not isinstance(state, ObsState):
            raise UnsupportedError(
                f"{type(self).__name__}.step: expected an ObsState, got {type(state).__name__}; override step as well."
            )
        member = state.member
        if member is None:
            member = draw_balanced(state.generator, state.obs.shape[0], self.drawn_members, state.particles)
        if "prediction" not in want:
            step = self.sample(state, action, self.predict_from(state, action, member))
        else:
            everyone = self.predict_from(state, action)  # the drawn members' answers are among these
            step = self.sample(state, action, everyone.of_member(member))
            step.prediction = everyone
        step.member = member
        return step

    def sample(self, state: ObsState, action: Tensor, drawn: Prediction) -> ModelStep:
        """The step that a prediction of one Gaussian for each row makes of `state`.

        `step` passes the drawn members' prediction; a planner may pass another, such as the moments of all members. A model
        whose state is more than an observation overrides it and takes the rest one step on.

        Args:
            state: where the rollouts stand; left as it was.
            action: `B x A` in [−1, 1].
            drawn: with dims `B x …`.

        Raises:
            UnsupportedError: if neither the task nor `drawn` knows the reward, or termination.
        """
        obs = state.obs
        noise = self.outcome_noise(state.generator, obs, drawn)
        next_obs, reward, terminated = self.outcome(obs, action, drawn, noise)
        halt = self.halted(obs, action, next_obs)
        return ModelStep(obs, action, next_obs, reward, terminated, state.moved(next_obs), halt=halt)

    def outcome_noise(self, generator: Generator, obs: Tensor, drawn: Prediction) -> Tensor:
        """Standard normal numbers for `outcome`: `B x (S+1)`, and one more column where a termination is drawn.

        That column comes after the others, so that it moves none of them.
        """
        size = self.built_task.obs_size
        noise = draw_normal(generator, obs.shape[0], size + 1, obs)
        if not self.draws_termination or drawn.terminated_logit is None or self.built_task.known_terminated is not None:
            return noise
        return torch.cat((noise, draw_normal(generator, obs.shape[0], 1, obs)), -1)

    def outcome(self, obs: Tensor, action: Tensor, drawn: Prediction, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Next observation `B x S`, projected, reward and termination `B`, of Gaussians and the noise that picks from them.

        Args:
            obs: `B x S`; `B` stands for any number of leading dims.
            action: `B x A` in [−1, 1].
            drawn: with dims `B x …`.
            noise: from `outcome_noise`: of the next observation, the reward and, in a further column, the termination.

        Raises:
            UnsupportedError: if neither the task nor `drawn` knows the reward, or termination.
        """
        task = self.built_task
        next_obs = self.project(torch.addcmul(drawn.mean, drawn.var.sqrt(), noise[..., : task.obs_size]))  # B x S
        reward = task.reward(obs, action, next_obs)
        if reward is None:
            if drawn.reward_mean is None:
                raise self._nobody_knows("reward")
            reward = drawn.reward_mean
            if drawn.reward_var is not None:
                reward = torch.addcmul(reward, drawn.reward_var.sqrt(), noise[..., task.obs_size])  # B
        terminated = task.terminated(obs, action, next_obs)
        if terminated is None:
            logit = drawn.end_logit(next_obs)
            if logit is None:
                raise self._nobody_knows("termination")
            terminated = logit > 0
            if noise.shape[-1] > task.obs_size + 1:  # by its probability, or an end that is rare would never come
                terminated = torch.special.ndtr(noise[..., task.obs_size + 1]) < torch.sigmoid(logit)
        return next_obs, *self.leaving(obs, next_obs, reward, terminated)

    def rollout(self, state: ModelState, actions: Tensor, want: Collection[str] = ()) -> list[ModelStep]:
        """Steps through an open-loop plan `B x H x A`; rollouts that end are stepped on and left to the caller."""
        steps = []
        for action in actions.unbind(-2):  # H of B x A
            steps.append(self.step(state, action, want))
            state = steps[-1].state
        return steps

    def check_known(self) -> None:
        """Refuses, once built, a task whose reward or termination neither the task nor the model knows, as `step` would.

        Raises:
            UnsupportedError: naming which.
        """
        for what in self.unknown():
            raise self._nobody_knows(what)

    def unknown(self) -> list[Literal["reward", "termination"]]:
        """The parts of a step that neither the task nor the model knows, once built.

        It asks for the prediction of one row, which any model has from `build` on; one that steps in its own way is left
        to its first `step`.
        """
        task = self.built_task
        known = task.known_reward is not None and task.known_terminated is not None
        if known or type(self).step is not DynamicsModel.step:
            return []
        obs = torch.zeros(1, task.obs_size, device=self.device, dtype=torch.float32)
        with torch.no_grad():
            said = self.predict(obs, obs.new_zeros(1, task.action_size), self.drawn_members[:1])
        found: list[Literal["reward", "termination"]] = []
        if task.known_reward is None and said.reward_mean is None:
            found.append("reward")
        if task.known_terminated is None and said.terminated_logit is None:
            found.append("termination")
        return found

    def _nobody_knows(self, what: Literal["reward", "termination"]) -> UnsupportedError:
        argument = "reward" if what == "reward" else "terminated"
        never = " (mbrl.envs.terminations.never if nothing ends an episode)" if what == "termination" else ""
        return UnsupportedError(
            f"{type(self).__name__} predicts no {what} and the task has no known one; name a function with "
            f"data.init_args.{argument}{never}, or let the model learn it."
        )

    # what the parts above need ---------------------------------------------------------------------------------------

    def row_extras(self, task: Task) -> dict[str, int]:
        """Widths of the extras that `start` needs in its rows, such as a simulator's state; planners keep and pass them."""
        return {}

    @property
    def drawn_members(self) -> Tensor:
        """`e` int64: the members that a step may draw (the elites of an ensemble)."""
        return torch.zeros(1, dtype=torch.int64, device=self.device)
