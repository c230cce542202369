"""`check_batch_hook`: the conformance suite of hooks that change batches."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mbrl.data import Task, Transitions
from mbrl.models import DynamicsModel
from mbrl.planners import BatchContext, BatchHook
from mbrl.policies import SAC
from mbrl.testing.clauses import Clauses, forget, noise, some_rows
from mbrl.testing.linear_model import linear_model_of

REAL, ROWS, LENGTH = 12, 32, 5


def check_batch_hook(make: Callable[[], BatchHook], task: Task, dynamics: DynamicsModel | None = None) -> None:
    """Checks that a hook keeps the contract of `mbrl.planners.BatchHook`.

    Args:
        make: makes the hook, the same each time.
        task: the task of the batches.
        dynamics: a built model (default: a linear one of the task's sizes, with two members).

    Raises:
        ConformanceError: naming the first clause that doesn't hold.
    """
    if dynamics is None:
        dynamics = linear_model_of(task, 2, spread=0.1, noise=0.1)
    learner = SAC(hidden=[8, 8])
    learner.build(task, 0)
    learner.make_optimizers()
    clauses = Clauses(type(make()).__name__)
    twin, hook = clauses.rebuilt(make()), make()
    clauses.hold(type(twin) is type(hook), "the spec names the hook's own class", type(twin).__name__)
    for one in (hook, twin):
        forget(one)
        one.check(dynamics)

    def changed(one: BatchHook) -> tuple[Transitions, BatchContext]:
        context = BatchContext(learner, dynamics, noise("hook"), slice(REAL, ROWS))
        return one(_some_batch(task), context), context

    batch, context = _some_batch(task), BatchContext(learner, dynamics, noise("hook"), slice(REAL, ROWS))
    weights = dict(learner.state_dict())
    with clauses.untouched("a hook", the_batch_that_comes=batch, the_learner=weights):
        made = hook(batch, context)
    clauses.hold(isinstance(made, Transitions), "a hook returns Transitions", type(made).__name__)
    size = len(made.obs)
    for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated"):
        clauses.shaped(getattr(made, name), (size, *getattr(batch, name).shape[1:]), name, getattr(batch, name))
    first, last, _ = context.model_rows.indices(size)
    given = (context.model_rows.start or 0, size if context.model_rows.stop is None else context.model_rows.stop)
    clauses.hold((first, last) == given, f"model_rows lie in the batch that is returned, of {size} rows", context.model_rows)
    fresh = make()
    forget(fresh)
    clauses.equal(changed(fresh)[0], made, "a fresh hook with the same generator makes the same batch")
    clauses.equal(changed(twin)[0], made, "a hook from its spec makes the same batch")
    forget(fresh)
    with clauses.reads_nothing_back("a hook"):
        fresh(batch, BatchContext(learner, dynamics, noise("hook"), slice(REAL, ROWS)))

    changed(hook)
    forget(twin)
    clauses.learned_moves(hook, twin)
    clauses.equal(changed(twin)[0], changed(hook)[0], "a hook with a loaded state makes the same batch")
    forget(hook)
    forget(fresh)
    clauses.equal(changed(hook)[0], changed(fresh)[0], "reset forgets what a hook has learned")


def _some_batch(task: Task) -> Transitions:
    """Real rows, then those of rollouts of `LENGTH` steps, with the extras of a planner's batch."""
    batch = some_rows(task, ROWS)
    number = torch.arange(ROWS) - REAL
    imagined, last = number >= 0, number % LENGTH == LENGTH - 1
    cut = torch.where(imagined, last, batch.truncated) & ~batch.terminated
    columns = {
        "rollout": torch.where(imagined, number // LENGTH, -1),
        "depth": torch.where(imagined, number % LENGTH, -1),
        "cut": cut,
    }
    batch.extras.update({name: column.to(batch.obs.dtype).unsqueeze(-1) for name, column in columns.items()})
    return batch
