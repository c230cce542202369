"""`check_selector`: the conformance suite of Dyna's action selectors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mbrl.data import Generator, RowGenerator, Task, Transitions
from mbrl.models import DynamicsModel
from mbrl.planners import ActionSelector, Situation
from mbrl.policies import Policy, TanhGaussianPolicy
from mbrl.testing.clauses import Clauses, noise, some_actions, some_obs
from mbrl.testing.linear_model import linear_model_of

ROWS = 6


def check_selector(
    make: Callable[[], ActionSelector],
    task: Task,
    dynamics: DynamicsModel | None = None,
    *,
    tolerance: float = 1e-5,
) -> None:
    """Checks that an action selector keeps the contract of `mbrl.planners.ActionSelector`.

    Args:
        make: makes the selector, the same each time.
        task: the task to act in.
        dynamics: a built model to plan with (default: a linear one of the task's sizes, with two members).
        tolerance: relative and absolute, between two ways to compute the same numbers.

    Raises:
        ConformanceError: naming the first clause that doesn't hold.
    """
    if dynamics is None:
        dynamics = linear_model_of(task, 2, spread=0.1, noise=0.1)
    policy = _Asked(task.obs_size, task.action_size, noise("policy"), hidden=(16,))
    clauses = Clauses(type(make()).__name__)
    twin = clauses.rebuilt(make())
    clauses.hold(type(twin) is type(make()), "the spec names the selector's own class", type(twin).__name__)
    selector = make()
    selector.check(dynamics)

    obs, before, keep = some_obs(task, ROWS), some_actions(task, ROWS), torch.tensor([0, 2, 5])
    chosen = _select(selector, obs, before, policy, dynamics, noise("samples"), noise("planning"))
    samples, planning, rollout = noise("samples"), noise("planning"), noise("rollout")
    state = dynamics.start(Transitions.from_obs(obs, task.action_size), rollout)
    memory = selector.memory(ROWS, task, obs)
    situation = Situation(obs, policy, dynamics, state.fork, samples, planning, prev_action=before, memory=memory)
    with clauses.untouched("select", obs=obs, prev_action=before, the_rollouts_generator=rollout), torch.no_grad():
        action = selector.select(situation)
    clauses.shaped(action, (ROWS, task.action_size), "an action", obs)
    clauses.hold((action.abs() <= 1).all(), "actions lie in [−1, 1]", f"|a| up to {action.abs().max().item():.3g}")
    clauses.equal(action, chosen, "the same generators give the same actions")
    remade = _select(twin, obs, before, policy, dynamics, noise("samples"), noise("planning"))
    clauses.equal(remade, chosen, "a selector from its spec chooses the same")

    everyone = torch.arange(ROWS)

    def second(rows: Tensor, forget: bool = False) -> Tensor:
        """The second action of some rows, of which the first may begin anew."""
        samples, planning = RowGenerator(noise("samples"), ROWS), RowGenerator(noise("planning"), ROWS)
        memory, began = selector.memory(ROWS, task, obs), selector.memory(ROWS, task, obs)
        _remembers(clauses, memory, began, "memory")
        _select(selector, obs, before, policy, dynamics, samples, planning, memory)
        _remembers(clauses, memory, began, "memory after select")
        if forget:
            memory = {name: torch.cat([began[name][:1], tensor[1:]]) for name, tensor in memory.items()}
        memory = {name: tensor[rows] for name, tensor in memory.items()}
        samples, planning = samples.select(rows), planning.select(rows)
        return _select(selector, obs[rows], before[rows], policy, dynamics, samples, planning, memory)

    full = second(everyone)
    clauses.equal(second(keep), full[keep], "dropping rows leaves the others' actions as they were", tolerance)
    clause = "what is remembered of one row changes no other row's action"
    clauses.equal(second(everyone, forget=True)[1:], full[1:], clause, tolerance)
    clauses.hold(not policy.without, "the policy is asked with the action before, where the situation has one")
    first = _select(selector, obs, None, policy, dynamics, noise("samples"), noise("planning"))
    clauses.shaped(first, (ROWS, task.action_size), "an action where the one before is unknown", obs)


class _Asked(TanhGaussianPolicy):
    """Half its last action, half a new one; counts how often it was asked without the last one."""

    without = 0

    def sample(self, obs: Tensor, generator: Generator, prev_action: Tensor | None = None) -> tuple[Tensor, Tensor]:
        action, log_prob = super().sample(obs, generator)
        return self._mixed(action, prev_action), log_prob

    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        return self._mixed(super().mode(obs), prev_action)

    def _mixed(self, action: Tensor, prev_action: Tensor | None) -> Tensor:
        self.without += prev_action is None
        return action if prev_action is None else 0.5 * (action + prev_action)


def _remembers(clauses: Clauses, memory: dict[str, Tensor], first: dict[str, Tensor], what: str) -> None:
    clauses.hold(isinstance(memory, dict), f"{what} is a dict of tensors", type(memory).__name__)
    clauses.hold(memory.keys() == first.keys(), f"{what} has the names that it begins with", sorted(memory))
    for name, tensor in memory.items():
        clauses.hold(tensor.shape[:1] == (ROWS,), f"{what} has a row of {name} for each row", tuple(tensor.shape))
        clauses.shaped(tensor, tuple(first[name].shape), f"{name} in {what}", first[name])


def _select(
    selector: ActionSelector,
    obs: Tensor,
    before: Tensor | None,
    policy: Policy,
    dynamics: DynamicsModel,
    samples: Generator,
    planning: Generator,
    memory: dict[str, Tensor] | None = None,
) -> Tensor:
    rows = Transitions.from_obs(obs, dynamics.built_task.action_size)
    if memory is None:
        memory = selector.memory(len(obs), dynamics.built_task, obs)
    situation = Situation(
        obs,
        policy,
        dynamics,
        lambda generator: dynamics.start(rows, generator),
        samples,
        planning,
        prev_action=before,
        memory=memory,
    )
    with torch.no_grad():
        return selector.select(situation)
