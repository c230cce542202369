"""`check_rollout_hook`: the conformance suite of hooks that change model steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import torch
from torch import Tensor

from mbrl.data import ModelStep, Task, Transitions
from mbrl.models import DynamicsModel
from mbrl.parts import fitted_parts
from mbrl.planners import PolicySample, RolloutContext, RolloutHook
from mbrl.planners.rollouts.imagination import Imagination
from mbrl.policies import TanhGaussianPolicy
from mbrl.testing.clauses import Clauses, SomeValues, forget, noise, some_actions, some_obs, some_rows
from mbrl.testing.linear_model import linear_model_of

ROWS, CHUNK, LENGTH = 40, 25, 4


def check_rollout_hook(
    make: Callable[[], RolloutHook],
    task: Task,
    dynamics: DynamicsModel | None = None,
    *,
    tolerance: float = 1e-5,
) -> None:
    """Checks that a hook keeps the contract of `mbrl.planners.RolloutHook`.

    Args:
        make: makes the hook, the same each time.
        task: the task of the rollouts.
        dynamics: a built model that makes them (default: a linear one of the task's sizes, with two members).
        tolerance: relative and absolute, between two ways to compute the same numbers.

    Raises:
        ConformanceError: naming the first clause that doesn't hold.
    """
    if dynamics is None:
        dynamics = linear_model_of(task, 2, spread=0.1, noise=0.1)
    suite = _Suite(make, dynamics, tolerance)
    suite.one_step()
    suite.rollouts()
    suite.state()


class _Suite(Clauses):
    def __init__(self, make: Callable[[], RolloutHook], dynamics: DynamicsModel, tolerance: float) -> None:
        super().__init__(type(make()).__name__)
        self.make = make
        self.dynamics = dynamics
        self.task = dynamics.built_task
        self.tolerance = tolerance
        self.starts = Transitions.from_obs(2 * some_obs(self.task, ROWS), self.task.action_size)
        self.hook = make()
        self.twin = self.rebuilt(make())
        self.hold(type(self.twin) is type(self.hook), "the spec names the hook's own class", type(self.twin).__name__)
        for hook in (self.hook, self.twin):
            self.begin(hook)
            hook.check(dynamics)
        known = set(self.hook.want) <= {"prediction"}
        self.hold(known and isinstance(self.hook.want, tuple), "want is a tuple of names that a step has", self.hook.want)

    def one_step(self) -> None:
        """Nothing that comes is changed, nothing but its own stream moves, and shapes stay."""
        step, model = self.step()
        context = self.context()
        came = {name: getattr(step, name) for name in ("obs", "action", "next_obs", "reward", "terminated", "prediction")}
        with self.untouched("a hook", the_models_generator=model, **came), torch.no_grad():
            made = self.hook.applied(step, context)
        self.hold(isinstance(made, ModelStep), "a hook returns a ModelStep", type(made).__name__)
        self.equal(made.obs, came["obs"], "a hook leaves where the step started")
        self.equal(made.action, came["action"], "a hook leaves the step's action")
        self.shaped(made.next_obs, tuple(came["obs"].shape), "next_obs", came["obs"])
        self.shaped(made.reward, (ROWS,), "reward", came["reward"])
        for name in ("terminated", "halt"):
            flags = getattr(made, name)
            if flags is not None or name == "terminated":
                self.shaped(flags, (ROWS,), name)
                self.hold(flags.dtype is torch.bool, f"{name} is bool", flags.dtype)
        self.equal(made.state.obs, made.next_obs, "the state after a hook stands at next_obs")
        for hook in (self.fresh(), self.twin):
            with torch.no_grad():
                again = hook.applied(self.step()[0], self.context())
            which = "a hook from its spec" if hook is self.twin else "a fresh hook with the same generator"
            self.same(again, made, f"{which} makes the same step")
        step, hook = self.step()[0], self.fresh()
        with self.reads_nothing_back("a hook"), torch.no_grad():
            hook.applied(step, self.context())

    def rollouts(self) -> None:
        """Rollouts whose finished rows are dropped (CPU) are those whose are masked (CUDA), whatever the hook remembers."""
        with self.succeeds("a hook follows rollouts of which some end before others"):
            dropped, masked = (self.imagined(drop) for drop in (True, False))
        self.hold(len(dropped) == len(masked), "dropping finished rollouts ends the same rollouts as masking them")
        for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated"):
            clause = f"dropping finished rollouts leaves the others' {name} as masking does"
            self.equal(getattr(dropped, name), getattr(masked, name), clause, self.tolerance)

    def imagined(self, drop: bool) -> Transitions:
        policy = TanhGaussianPolicy(self.task.obs_size, self.task.action_size, noise("policy"), hidden=(16,))
        stored: list[Transitions] = []
        Imagination(
            self.dynamics, policy, PolicySample(), [_HaltsSome(), self.fresh()], 0, CHUNK, drop, value=SomeValues()
        ).run(self.starts, LENGTH, 0, stored.append)
        return Transitions.cat(stored)

    def state(self) -> None:
        """What a hook learns in a run is in its checkpoint, and forgotten at `build`."""
        for _ in range(3):
            with torch.no_grad():
                self.hook.applied(self.step()[0], self.context())
        forget(self.twin)
        self.learned_moves(self.hook, self.twin)
        with torch.no_grad():
            mine, its = (hook.applied(self.step()[0], self.context()) for hook in (self.hook, self.twin))
            self.same(its, mine, "a hook with a loaded state makes the same step")
            self.begin(self.hook)
            again, first = (hook.applied(self.step()[0], self.context()) for hook in (self.hook, self.fresh()))
        self.same(again, first, "reset forgets what a hook has learned")

    def fresh(self) -> RolloutHook:
        return self.begin(self.make())

    def begin(self, hook: RolloutHook) -> RolloutHook:
        """Has a hook forget all and shows it rows, as `build` and the first refit do before any rollout."""
        forget(hook)
        fitted_parts(SimpleNamespace(hook=hook), self.dynamics, some_rows(self.task))
        return hook

    def step(self) -> tuple[ModelStep, torch.Generator]:
        """The same step each time, and the generator that it was drawn from."""
        model = noise("model")
        with torch.no_grad():
            state = self.dynamics.start(self.starts, model)
            return self.dynamics.step(state, some_actions(self.task, ROWS), self.hook.want), model

    def context(self) -> RolloutContext:
        return RolloutContext(0, self.dynamics, noise("hook"), SomeValues())

    def same(self, one: ModelStep, other: ModelStep, clause: str) -> None:
        for name in ("next_obs", "reward", "terminated", "halt"):
            self.equal(getattr(one, name), getattr(other, name), clause)


class _HaltsSome(RolloutHook):
    """Halts about a third of the rollouts, so that some are dropped."""

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        some: Tensor = step.next_obs[:, 0] - step.next_obs[:, 0].floor() > 0.7
        return replace(step, halt=some)
