"""Floating-point operations that the matrix products of a piece of work need: the yardstick of its speed.

A product of `m x k` and `k x n` counts 2·m·k·n. Element-wise work counts nothing, so no code reaches the limit.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence


def layers(sizes: Sequence[int]) -> int:
    """Multiplications and additions of one row through layers of these sizes, forward."""
    return sum(a * b for a, b in itertools.pairwise(sizes))


def ensemble_update(members: int, batch: int, sizes: Sequence[int]) -> float:
    """Forward, and backward to all weights and to every layer's input but the first."""
    forward = layers(sizes)
    return 2.0 * members * batch * (3 * forward - sizes[0] * sizes[1])


def rollout_step(model: Sequence[int], policy: Sequence[int]) -> float:
    """One state: the drawn member's and the policy's forward pass."""
    return 2.0 * (layers(model) + layers(policy))


def planned_rollout_step(candidates: int, horizon: int, members: int, model: Sequence[int], policy: Sequence[int]) -> float:
    """One state with UP-MPC: all members at every step of every candidate, then one for the step that is taken.

    The policy sees the state once for all its first actions, and no state after a candidate's last step.
    """
    members_asked, policies = candidates * horizon * members + 1, candidates * (horizon - 1) + 1
    return 2.0 * (members_asked * layers(model) + policies * layers(policy))


def plan(candidates: int, particles: int, iterations: int, horizon: int, model: Sequence[int]) -> float:
    """One decision of CEM: every particle of every plan takes every step, by one member each."""
    return 2.0 * candidates * particles * iterations * horizon * layers(model)


def sac_update(batch: int, policy: Sequence[int], critic: Sequence[int], critics: int) -> float:
    """Critics: their target and their own update; actor: through the critics' inputs; see `mbrl/policies/sac.py`."""
    pi, q = layers(policy), critics * layers(critic)
    q_first = critics * critic[0] * critic[1]
    target = pi + q
    critic_update = q + q + (q - q_first)  # forward, to weights, to inputs
    actor_update = pi + pi + (pi - policy[0] * policy[1]) + q + q  # and through the critics to the action
    return 2.0 * batch * (target + critic_update + actor_update)
