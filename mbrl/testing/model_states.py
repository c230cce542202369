"""`StateClauses`: the clauses of `check_dynamics_model` that concern the states of rollouts."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.data import ModelState, ModelStep, RowGenerator, Task, Transitions
from mbrl.errors import UnsupportedError
from mbrl.models import DynamicsModel, Exact
from mbrl.testing.clauses import Clauses, noise, some_actions

ROWS = 6


class StateClauses(Clauses):
    """Clauses of where a model's rollouts stand.

    Attributes:
        model: built and fitted.
        task: the task that it is of.
        starts: `ROWS` rows that rollouts begin at.
        tolerance: relative and absolute, between two ways to compute the same numbers.
    """

    model: DynamicsModel
    task: Task
    starts: Transitions
    tolerance: float

    def start(self, generator: object = None, follow: bool = False) -> ModelState:
        """A state of rollouts from the suite's rows, which it must leave alone; draws from `generator`, or a fresh one."""
        source = noise("step") if generator is None else generator
        with self.untouched("start", rows=self.starts):
            return self.model.start(self.starts, source, follow=follow)  # type: ignore[arg-type]

    def moving(self, step: ModelStep) -> None:
        """`moved`, where a state has it, stands elsewhere and is left where it was."""
        elsewhere = 0.5 * step.next_obs
        try:
            moved = step.state.moved(elsewhere)
        except UnsupportedError:
            return
        self.equal(moved.obs, elsewhere, "moved stands at the observations that it is given")
        self.equal(step.state.obs, step.next_obs, "moved leaves the state as it was")

    def states(self) -> None:
        """`tile` lays out blocks, and `fork` draws from its own generator."""
        tiled = self.start().tile(3)
        blocks = tiled.obs.view(3, *self.starts.obs.shape)
        for block in blocks:
            self.equal(block, self.starts.obs, "tile(n) lays out n blocks of B rows")
        with torch.no_grad():
            self.model.step(tiled, some_actions(self.task, 3 * ROWS))
        own, other = noise("own"), noise("other")
        state = self.model.start(self.starts, own)
        with self.untouched("stepping a fork", the_original_generator=own), torch.no_grad():
            self.model.step(state.fork(other), some_actions(self.task, ROWS))

    def replacing(self) -> None:
        """`replaced`, where a state has it, takes just the named rows; an exact model steps on as they would."""
        if type(self.start()).replaced is ModelState.replaced:
            return
        rows, order = torch.tensor([4, 1]), torch.tensor([0, 3, 2, 3, 2, 5])  # row 4 becomes a copy of 2, and 1 of 3
        with torch.no_grad():
            state = self.start()
            merged = state.replaced(rows, self.start().select(torch.tensor([2, 3])))
            self.equal(state.obs, self.starts.obs, "replaced leaves the state as it was")
            self.equal(merged.obs, self.starts.obs[order], "replaced takes the named rows from the other state, in order")
            action = some_actions(self.task, ROWS)
            step, plain = self.model.step(merged, action[order]), self.model.step(self.start(), action)
            self.shaped(step.next_obs, tuple(self.starts.obs.shape), "next_obs after replaced", self.starts.obs)
            if isinstance(self.model, Exact):  # others draw for each row
                self.close(step.next_obs, plain.next_obs[order], "a replaced row steps as the row it was taken from")

    def rows_drop_as_they_mask(self) -> None:
        """Dropping finished rows leaves every other row's numbers as they were."""
        keep = torch.tensor([0, 2, 5])
        first, second = some_actions(self.task, 2, ROWS).unbind(0)
        for follow in (False, True):
            with torch.no_grad():
                state = self.model.step(self.start(RowGenerator(noise("step"), ROWS), follow), first).state
                full = self.model.step(state, second)
                state = self.model.step(self.start(RowGenerator(noise("step"), ROWS), follow), first).state
                part = self.model.step(state.select(keep), second[keep])
            for name in ("next_obs", "reward", "terminated"):
                self.close(getattr(part, name), getattr(full, name)[keep], f"select keeps the other rows' {name} as it was")

    def close(self, one: Tensor, other: Tensor, clause: str) -> None:
        """Two tensors that are equal up to the suite's tolerance, or the clause is broken."""
        self.equal(one, other, clause, self.tolerance)
