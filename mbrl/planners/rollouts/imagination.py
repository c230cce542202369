"""Imagination: branched rollouts of a model from real states (Janner2019, algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl.data import RowGenerator, Transitions, ValueFunction, make_generator
from mbrl.models import DynamicsModel
from mbrl.planners.metrics import unreported
from mbrl.planners.rollouts.hooks import RolloutContext, RolloutHook
from mbrl.planners.rollouts.selectors import ActionSelector, Situation
from mbrl.policies import Policy


@dataclass
class Imagination:
    """Rolls a model out from real states, in chunks whose random numbers depend only on (seed, tick, chunk).

    Rows that terminate, that a hook halts or that are not finite take no further step. On CPU they are dropped, on CUDA
    masked and sorted out once at the end (dropping there would stall the device at every step); every draw covers a
    chunk's full width first, so both store the same rows in the same order.

    Attributes:
        dynamics: the model.
        policy: the learner's policy.
        selector: chooses the actions.
        hooks: applied in order to each step.
        seed: the run's seed.
        chunk_rows: rollouts in one chunk: enough for the model to be busy, few enough for little memory. Another number
            draws other noise.
        drop: whether finished rows are dropped (True) or masked.
        value: the learner's critics, for the selector and the hooks; None where there are none.
        report: takes their metrics.
    """

    dynamics: DynamicsModel
    policy: Policy
    selector: ActionSelector
    hooks: Sequence[RolloutHook]
    seed: int
    chunk_rows: int
    drop: bool
    value: ValueFunction | None = None
    report: Callable[[Mapping[str, Tensor]], None] = unreported

    @torch.no_grad()
    def run(
        self, rows: Transitions, length: int, tick: int, store: Callable[[Transitions], None]
    ) -> dict[str, Tensor | float]:
        """Rolls out `length` steps from each of `rows` (`M`) and hands what is to be kept to `store`, depth by depth.

        Returns:
            Metrics: rows stored, rows that were not finite (and are not stored), the share that terminated.
        """
        stored = 0
        not_finite = rows.obs.new_zeros(())
        terminated = rows.obs.new_zeros(())
        for number, first in enumerate(range(0, len(rows), self.chunk_rows)):
            chunk = rows.select(slice(first, first + self.chunk_rows))
            kept: list[tuple[Transitions, Tensor]] = []
            for part, keep, bad in self._chunk(chunk, length, tick, number):
                not_finite += bad
                terminated += (part.terminated & keep).sum()
                if self.drop:
                    index = keep.nonzero()[:, 0]
                    part = part if len(index) == len(part) else part.select(index)
                    stored += len(part)
                    store(part)
                else:
                    kept.append((part, keep))
            if kept:  # one read-back per chunk
                part = Transitions.cat([part for part, _ in kept]).select(torch.cat([keep for _, keep in kept]))
                stored += len(part)
                store(part)
        return {
            "rollout/stored": float(stored),
            "rollout/not_finite": not_finite,
            "rollout/terminated_share": terminated / max(stored, 1),
            "rollout/length": float(length),
        }

    def _chunk(self, rows: Transitions, length: int, tick: int, number: int) -> Iterator[tuple[Transitions, Tensor, Tensor]]:
        """Yields, a depth at a time: the steps, which of them count (`B` bool), and how many were not finite."""
        device, width = rows.obs.device, len(rows)
        model, policy, planning = (
            RowGenerator(make_generator(device, self.seed, "rollout", tick, number, name), width)
            for name in ("model", "policy", "planning")
        )
        hook_noise = [
            RowGenerator(make_generator(device, self.seed, "rollout", tick, number, "hook", i), width)
            for i in range(len(self.hooks))
        ]
        want = sorted({name for hook in self.hooks for name in hook.want})
        hook_memory: list[dict[str, Tensor]] = [{} for _ in self.hooks]
        memory = self.selector.memory(width, self.dynamics.built_task, rows.obs)
        state, prev_action = self.dynamics.start(rows, model), rows.extras.get("prev_action")
        alive = torch.ones(width, dtype=torch.bool, device=device)  # B
        for depth in range(length):
            situation = Situation(
                state.obs,
                self.policy,
                self.dynamics,
                state.fork,
                policy,
                planning,
                self.value,
                self.report,
                prev_action,
                alive,
                memory,
            )
            step = self.dynamics.step(state, self.selector.select(situation), want)
            for hook, noise, kept in zip(self.hooks, hook_noise, hook_memory, strict=True):
                step = hook.applied(step, RolloutContext(depth, self.dynamics, noise, self.value, alive, self.report, kept))
            finite = step.finite
            keep = alive & finite
            halt = torch.zeros_like(alive) if step.halt is None else step.halt
            part = Transitions(step.obs, step.action, step.reward, step.next_obs, step.terminated, halt & ~step.terminated)
            yield part, keep, (alive & ~finite).sum()
            alive = keep & ~step.terminated & ~halt
            state, prev_action = step.state, step.action
            if self.drop:
                index = alive.nonzero()[:, 0]
                if len(index) == 0:
                    return
                if len(index) < len(alive):
                    state, prev_action = state.select(index), prev_action[index]
                    policy, planning = policy.select(index), planning.select(index)
                    hook_noise = [noise.select(index) for noise in hook_noise]
                    for kept in (memory, *hook_memory):
                        kept.update({name: tensor[index] for name, tensor in kept.items()})
                    alive = alive[index]
