"""SRL: sequence reinforcement learning [Patel2025]: one observation in, a sequence of J actions out.

A model is learned beside the policy and asked in its updates alone (`SequenceSAC`); acting needs the policy and no more.
`docs/srl.md` lists every switch and what differs from the authors' code, which lacks the collection of data.

Patel2025: "Overcoming slow decision frequencies in continuous control: model-based sequence reinforcement learning for
model-free control" (ICLR 2025, arXiv 2410.08979, and the authors' code).
"""

from __future__ import annotations

from time import perf_counter
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from mbrl.arguments import Count, Limits
from mbrl.data import Task, Transitions, ValueFunction
from mbrl.errors import UnsupportedError
from mbrl.models import Differentiable, DynamicsModel, GradientModel, require
from mbrl.networks import MovingAverage
from mbrl.planners.capabilities import LearnsPolicy
from mbrl.planners.memory import Memory
from mbrl.planners.online_planner import OnlinePlanner
from mbrl.planners.policy_planner import PolicyPlanner
from mbrl.planners.sequences.temporal_recall import TemporalRecall
from mbrl.policies import Policy, Recalled, SequenceSAC


class SRL(PolicyPlanner, OnlinePlanner, LearnsPolicy):
    """Decides once for J steps, stores each of them, and learns critics, model and policy from them side by side.

    An update is a step of the critics on one batch, then a step of the model and one of policy and temperature on another,
    then of the averages. A model that is fitted by gradient makes its step with `update`; `refit_every` says when it takes
    its statistics anew. Others are refitted then, and a fixed one never.

    Args:
        dynamics: the model that says where later actions are taken; any whose states are observations.
        learner: what learns to act; its `length` is J.
        warmup_steps: real steps before the first update, drawn as `warmup` says. More gives model and critics more to see.
        warmup: `"uniform"` actions, one of them `"held"` for J steps, or sequences of the `"policy"` as it is initialised.
        collect: whether training plays whole sequences, `"open_loop"`, or decides anew at each step, `"closed_loop"`, whose
            data are those of J = 1. Evaluations play whole sequences in either case.
        refit_every: real steps between two looks at all real rows: refits of a model that isn't updated by gradient,
            statistics (normalisers), scales of parts.
        updates_per_step: updates for each real step after the warm-up.
        actor_update_every: updates between two steps of policy and temperature; more leaves critics and model ahead. Beside
            the learner's `actor_every` both must agree.
        batch_size: rows in each of an update's two batches.
        model_target: whether the policy's update asks an average of the model's weights, as the authors do. Only a model
            that is updated by gradient has one.
        model_target_rate: share of the way that the average goes to the weights at each update; higher follows faster.
        recall_ends: whether actions behind a predicted end (the task's known termination, or the model's own) or halt don't
            count. The authors' code counts them.
        real_capacity: real rows kept at most; a shorter run keeps all of its own.

    Raises:
        ConfigError: for a number out of range, or a choice that there isn't.
        UnsupportedError: for a model that has no average, or weighs its rows; from `build`, for one that needs more than an
            observation, or isn't differentiable where a gradient is to pass it.
    """

    dynamics: DynamicsModel  # never None here
    learner: SequenceSAC

    def __init__(
        self,
        dynamics: DynamicsModel,
        learner: SequenceSAC,
        *,
        warmup_steps: Count = 10_000,
        warmup: Literal["uniform", "held", "policy"] = "uniform",
        collect: Literal["open_loop", "closed_loop"] = "open_loop",
        refit_every: Count = 1000,
        updates_per_step: Count = 1,
        actor_update_every: Count = 1,
        batch_size: Count = 256,
        model_target: bool = True,
        model_target_rate: Annotated[float, Limits(above=0, most=1)] = 0.005,
        recall_ends: bool = False,
        real_capacity: Count = 1_000_000,
    ) -> None:
        super().__init__(
            dynamics, warmup_steps=warmup_steps, warmup=warmup, refit_every=refit_every, real_capacity=real_capacity
        )
        name = type(dynamics).__name__
        self.updates_model = isinstance(dynamics, GradientModel)
        if model_target and not self.updates_model:
            kind = "is fixed" if dynamics.fitting == "fixed" else "is fitted as a whole"
            raise UnsupportedError(
                f"SRL(model_target=True) can't use {name}: it {kind}, so that no average of weights follows it; set "
                "model_target to false."
            )
        if isinstance(dynamics, GradientModel) and dynamics.model_loss is not None:
            raise UnsupportedError(
                f"SRL can't use {name} with {type(dynamics.model_loss).__name__}: that weighs the rows of a whole fit, "
                "and SRL makes one update at a time; leave loss out."
            )
        self.learner = learner
        self.collect = collect
        self.updates_per_step = updates_per_step
        self.actor_update_every = actor_update_every
        self.batch_size = batch_size
        self.model_target = model_target
        self.model_target_rate = model_target_rate
        self.recall_ends = recall_ends

    # parts -----------------------------------------------------------------------------------------------------------

    def make_parts(self, task: Task, seed: int) -> None:
        self.build_dynamics(seed)
        self.learner.build(task, seed)
        if self.learner.bp_through_time:
            why = "the gradient is to pass through it"
            require(self.dynamics, Differentiable, "SRL", why, "set the learner's bp_through_time to false")
        self._recall = TemporalRecall(self.dynamics, self.recall_ends)
        if self.model_target:
            self.model_average = MovingAverage(self.dynamics, self.model_target_rate)

    def make_optimizers(self) -> list[Optimizer]:
        return [*self.dynamics.make_optimizers(), *self.learner.make_optimizers()]

    @property
    def acting_policy(self) -> Policy:
        return self.learner.policy

    @property
    def fit_value(self) -> ValueFunction:
        return self.learner

    def fit_dynamics(
        self, rows: Transitions, generator: torch.Generator, value: ValueFunction | None
    ) -> dict[str, float | Tensor]:
        """Refits the model, or has one that is updated step by step take its statistics and rank its members."""
        if isinstance(self.dynamics, GradientModel):
            run = self.dynamics.begin_fit(rows, generator, value)
            if run.holdout is not None:  # rows that updates have seen as well, since they take all
                scores = self.dynamics.score(run.holdout, value)
                self.dynamics.rank_members(self.dynamics.judge(scores, run.holdout, value))
            return {}
        return super().fit_dynamics(rows, generator, value)

    # acting ----------------------------------------------------------------------------------------------------------

    def memory(self, n: int, generator: torch.Generator) -> Memory:
        size, device = self.built_task.action_size, self.device
        return Memory(
            n,
            generator,
            prev_action=torch.zeros(n, size, device=device, dtype=torch.float32),
            queue=torch.zeros(n, self.learner.length, size, device=device, dtype=torch.float32),
            left=torch.zeros(n, device=device, dtype=torch.int64),  # actions in the queue, from its front
            explored=torch.zeros(n, device=device, dtype=torch.bool),  # whether they were decided to explore
        )

    @torch.no_grad()
    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> tuple[Tensor, Memory]:
        """As every planner; it looks where no action is left of a sequence that was decided in the same way."""
        due = memory.looked = self._due(memory, explore)
        if bool(due.any()):  # a read-back at each step; the action goes to the host anyway
            policy, before, length = self.acting_policy, memory.tensors["prev_action"], self.learner.length
            if not explore:
                self._put(memory, due, policy.mode_sequence(obs, before, length), explore)
            elif self.collect == "open_loop":
                self._put(memory, due, policy.sequence(obs, before, length, memory.generator)[0], explore)
            else:
                self._put(memory, due, policy.sequence(obs, before, 1, memory.generator)[0], explore)
        return self._take(memory), memory

    def decide(self, obs: Tensor, memory: Memory, length: int, *, snapshot: Tensor | None = None) -> Tensor:
        """Chooses the policy's `mode_sequence`, and drops a sequence that is still played; see `Planner.decide`."""
        actions = super().decide(obs, memory, length, snapshot=snapshot)
        memory.tensors["left"] = torch.zeros_like(memory.tensors["left"])
        return actions

    def warmup_action(self, obs: Tensor, memory: Memory) -> Tensor:
        if self.warmup == "policy":
            return self.act(obs, memory, explore=True)[0]
        due = self._due(memory, True)
        if self.warmup == "uniform" or bool(due.any()):
            length = 1 if self.warmup == "uniform" else self.learner.length
            action = super().warmup_action(obs, memory)
            self._put(memory, due, action.unsqueeze(1).expand(-1, length, -1), True)
        return self._take(memory)

    def decided_share(self, memory: Memory) -> Tensor | float:
        if self.collect == "closed_loop":
            return 1.0
        return (memory.tensors["left"] == self.learner.length - 1).double().mean()

    def _due(self, memory: Memory, explore: bool) -> Tensor:
        """The episodes `N` in which it has to look."""
        return (memory.tensors["left"] == 0) | (memory.tensors["explored"] != explore)

    def _put(self, memory: Memory, due: Tensor, actions: Tensor, explore: bool) -> None:
        """Queues actions `N x length x A` of the episodes in `due`."""
        length, kept = actions.shape[1], memory.tensors
        queue = torch.cat((actions, kept["queue"][:, length:]), 1)
        kept["queue"] = torch.where(due.view(-1, 1, 1), queue, kept["queue"])
        kept["left"] = torch.where(due, length, kept["left"])
        kept["explored"] = torch.where(due, explore, kept["explored"])

    def _take(self, memory: Memory) -> Tensor:
        kept = memory.tensors
        action = kept["queue"][:, 0].clone()
        kept["queue"] = kept["queue"].roll(-1, 1)
        kept["left"] = kept["left"] - 1
        kept["prev_action"] = action
        return action

    def restore(self, *, training: bool = False) -> None:
        """As every planner; a run that goes on with another J (`--override`) drops what was left of its sequences."""
        super().restore(training=training)
        if self._memory is not None and self._memory.tensors["queue"].shape[1] != self.learner.length:
            fresh = self.memory(self._memory.n, self._memory.generator)
            self._memory.tensors.update({name: fresh.tensors[name] for name in ("queue", "left", "explored")})

    # learning --------------------------------------------------------------------------------------------------------

    def recall(self, obs: Tensor, actions: Tensor) -> Recalled:
        """Where `actions` `B x J x A` from `obs` `B x S` are taken, as the model or its average says."""
        return self._recall(obs, actions, self.model_average.weights() if self.model_target else None)

    def learn(self, new: int) -> None:
        """Makes the updates for `new` real steps; of each part of the learner's, reports the last."""
        if new == 0:
            return
        began, updates = perf_counter(), self.updates_per_step * new
        replay, noise = self.streams["replay"], self.streams["updates"]
        recall = self.recall if self.learner.needs_model else None
        actor_updates, report = 0, dict[str, Tensor]()
        for _ in range(updates):
            first, second = self._critics_batch(replay), self.real_buffer.sample(self.batch_size, replay)
            report.update(self.learner.update_critics(first, noise))
            if isinstance(self.dynamics, GradientModel):
                self.metrics.add(self.dynamics.update(second, self.fit_value), prefix="model/")
            if self.learner.actor_due and self.learner.updates % self.actor_update_every == 0:
                report.update(self.learner.update_actor(second, noise, recall))
                actor_updates += 1
            self.learner.end_update()
            if self.model_target:
                self.model_average.follow(self.dynamics)
        self.metrics.add(report, prefix="learner/")
        self.count_actor_updates(actor_updates / new)
        self.metrics.add({"time/update_s": (perf_counter() - began) / updates})

    def _critics_batch(self, generator: torch.Generator) -> Transitions:
        if not (self.learner.time_aware_critic and self.learner.needs_model):
            return self.real_buffer.sample(self.batch_size, generator)
        cut = self.real_buffer.sample_cut_windows(self.batch_size, self.learner.length, generator)  # B x J
        return self.learner.segments(*cut, self.recall)
