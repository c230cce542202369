"""`check_policy`: the conformance suite of policies."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mbrl.data import RowGenerator, Task
from mbrl.errors import UnsupportedError
from mbrl.policies import Policy
from mbrl.testing.clauses import Clauses, noise, some_actions, some_obs
from mbrl.testing.no_sync import NoScalarReadback, ReadbackError


def check_policy(make: Callable[[], Policy], task: Task, *, tolerance: float = 1e-5) -> None:
    """Checks that a policy keeps the contract of `mbrl.policies.Policy`.

    Args:
        make: makes the policy for `task`, the same each time.
        task: its sizes.
        tolerance: relative and absolute, between two ways to compute the same numbers.

    Raises:
        ConformanceError: naming the first clause that doesn't hold.
    """
    policy = make()
    clauses = Clauses(type(policy).__name__)
    _shapes(clauses, policy, task)
    _draws(clauses, policy, task, tolerance)
    _sequences(clauses, policy, task, tolerance)
    _log_probs(clauses, make().double(), task, tolerance)
    _moves(clauses, policy, make(), task)


def _shapes(clauses: Clauses, policy: Policy, task: Task) -> None:
    for dims in ((5,), (2, 3), (1, 2, 2)):
        obs, previous = some_obs(task, *dims), torch.zeros(*dims, task.action_size, dtype=torch.float32)
        with clauses.untouched("sample", obs=obs, previous=previous):
            action, log_prob = policy.sample(obs, noise(), previous)
        with clauses.untouched("mode", obs=obs, previous=previous):
            mode = policy.mode(obs, previous)
        clauses.shaped(action, (*dims, task.action_size), "a sampled action", obs)
        clauses.shaped(log_prob, dims, "a log-probability", obs)
        clauses.shaped(mode, (*dims, task.action_size), "the mode", obs)
        for what, value in (("sampled actions", action), ("the mode", mode)):
            clauses.hold((value.abs() <= 1).all(), f"{what} lie in [−1, 1]", f"|a| up to {value.abs().max().item():.3g}")
        clauses.equal(policy.mode(obs, previous), mode, "the mode of the same observations is the same")
        if any(parameter.requires_grad for parameter in policy.parameters()):
            clauses.hold(action.requires_grad, "sampled actions are reparameterised: they have a gradient")
            clauses.hold(log_prob.requires_grad, "log-probabilities have a gradient")


def _draws(clauses: Clauses, policy: Policy, task: Task, tolerance: float) -> None:
    obs, keep = some_obs(task, 6), torch.tensor([0, 2, 5])
    clauses.equal(policy.sample(obs, noise()), policy.sample(obs, noise()), "the same generator gives the same sample")
    full = policy.sample(obs, RowGenerator(noise(), 6))
    part = policy.sample(obs[keep], RowGenerator(noise(), 6).select(keep))
    dropped = [tensor[keep] for tensor in full]
    clauses.equal(list(part), dropped, "dropping rows leaves the others' samples as they were", tolerance)
    with torch.no_grad():
        quiet = policy.sample(obs, noise())
    clauses.equal(list(quiet), list(policy.sample(obs, noise())), "gradients change no sample", tolerance)
    try:
        with NoScalarReadback():
            policy.sample(obs, noise())
            policy.mode(obs)
    except ReadbackError as error:
        clauses.hold(False, "sample and mode read nothing back from the device", error)


def _sequences(clauses: Clauses, policy: Policy, task: Task, tolerance: float) -> None:
    obs, previous = some_obs(task, 5), some_actions(task, 5)
    first, first_log_prob = policy.sample(obs, noise(), previous)
    for length in (1, 3):
        action, log_prob = policy.sequence(obs, previous, length, noise())
        mode = policy.mode_sequence(obs, previous, length)
        clauses.shaped(action, (5, length, task.action_size), f"a sampled sequence of length {length}", obs)
        clauses.shaped(log_prob, (5, length), "the log-probabilities of a sequence", obs)
        clauses.shaped(mode, (5, length, task.action_size), f"the mode sequence of length {length}", obs)
        clauses.equal(action[:, 0], first, "the first action of a sampled sequence is that of sample", tolerance)
        clauses.equal(log_prob[:, 0], first_log_prob, "the first log-probability of a sequence is that of sample", tolerance)
        clauses.equal(mode[:, 0], policy.mode(obs, previous), "the first action of the mode sequence is the mode", tolerance)


def _log_probs(clauses: Clauses, policy: Policy, task: Task, tolerance: float) -> None:
    """In float64, since an action near ±1 is rounded more coarsely than what it is the tanh of."""
    obs, previous = some_obs(task, 5).double(), some_actions(task, 5).double()
    action, said = policy.sample(obs, noise(), previous)
    try:
        log_prob = policy.log_prob(obs, action, previous)
    except UnsupportedError:
        return
    clauses.shaped(log_prob, (5,), "log_prob (unless refused with UnsupportedError)", obs)
    clauses.equal(log_prob, said, "log_prob of a sampled action is what sample says", tolerance)
    for edge in (-1.0, 1.0):
        at_edge = policy.log_prob(obs, torch.full_like(action, edge), previous)
        clauses.hold(torch.isfinite(at_edge).all(), f"log_prob is finite at actions of {edge:g}", at_edge.tolist())


def _moves(clauses: Clauses, policy: Policy, twin: Policy, task: Task) -> None:
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(0.9)  # no longer what `make` makes
    clauses.state_moves(policy, twin)
    obs = some_obs(task, 5)
    outputs: list[tuple[Tensor, ...]] = [(made.mode(obs), *made.sample(obs, noise())) for made in (policy, twin)]
    clauses.equal(outputs[0], outputs[1], "a policy with a loaded state dict acts the same")
    for clause, copied in clauses.copies(policy, "with its parameters"):
        clauses.equal((copied.mode(obs), *copied.sample(obs, noise())), outputs[0], clause)
