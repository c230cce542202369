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
from mbrl.testing.linear_model import LinearModel

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
        dynamics: a built model to plan with (default: a linear one with two members; then `task` is `linear_task()`).
        tolerance: relative and absolute, between two ways to compute the same numbers.

    Raises:
        ConformanceError: naming the first clause that doesn't hold.
    """
    if dynamics is None:
        dynamics = LinearModel(members=2, spread=0.1, noise=0.1)
        dynamics.build(task)
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
    situation = Situation(obs, policy, dynamics, state.fork, samples, planning, prev_action=before)
    with clauses.untouched("select", obs=obs, prev_action=before, the_rollouts_generator=rollout), torch.no_grad():
        action = selector.select(situation)
    clauses.shaped(action, (ROWS, task.action_size), "an action", obs)
    clauses.hold((action.abs() <= 1).all(), "actions lie in [−1, 1]", f"|a| up to {action.abs().max().item():.3g}")
    clauses.equal(action, chosen, "the same generators give the same actions")
    remade = _select(twin, obs, before, policy, dynamics, noise("samples"), noise("planning"))
    clauses.equal(remade, chosen, "a selector from its spec chooses the same")

    full = _select(
        selector, obs, before, policy, dynamics, RowGenerator(noise("samples"), ROWS), RowGenerator(noise("planning"), ROWS)
    )
    part = _select(
        selector,
        obs[keep],
        before[keep],
        policy,
        dynamics,
        RowGenerator(noise("samples"), ROWS).select(keep),
        RowGenerator(noise("planning"), ROWS).select(keep),
    )
    clauses.equal(part, full[keep], "dropping rows leaves the others' actions as they were", tolerance)
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


def _select(
    selector: ActionSelector,
    obs: Tensor,
    before: Tensor | None,
    policy: Policy,
    dynamics: DynamicsModel,
    samples: Generator,
    planning: Generator,
) -> Tensor:
    rows = Transitions.from_obs(obs, dynamics.built_task.action_size)
    situation = Situation(
        obs, policy, dynamics, lambda generator: dynamics.start(rows, generator), samples, planning, prev_action=before
    )
    with torch.no_grad():
        return selector.select(situation)
