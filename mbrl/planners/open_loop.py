"""`OpenLoop`: acts by a planner's decisions for several steps at a time, between which it doesn't look."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from mbrl.arguments import Count, check_whole, checked
from mbrl.data import make_generator
from mbrl.envs.experience import Experience
from mbrl.planners.capabilities import HasDynamics
from mbrl.planners.evaluation import Actor, snapshot_for
from mbrl.planners.memory import Memory


class Decider(Actor, Protocol):
    """Anything that decides as planners do; `Planner.decide` says what it means."""

    def decide(self, obs: Tensor, memory: Memory, length: int, *, snapshot: Tensor | None = None) -> Tensor:
        """Chooses the actions of `length` steps."""


class OpenLoop(HasDynamics):
    """A planner that looks once in so many steps of an environment, for `evaluate`.

    A decision begins where an episode does, and its rest is dropped where one ends. Each environment's decisions are its
    own: those that are not due move nothing of what the planner remembers of theirs.

    Args:
        planner: what decides.
        experience: the environments that it acts in.
        shortest: steps of a decision, at least.
        longest: steps of a decision, at most; each is drawn uniformly from there to there, by a stream of its own.
        repeat: steps of the environments in one of the planner's own (its task's `action_repeat`).
    """

    dynamics = None  # the planner's model isn't asked by `evaluate`: states are read where a decision is due

    @checked
    def __init__(
        self, planner: Decider, experience: Experience, shortest: Count = 1, longest: Count | None = None, repeat: Count = 1
    ) -> None:
        self.planner = planner
        self.experience = experience
        self.shortest = shortest
        self.longest = shortest if longest is None else longest
        check_whole("OpenLoop(longest=…)", self.longest, shortest)
        self.repeat = repeat

    @property
    def device(self) -> torch.device:
        """The planner's device."""
        return self.planner.device

    def memory(self, n: int, generator: torch.Generator) -> Memory:
        """The planner's memory of `n` episodes, with the actions that it has still to take."""
        return _Queue(self.planner.memory(n, generator), self.longest, self.experience.task.action_size, self.device)

    @torch.no_grad()
    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> tuple[Tensor, Memory]:
        """The next action `N x A` of each environment's decision, made anew where there is none left."""
        assert isinstance(memory, _Queue)
        due = memory.looked = memory.tensors["left"] == 0  # N
        if due.any():
            self._decide(obs, memory, due)
        left = memory.tensors["left"]
        actions = memory.actions[torch.arange(memory.n, device=left.device), memory.lengths - left]  # N x A
        memory.tensors["left"] = left - 1
        return actions, memory

    def _decide(self, obs: Tensor, memory: _Queue, due: Tensor) -> None:
        asked = memory.draw(self.shortest, self.longest)  # N
        memory.lengths = torch.where(due, asked, memory.lengths)
        memory.tensors["left"] = torch.where(due, asked, memory.tensors["left"])
        inner, snapshot = memory.inner, snapshot_for(self.planner, self.experience)
        for length in asked[due].unique().tolist():
            rows = due & (asked == length)  # N
            kept = inner.copied_state()["tensors"]
            own = -(-length // self.repeat)  # steps of the planner's own clock
            actions = self.planner.decide(obs, inner, own, snapshot=snapshot)  # N x own x A
            memory.actions[rows, :length] = actions.repeat_interleave(self.repeat, 1)[rows, :length]
            for name, before in kept.items():
                inner.tensors[name] = torch.where(rows.view(-1, *[1] * (before.ndim - 1)), inner.tensors[name], before)


class _Queue(Memory):
    """A planner's memory and the actions that it has decided on.

    Attributes:
        inner: the planner's.
        actions: `n x longest x A`, of the present decisions.
        lengths: `n`, how many of these are to be taken.
    """

    def __init__(self, inner: Memory, longest: int, action_size: int, device: torch.device) -> None:
        super().__init__(inner.n, inner.generator, left=torch.zeros(inner.n, dtype=torch.int64, device=device))
        self.inner = inner
        self.actions = torch.zeros(inner.n, longest, action_size, dtype=torch.float32, device=device)
        self.lengths = torch.zeros(inner.n, dtype=torch.int64, device=device)
        self._drawing = make_generator("cpu", inner.generator.initial_seed(), "decision lengths")

    def draw(self, shortest: int, longest: int) -> Tensor:
        if shortest == longest:
            return torch.full_like(self.lengths, longest)
        return torch.randint(shortest, longest + 1, (self.n,), generator=self._drawing).to(self.lengths.device)

    def reset(self, mask: Tensor) -> None:
        super().reset(mask)
        self.inner.reset(mask)
