"""Dyna: learn a model, imagine short rollouts from real states, learn from both (Sutton1991; MBPO, Janner2019).

With its defaults this is MBPO as its authors run it, with three choices of ours: real steps are stored at once instead
of when their episode ends, terminations and time limits are kept apart, and a batch holds a fixed share of real rows.
`docs/mbpo.md` lists every switch.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from mbrl.arguments import Count, Natural, Share
from mbrl.data import ReplayBuffer, Task, ValueFunction
from mbrl.errors import ConfigError
from mbrl.models import DynamicsModel
from mbrl.planners.capabilities import LearnsPolicy
from mbrl.planners.memory import Memory
from mbrl.planners.online_planner import OnlinePlanner
from mbrl.planners.policy_planner import PolicyPlanner
from mbrl.planners.rollouts.check_parts import check_parts, check_without_dynamics
from mbrl.planners.rollouts.hooks import BatchHook, RolloutHook
from mbrl.planners.rollouts.imagined_learning import ImaginedLearning
from mbrl.planners.rollouts.schedule import (
    check_real_ratio,
    check_schedule,
    check_update_schedule,
    fewest_real_rows,
    real_rows,
    rollout_capacity,
    rollout_length,
    updates_for_step,
)
from mbrl.planners.rollouts.selectors import ActionSelector, PolicySample, Situation
from mbrl.planners.rollouts.trusted_length import TrustedLength
from mbrl.policies import CriticTerm, Learner, Policy

_EXPLORE = "explore/"  # before the names of the exploration selector's tensors in a memory
_OF_MODEL = (  # settings of its fits and rollouts
    "rollouts_per_step", "rollout_length", "epoch_steps", "retain_epochs", "real_ratio", "rollout_chunk",
    "finished_rollouts", "rollout_selector", "rollout_hooks",
)  # fmt: skip


class Dyna(PolicyPlanner, OnlinePlanner, LearnsPolicy):
    """Trains a learner on a mix of real steps and rollouts of a model that is refitted as data come in.

    Without a model (`dynamics: null`) batches are real throughout, and this is the learner alone, such as SAC. What only a
    model needs is then refused rather than ignored: rollout hooks, selectors and batch hooks that ask it, and settings of
    fits and rollouts at anything but their defaults (`real_ratio` may be 1).

    Args:
        dynamics: the model, any `DynamicsModel`; None for none.
        learner: what learns to act; any `Learner`.
        warmup_steps: real steps before the first fit, drawn as `warmup` says. More gives the first model more to see.
        warmup: `"uniform"` actions (MBPO), or samples of the `"policy"` as it is initialised (several ports), whatever the
            `explore_selector`.
        refit_every: real steps between fits, each followed by fresh rollouts; a fit also happens right after the warm-up.
            Without a model, steps between two looks of learner and parts at all real rows (scales, thresholds).
            More environments than that are fitted after each step of theirs.
        rollouts_per_step: rollouts started for each real step, so `rollouts_per_step * refit_every` at a time.
        rollout_length: `[first epoch, last epoch, k0, k1]`: steps per rollout, linear in the epoch. Longer rollouts reach
            further from the data and compound the model's error. Or a `TrustedLength`, which `"auto"` makes: as many as the
            model has just predicted well.
        epoch_steps: real steps in what `rollout_length` and `retain_epochs` call an epoch, counted from the warm-up's end.
        retain_epochs: epochs whose rollouts are kept, and always those of the last fit; more is more data from older models
            and policies.
        updates_per_step: learner updates for each real step after the warm-up. More learn more from each step, take longer,
            and follow the model's and the critics' errors further. Or, like `rollout_length`, `[first epoch, last epoch,
            updates before, updates after]`, linear in the epoch, cut to a whole number.
        batch_size: rows in an update.
        real_ratio: share of real rows in it, cut to a whole number of rows; 1 makes no rollouts at all. Or, like
            `rollout_length`, `[first epoch, last epoch, share before, share after]`, linear in the epoch; then a fit is
            followed by rollouts unless all batches until the next are real.
        real_capacity: real rows kept at most; a shorter run keeps all of its own.
        keep_sim_state: whether to keep MuJoCo's states with them (float64), so that a dataset made of the buffer has them
            (`mbrl collect --levels`). It costs memory and changes no number.
        rollout_selector: how actions are chosen in the model (default: a sample of the policy).
        explore_selector: how actions are chosen in the environment after the warm-up (default: a sample of the policy).
        rollout_hooks: applied in order to each model step.
        batch_hooks: applied in order to each batch.
        critic_terms: added to the critics' loss.
        rollout_chunk: rollouts drawn for at once; another number draws other noise. More takes more memory.
        finished_rollouts: `"drop"` or `"mask"`; `"auto"` drops on CPU and masks on CUDA.

    Raises:
        ConfigError: for a number out of range, or a choice that there isn't.
        UnsupportedError: from `build`, if a part can't work with the model; for a part that needs one where there is none.
    """

    learner: Learner  # never None here
    updates_per_step: int | Sequence[int]  # type: ignore[assignment]
    former = MappingProxyType({"keep_sim_state": False})

    def __init__(
        self,
        dynamics: DynamicsModel | None,
        learner: Learner,
        *,
        warmup_steps: Count = 5000,
        warmup: Literal["uniform", "policy"] = "uniform",
        refit_every: Count = 250,
        rollouts_per_step: Count = 400,
        rollout_length: Sequence[int] | Literal["auto"] | TrustedLength = (20, 150, 1, 1),
        epoch_steps: Count = 1000,
        retain_epochs: Count = 1,
        updates_per_step: Natural | Sequence[int] = 20,
        batch_size: Count = 256,
        real_ratio: Share | Sequence[float] = 0.05,
        real_capacity: Count = 1_000_000,
        keep_sim_state: bool = False,
        rollout_selector: ActionSelector | None = None,
        explore_selector: ActionSelector | None = None,
        rollout_hooks: Sequence[RolloutHook] = (),
        batch_hooks: Sequence[BatchHook] = (),
        critic_terms: Sequence[CriticTerm] = (),
        rollout_chunk: Count = 8000,
        finished_rollouts: Literal["auto", "drop", "mask"] = "auto",
    ) -> None:
        super().__init__(
            dynamics,
            warmup_steps=warmup_steps,
            warmup=warmup,
            refit_every=refit_every,
            real_capacity=real_capacity,
            keep_sim_state=keep_sim_state,
        )
        if not isinstance(rollout_length, (str, TrustedLength)):
            check_schedule(rollout_length)
            rollout_length = tuple(rollout_length)
        check_update_schedule(updates_per_step)
        check_real_ratio(real_ratio)
        self.learner = learner
        self.rollouts_per_step = rollouts_per_step
        self.rollout_length = TrustedLength() if isinstance(rollout_length, str) else rollout_length
        self.epoch_steps = epoch_steps
        self.retain_epochs = retain_epochs
        self.updates_per_step = updates_per_step
        self.batch_size = batch_size
        self.real_ratio = real_ratio
        self.rollout_selector = rollout_selector or PolicySample()
        self.explore_selector = explore_selector or PolicySample()
        self.rollout_hooks = list(rollout_hooks)
        self.batch_hooks = list(batch_hooks)
        self.critic_terms = list(critic_terms)
        self.rollout_chunk = rollout_chunk
        self.finished_rollouts = finished_rollouts
        if dynamics is None:
            selector = None if rollout_selector is None else type(rollout_selector).__name__
            hooks = tuple(type(hook).__name__ for hook in rollout_hooks)
            self._check_without_dynamics({**vars(self), "rollout_selector": selector, "rollout_hooks": hooks})
        self._learning: ImaginedLearning | None = None

    # parts -----------------------------------------------------------------------------------------------------------

    def make_parts(self, task: Task, seed: int) -> None:
        self._learning = None
        self.build_dynamics(seed)
        rolls_out = self.dynamics is not None and fewest_real_rows(self.real_ratio, self.batch_size) < self.batch_size
        self.learner.build(task, seed)
        check_parts(
            "Dyna",
            self.dynamics,
            self.learner,
            rolls_out=rolls_out,
            real_ratio=self.real_ratio,
            selectors=[self.rollout_selector, self.explore_selector],
            rollout_hooks=self.rollout_hooks,
            batch_hooks=self.batch_hooks,
            critic_terms=self.critic_terms,
        )

    def _check_without_dynamics(self, given: Mapping[str, Any]) -> None:
        """Refuses what only a model needs, among the arguments that were `given`."""
        defaults = inspect.signature(Dyna.__init__).parameters
        settings = {name: (given[name], defaults[name].default) for name in _OF_MODEL}
        if isinstance(self.updates_per_step, Sequence):
            settings.pop("epoch_steps")  # its epochs are those of the updates too
        check_without_dynamics("Dyna", settings, self.batch_hooks, [self.explore_selector])
        if self.updates_per_step == 0:
            raise ConfigError("Dyna(dynamics=None): expected updates_per_step above 0, or nothing learns, got 0; set 1.")

    def make_optimizers(self) -> list[Optimizer]:
        model = [] if self.dynamics is None else self.dynamics.make_optimizers()
        return [*model, *self.learner.make_optimizers()]

    @property
    def acting_policy(self) -> Policy:
        return self.learner.policy

    @property
    def real_rows(self) -> int:
        """Real rows in a batch of the present epoch; the others are the model's."""
        if self.dynamics is None:
            return self.batch_size
        return real_rows(self._epoch(self.env_steps), self.real_ratio, self.batch_size)

    def _epoch(self, env_steps: int) -> int:
        """Whole epochs since the warm-up, 0 before its end."""
        return max(env_steps - self.warmup_steps, 0) // self.epoch_steps

    @property
    def fit_value(self) -> ValueFunction:
        return self.learner

    @property
    def learning(self) -> ImaginedLearning:
        """Rollouts and updates; made when first used, once the device is known."""
        if self._learning is None:
            self._learning = ImaginedLearning(
                self.dynamics,
                self.learner,
                self.real_buffer,
                self.streams,
                self.metrics,
                batch_size=self.batch_size,
                real_rows=self.real_rows,
                selector=self.rollout_selector,
                rollout_hooks=self.rollout_hooks,
                batch_hooks=self.batch_hooks,
                critic_terms=self.critic_terms,
                rollout_chunk=self.rollout_chunk,
                finished_rollouts=self.finished_rollouts,
            )
        return self._learning

    @property
    def model_buffer(self) -> ReplayBuffer:
        """The rollouts that are kept."""
        return self.learning.model

    # acting ----------------------------------------------------------------------------------------------------------

    def memory(self, n: int, generator: torch.Generator) -> Memory:
        before = torch.zeros(n, self.built_task.action_size, device=self.device, dtype=torch.float32)
        kept = self.explore_selector.memory(n, self.built_task, before)
        return Memory(n, generator, prev_action=before, **{_EXPLORE + name: tensor for name, tensor in kept.items()})

    @torch.no_grad()
    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> tuple[Tensor, Memory]:
        if not explore:
            return super().act(obs, memory, explore=False)
        action = self._explored(obs, memory, memory.tensors.get("prev_action"), snapshot)
        memory.tensors["prev_action"] = action
        return action, memory

    def _explored(self, obs: Tensor, memory: Memory, prev_action: Tensor | None, snapshot: Tensor | None) -> Tensor:
        start, remembered = None, memory.part(_EXPLORE)
        if self.dynamics is not None:
            start = partial(self.dynamics.start, self.start_rows(obs, snapshot))
        situation = Situation(
            obs=obs,
            policy=self.learner.policy,
            dynamics=self.dynamics,
            start=start,
            policy_generator=memory.generator,
            planning_generator=memory.planning_generator,
            value=self.learner,
            report=partial(self.metrics.add, prefix="explore/"),
            prev_action=prev_action,
            memory=remembered,
        )
        action = self.explore_selector.select(situation)
        memory.tensors.update({_EXPLORE + name: tensor for name, tensor in remembered.items()})
        return action

    def warmup_action(self, obs: Tensor, memory: Memory) -> Tensor:
        if self.warmup == "uniform":
            action = super().warmup_action(obs, memory)
        else:
            action = self.learner.policy.sample(obs, memory.generator, memory.tensors.get("prev_action"))[0]
        memory.tensors["prev_action"] = action
        return action

    # one tick: collecting and refitting are OnlinePlanner's -------------------------------------------------------------

    def before_refit(self) -> None:
        """Has a `TrustedLength` measured on the steps since the last fit, if there was one."""
        if not isinstance(self.rollout_length, TrustedLength) or self.dynamics is None:
            return
        self.rollout_length.measure(self.dynamics, self.real_buffer, self.streams["trusted length"])
        self.metrics.add({"rollout/trusted_steps": float(self.rollout_length.trusted)})

    def after_refit(self) -> None:
        """Imagines fresh rollouts of the new model, unless batches are real until the next fit."""
        if self.dynamics is None:
            return
        steps = max(self.refit_every, self.collects)  # since the last fit, and until the next
        epoch, later = self._epoch(self.env_steps), self._epoch(self.env_steps + steps - 1)
        if all(real_rows(each, self.real_ratio, self.batch_size) == self.batch_size for each in (epoch, later)):
            return
        given = self.rollout_length
        length = given.length if isinstance(given, TrustedLength) else rollout_length(epoch, given)
        rollouts = self.rollouts_per_step * steps
        capacity = rollout_capacity(length, rollouts, steps, self.epoch_steps, self.retain_epochs)
        self.learning.imagine(rollouts, length, capacity, self.env_steps)

    def updates_at(self, env_steps: int) -> int:
        return updates_for_step(self._epoch(env_steps), self.updates_per_step)

    def learn(self, new: int) -> None:
        """Makes the learner's updates for `new` real steps."""
        self.learning.real_rows = self.real_rows
        if self.real_rows < self.batch_size and len(self.model_buffer) == 0:  # resumed with a smaller share of real rows
            self.after_refit()
        updates = self.updates_at(self.env_steps)
        self.learning.learn(updates * new)
        self.count_actor_updates(updates / self.learner.actor_every)

    # checkpoint ------------------------------------------------------------------------------------------------------

    def buffers_state(self) -> dict[str, dict[str, Any]]:
        return {**super().buffers_state(), **({} if self._learning is None else self._learning.buffers_state())}

    def load_buffers_state(self, state: dict[str, dict[str, Any]]) -> None:
        super().load_buffers_state(state)
        self.learning.load_buffers_state(state)
