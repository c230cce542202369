"""Imagination: branched rollouts of a model from real states (Janner2019, algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl.activity import doing
from mbrl.data import RowGenerator, Transitions, ValueFunction, make_generator
from mbrl.models import DynamicsModel
from mbrl.planners.metrics import unreported
from mbrl.planners.rollouts.data_range import DataRange
from mbrl.planners.rollouts.hooks import RolloutContext, RolloutHook
from mbrl.planners.rollouts.selectors import ActionSelector, Situation
from mbrl.policies import Policy

REAL_ROWS: Mapping[str, float] = {"rollout": -1.0, "depth": -1.0, "cut": 0.0}  # what real rows have in these columns


@dataclass
class Imagination:
    """Rolls a model out from real states, in chunks whose random numbers depend only on (seed, tick, chunk).

    Rows that terminate, that a hook halts or that are not finite take no further step. On CPU they are dropped, on CUDA
    masked and sorted out once at the end (dropping there would stall the device at every step); every draw covers a
    chunk's full width first, so both store the same rows in the same order,
    to rounding.

    Stored rows have extras, `B x 1` each: `rollout`, the number of their rollout in this call, from 0; `depth`, the steps
    before in it; `cut`, 1 where the rollout goes no further though nothing ended it, since a hook halted it, it had its
    `length`, or its next step was not finite; else 0. So a rollout is the rows of its number in the order of `depth`, of
    which just the last is `terminated` or `cut`. Numbers are exact as float32 up to 2²⁴. If the rows that rollouts begin at
    have `prev_action`, the action before (`B x A`), so have theirs.

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
        data: the range of the real rows; None doesn't count states far outside it.
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
    data: DataRange | None = None

    @torch.no_grad()
    def run(
        self, rows: Transitions, length: int, tick: int, store: Callable[[Transitions], None]
    ) -> dict[str, Tensor | float]:
        """Rolls out `length` steps from each of `rows` (`M`) and hands what is to be kept to `store`, depth by depth.

        Returns:
            Metrics: rows stored, rows that were not finite (and are not stored), the share that terminated, and with `data`
            the share of stored next observations of which a dimension lies beyond the range by more than its width.
        """
        stored = 0
        not_finite = rows.obs.new_zeros(())
        terminated = rows.obs.new_zeros(())
        outside = rows.obs.new_zeros(())
        for number, first in enumerate(range(0, len(rows), self.chunk_rows)):
            chunk = rows.select(slice(first, first + self.chunk_rows))
            kept: list[tuple[Transitions, Tensor]] = []
            for part, keep, bad in self._chunk(chunk, length, tick, number):
                not_finite += bad
                terminated += (part.terminated & keep).sum()
                if self.data is not None:
                    outside += (self.data.outside(part.next_obs) & keep).sum()
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
        doing("")
        counted = {} if self.data is None else {"rollout/outside": outside / max(stored, 1)}
        return {
            "rollout/stored": float(stored),
            "rollout/not_finite": not_finite,
            "rollout/terminated_share": terminated / max(stored, 1),
            "rollout/length": float(length),
            **counted,
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
        known = prev_action is not None
        first = number * self.chunk_rows
        rollout = torch.arange(first, first + width, device=device).to(rows.obs.dtype)  # B
        alive = torch.ones(width, dtype=torch.bool, device=device)  # B
        before: tuple[Transitions, Tensor, Tensor] | None = None  # what the last depth yields
        went_on: Tensor | None = None  # which of its rows are those of this depth; None: all, in their places
        for depth in range(length):
            doing("rolling out, step {} of {}", depth + 1, length)
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
            bad = alive & ~step.finite  # B
            keep = alive & ~bad
            if before is not None:  # a row whose next step isn't stored is the last of its rollout
                before[0].extras["cut"][:, 0][... if went_on is None else went_on] += bad
                yield before
            halt = torch.zeros_like(alive) if step.halt is None else step.halt
            halted = halt & ~step.terminated
            last = halted if depth < length - 1 else ~step.terminated
            extras = {"rollout": rollout, "depth": torch.full_like(rollout, depth), "cut": last.to(rollout.dtype)}
            extras = {name: column.unsqueeze(-1) for name, column in extras.items()}
            if known and prev_action is not None:
                extras["prev_action"] = prev_action
            part = Transitions(step.obs, step.action, step.reward, step.next_obs, step.terminated, halted, extras=extras)
            before, went_on = (part, keep, bad.sum()), None
            alive = keep & ~step.terminated & ~halt
            state, prev_action = step.state, step.action
            if self.drop:
                index = alive.nonzero()[:, 0]
                if len(index) == 0:
                    break
                if len(index) < len(alive):
                    went_on = index
                    state, prev_action, rollout = state.select(index), prev_action[index], rollout[index]
                    policy, planning = policy.select(index), planning.select(index)
                    hook_noise = [noise.select(index) for noise in hook_noise]
                    for kept in (memory, *hook_memory):
                        kept.update({name: tensor[index] for name, tensor in kept.items()})
                    alive = alive[index]
        if before is not None:
            yield before
