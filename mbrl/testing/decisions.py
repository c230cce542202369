"""Clauses of `Planner.decide`: what `check_planner` holds of actions that are chosen for several steps at once."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from mbrl.data import Task
from mbrl.errors import ConfigError
from mbrl.planners import Memory, Planner
from mbrl.testing.clauses import Clauses, noise, some_obs, through_bytes


def check_decisions(clauses: Clauses, planner: Planner, task: Task, n: int) -> None:
    """Checks `decide` and `decision_length` of a planner that is built, in `n` episodes at a time."""
    obs = some_obs(task, n)
    trained = planner.decision_length
    clauses.hold(isinstance(trained, int) and trained >= 1, "decision_length is a number of steps, at least 1", trained)
    used = planner.memory(n, noise("acting"))
    planner.act(obs, used, explore=True)
    before = through_bytes(planner.streams.state_dict())
    for memory in (planner.memory(n, noise("acting")), used):
        first, _ = planner.act(obs, _copied(planner, memory), explore=False)
        decided: list[Tensor] = []
        for length in (1, 3, trained + 4):
            given, again = _copied(planner, memory), _copied(planner, memory)
            with clauses.untouched("decide", obs=obs):
                actions = planner.decide(obs, given, length)
            clauses.shaped(actions, (n, length, task.action_size), f"a decision for {length} steps", obs)
            clauses.hold((actions.abs() <= 1).all(), "decided actions lie in [−1, 1]", actions.abs().max().item())
            clauses.hold(not actions.requires_grad, "a decision carries no gradient")
            clauses.equal(actions[:, 0], first, "the first action of a decision is that of act(explore=False)")
            clauses.equal(planner.decide(obs, again, length), actions, "equal memories give equal decisions")
            clauses.equal(
                planner.decide(obs, again, 1), planner.decide(obs, given, 1), "equal memories are equal after decide"
            )
            decided.append(actions)
        for shorter, longer in pairwise(decided):
            common = min(shorter.shape[1], longer.shape[1])
            clauses.equal(longer[:, :common], shorter[:, :common], "a longer decision begins with the shorter one")
    clauses.equal(planner.streams.state_dict(), before, "decide draws from its memory, never from the streams")
    kept, fresh = _copied(planner, used), planner.memory(n, noise("acting")).tensors
    planner.decide(obs, kept, 3)
    kept.reset(torch.ones(n, dtype=torch.bool))
    clauses.equal(kept.tensors, fresh, "reset forgets what decide left in the memory")
    try:
        planner.decide(obs, _copied(planner, used), 0)
    except ConfigError:
        return
    clauses.hold(False, "decide refuses a length below 1 (ConfigError)")


def _copied(planner: Planner, memory: Memory) -> Memory:
    copied = planner.memory(memory.n, noise("acting"))
    copied.load_state_dict(memory.copied_state())
    return copied
