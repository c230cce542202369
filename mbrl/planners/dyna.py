"""Dyna: learn a model, imagine short rollouts from real states, learn from both (Sutton1991; MBPO, Janner2019).

With its defaults this is MBPO as its authors run it, with three choices of ours: real steps are stored at once instead
of when their episode ends, terminations and time limits are kept apart, and a batch holds a fixed share of real rows.
`docs/mbpo.md` lists every switch.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from mbrl.data import ReplayBuffer, Task, Transitions, mixed_batch
from mbrl.envs.experience import Experience
from mbrl.errors import ConfigError, DivergedError
from mbrl.models import DynamicsModel
from mbrl.planners.base import Planner
from mbrl.planners.hooks import BatchHook, RolloutHook
from mbrl.planners.imagination import Imagination
from mbrl.planners.memory import Memory
from mbrl.planners.schedule import check_schedule, rollout_capacity, rollout_length
from mbrl.planners.selectors import ActionSelector, PolicySample, Situation
from mbrl.policies import CriticTerm, Learner


class Dyna(Planner):
    """Trains a learner on a mix of real steps and rollouts of a model that is refitted as data come in.

    Args:
        dynamics: the model; any `DynamicsModel`.
        learner: what learns to act; any `Learner`.
        warmup_steps: real steps before the first fit, drawn as `warmup` says. More gives the first model more to see.
        warmup: `"uniform"` actions (MBPO), or the `"policy"` as it is initialised (several ports).
        refit_every: real steps between fits, each followed by fresh rollouts; a fit also happens right after the warm-up.
        rollouts_per_step: rollouts started for each real step, so `rollouts_per_step * refit_every` at a time.
        rollout_length: `[first epoch, last epoch, k0, k1]`: steps a rollout, linear in the epoch. Longer rollouts reach
            further from the data and compound the model's error.
        epoch_steps: real steps in what `rollout_length` and `retain_epochs` call an epoch, counted from the warm-up's end.
        retain_epochs: epochs whose rollouts are kept; more is more data from older models and policies.
        updates_per_step: learner updates for each real step after the warm-up.
        batch_size: rows in an update.
        real_ratio: share of real rows in it, cut to a whole number of rows; 1 makes no rollouts at all.
        real_capacity: real rows kept at most; a shorter run keeps all of its own.
        rollout_selector: how actions are chosen in the model (default: a sample of the policy).
        explore_selector: how actions are chosen in the environment (default: a sample of the policy).
        rollout_hooks: applied in order to each model step.
        batch_hooks: applied in order to each batch.
        critic_terms: added to the critics' loss.
        rollout_chunk: rollouts drawn for at once; another number draws other noise. More takes more memory.
        finished_rollouts: `"drop"` or `"mask"`; `"auto"` drops on CPU and masks on CUDA.

    Raises:
        ConfigError: for a number out of range, or a choice that there isn't.
        UnsupportedError: from `build`, if a part can't work with the model.
    """

    def __init__(
        self,
        dynamics: DynamicsModel,
        learner: Learner,
        *,
        warmup_steps: int = 5000,
        warmup: Literal["uniform", "policy"] = "uniform",
        refit_every: int = 250,
        rollouts_per_step: int = 400,
        rollout_length: Sequence[int] = (20, 150, 1, 1),
        epoch_steps: int = 1000,
        retain_epochs: int = 1,
        updates_per_step: int = 20,
        batch_size: int = 256,
        real_ratio: float = 0.05,
        real_capacity: int = 1_000_000,
        rollout_selector: ActionSelector | None = None,
        explore_selector: ActionSelector | None = None,
        rollout_hooks: Sequence[RolloutHook] = (),
        batch_hooks: Sequence[BatchHook] = (),
        critic_terms: Sequence[CriticTerm] = (),
        rollout_chunk: int = 8000,
        finished_rollouts: Literal["auto", "drop", "mask"] = "auto",
    ) -> None:
        super().__init__()
        for name, number in (
            ("warmup_steps", warmup_steps),
            ("refit_every", refit_every),
            ("rollouts_per_step", rollouts_per_step),
            ("epoch_steps", epoch_steps),
            ("retain_epochs", retain_epochs),
            ("batch_size", batch_size),
            ("real_capacity", real_capacity),
            ("rollout_chunk", rollout_chunk),
        ):
            if number < 1:
                raise ConfigError(f"Dyna({name}=…): expected at least 1, got {number}.")
        if updates_per_step < 0:
            raise ConfigError(f"Dyna(updates_per_step=…): expected 0 or more, got {updates_per_step}.")
        if not 0.0 <= real_ratio <= 1.0:
            raise ConfigError(f"Dyna(real_ratio=…): expected a share between 0 and 1, got {real_ratio}.")
        for name, choice, choices in (
            ("warmup", warmup, ("uniform", "policy")),
            ("finished_rollouts", finished_rollouts, ("auto", "drop", "mask")),
        ):
            if choice not in choices:
                raise ConfigError(f"Dyna({name}=…): expected one of {', '.join(choices)}, got {choice!r}; choose one.")
        check_schedule(rollout_length)
        self.dynamics = dynamics
        self.learner = learner
        self.warmup_steps = warmup_steps
        self.warmup = warmup
        self.refit_every = refit_every
        self.rollouts_per_step = rollouts_per_step
        self.rollout_length = tuple(rollout_length)
        self.epoch_steps = epoch_steps
        self.retain_epochs = retain_epochs
        self.updates_per_step = updates_per_step
        self.batch_size = batch_size
        self.real_rows = int(real_ratio * batch_size)
        self.real_capacity = real_capacity
        self.rollout_selector = rollout_selector or PolicySample()
        self.explore_selector = explore_selector or PolicySample()
        self.rollout_hooks = list(rollout_hooks)
        self.batch_hooks = list(batch_hooks)
        self.critic_terms = list(critic_terms)
        self.rollout_chunk = rollout_chunk
        self.finished_rollouts = finished_rollouts
        self._real: ReplayBuffer | None = None
        self._model: ReplayBuffer | None = None

    # parts -----------------------------------------------------------------------------------------------------------

    def make_parts(self, task: Task, seed: int) -> None:
        parts: list[ActionSelector | RolloutHook] = [self.rollout_selector, self.explore_selector, *self.rollout_hooks]
        for part in parts:
            part.check(self.dynamics)
        self._real = self._model = None
        self.dynamics.build(task, seed)
        if self.real_rows < self.batch_size:  # else there are no rollouts
            self.dynamics.check_known()
        self.learner.build(task, seed)

    def make_optimizers(self) -> list[Optimizer]:
        return [*self.dynamics.make_optimizers(), *self.learner.make_optimizers()]

    @property
    def real_buffer(self) -> ReplayBuffer:
        """The real steps of this run."""
        if self._real is None:
            task, capacity = self.built_task, self.real_capacity
            data = None if self._trainer is None else self.trainer.datamodule  # type: ignore[attr-defined]
            capacity = min(capacity, getattr(data, "steps", capacity))  # a run never needs more rows than it has steps
            self._real = ReplayBuffer(capacity, task.obs_size, task.action_size, device=self.device, store_episodes=True)
        return self._real

    @property
    def model_buffer(self) -> ReplayBuffer:
        """The rollouts that are kept."""
        if self._model is None:
            task = self.built_task
            self._model = ReplayBuffer(self._capacity(), task.obs_size, task.action_size, device=self.device)
        return self._model

    # acting ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: list[Any] | None = None) -> tuple[Tensor, Memory]:
        if not explore:
            return self.learner.policy.mode(obs), memory
        rows = Transitions.from_obs(obs, self.built_task.action_size)
        situation = Situation(
            obs=obs,
            policy=self.learner.policy,
            dynamics=self.dynamics,
            start=lambda generator: self.dynamics.start(rows, generator),
            policy_generator=memory.generator,
            planning_generator=memory.planning_generator,
        )
        return self.explore_selector.select(situation), memory

    # one tick --------------------------------------------------------------------------------------------------------

    def tick(self, experience: Experience) -> None:
        """Collects one step in each environment; refits and imagines when due; updates the learner."""
        before = self.env_steps
        new = self._collect(experience)
        if self.env_steps < self.warmup_steps:
            return
        if self._refits(self.env_steps) > self._refits(before):
            self._refit()
            if self.real_rows < self.batch_size:
                self._imagine()
        if before >= self.warmup_steps:  # the tick that ends the warm-up fits the model and leaves the policy alone
            self._learn(self.updates_per_step * new)

    def _refits(self, env_steps: int) -> int:
        """How many fits should have happened by then."""
        return 0 if env_steps < self.warmup_steps else 1 + (env_steps - self.warmup_steps) // self.refit_every

    @torch.no_grad()
    def _collect(self, experience: Experience) -> int:
        """Steps the environments and stores the rows; returns how many, fewer than `N` where one only reset itself."""
        memory = self.collect_memory(experience.num_envs)
        memory.reset(experience.ended)  # before acting, so that a resume with fresh episodes forgets the old ones
        if self.env_steps < self.warmup_steps and self.warmup == "uniform":
            shape = (experience.num_envs, self.built_task.action_size)
            action = torch.rand(shape, generator=memory.generator, device=self.device) * 2 - 1  # N x A
        else:
            action, memory = self.act(experience.obs, memory, explore=True, snapshot=experience.snapshot)
        rows = experience.step(action)
        self.real_buffer.add(rows)
        self.env_steps += len(rows)
        for total, length in experience.finished():
            self.metrics.add({"train/return": total, "train/episode_length": float(length)})
        return len(rows)

    def _refit(self) -> None:
        began = perf_counter()
        report = self.dynamics.refit(self.real_buffer.all(), self.streams["model_fit"], self.learner)
        self.metrics.add({f"model/{name}": value for name, value in report.items()})
        self.metrics.add({"time/refit_s": perf_counter() - began})

    def _imagine(self) -> None:
        began = perf_counter()
        length = self._length()
        self.model_buffer.resize(self._capacity())
        starts = self.real_buffer.sample(self.rollouts_per_step * self.refit_every, self.streams["start_rows"])
        drop = self.device.type == "cpu" if self.finished_rollouts == "auto" else self.finished_rollouts == "drop"
        imagination = Imagination(
            self.dynamics,
            self.learner.policy,
            self.rollout_selector,
            self.rollout_hooks,
            self.seed,
            self.rollout_chunk,
            drop,
        )
        report = imagination.run(starts, length, self.env_steps, self.model_buffer.add)
        if report["rollout/stored"] == 0:
            raise DivergedError(
                f"Dyna: expected the model's rollouts to hold finite numbers, and none of {len(starts)} did at step "
                f"{self.env_steps}; the model has diverged: lower its learning rate, or check the data for outliers."
            )
        self.metrics.add(report)
        self.metrics.add({"time/rollout_s": perf_counter() - began})

    def _learn(self, updates: int) -> None:
        if updates == 0:
            return
        began = perf_counter()
        parts = [(self.real_buffer, self.real_rows)]
        if self.real_rows < self.batch_size:
            parts.append((self.model_buffer, self.batch_size - self.real_rows))
        replay, noise = self.streams["replay"], self.streams["updates"]
        for _ in range(updates):
            batch = mixed_batch(parts, replay)
            for hook in self.batch_hooks:
                batch = hook(batch, self.learner)
            report = self.learner.update(batch, noise, self.critic_terms)
        self.metrics.add({f"learner/{name}": value for name, value in report.items()})  # of the tick's last update
        self.metrics.add({"time/update_s": (perf_counter() - began) / updates})

    def _length(self) -> int:
        return rollout_length((self.env_steps - self.warmup_steps) // self.epoch_steps, self.rollout_length)

    def _capacity(self) -> int:
        rollouts = self.rollouts_per_step * self.refit_every
        return rollout_capacity(self._length(), rollouts, self.refit_every, self.epoch_steps, self.retain_epochs)

    # checkpoint ------------------------------------------------------------------------------------------------------

    def buffers_state(self) -> dict[str, dict[str, Any]]:
        buffers = {"real": self._real, "model": self._model}
        return {name: buffer.state_dict() for name, buffer in buffers.items() if buffer is not None}

    def load_buffers_state(self, state: dict[str, dict[str, Any]]) -> None:
        if "real" in state:
            wanted = self.real_buffer.capacity
            self.real_buffer.load_state_dict(state["real"])
            # a run that goes on for more steps than it was planned for still forgets none of its own
            self.real_buffer.resize(max(wanted, self.real_buffer.capacity))
        if "model" in state:
            self.model_buffer.load_state_dict(state["model"])
