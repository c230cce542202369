"""Hooks that project, halt and remember, and selectors that remember, in rollouts of which some end before others."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mbrl.data import ModelStep, Task, Transitions, draw_normal
from mbrl.errors import ShapeError
from mbrl.planners.rollouts.hooks import RolloutContext, RolloutHook
from mbrl.planners.rollouts.selectors import ActionSelector, Situation
from tests.planners.exact_models import WALK, WalkModel
from tests.planners.rollouts.test_imagination import Stop, imagine, walk_starts


class Clamp(RolloutHook):
    """Keeps rollouts inside ±`limit`."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        return replace(step, next_obs=step.next_obs.clamp(-self.limit, self.limit))


class ClampInPlace(Clamp):
    """The same, written into the step."""

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        step.next_obs = step.next_obs.clamp(-self.limit, self.limit)
        return step


@pytest.mark.parametrize("drop", [True, False])
@pytest.mark.parametrize("hook", [Clamp, ClampInPlace])
def test_a_rollout_goes_on_from_what_a_hook_projects(hook: type[Clamp], drop: bool) -> None:
    model = WalkModel(noise=0.3)
    model.build(WALK)
    stored, _ = imagine(model, walk_starts(100), 3, hooks=[hook(0.25), Stop(0.24)], chunk=100, drop=drop)
    rows = Transitions.cat(stored)
    first, later = rows.select(slice(0, 100)), rows.select(slice(100, None))
    assert (rows.next_obs.abs() <= 0.25).all() and (later.obs.abs() <= 0.25).all()
    goes_on = ~(first.terminated | first.truncated)
    assert torch.equal(later.obs[: int(goes_on.sum())], first.next_obs[goes_on]) and 20 < int(goes_on.sum()) < 80
    assert torch.equal(rows.truncated, (rows.next_obs[:, 0] > 0.24) & ~rows.terminated)  # seen by the hook behind it


def test_a_step_that_a_hook_moved_itself_stays_where_it_put_it() -> None:
    class Moves(Clamp):
        def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
            to = step.next_obs.clamp(-self.limit, self.limit)
            return replace(step, next_obs=to, state=step.state.moved(to))

    model = WalkModel(noise=0.3)
    model.build(WALK)
    moved, plain = (imagine(model, walk_starts(50), 3, hooks=[hook(0.25)])[0] for hook in (Moves, Clamp))
    assert all(torch.equal(a.next_obs, b.next_obs) for a, b in zip(moved, plain, strict=True))


class HaltingWalk(WalkModel):
    def halted(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        return next_obs[:, 0] < -0.3


def test_a_hook_cannot_undo_the_models_halt() -> None:
    model = HaltingWalk(noise=0.05)
    model.build(WALK)
    stored, _ = imagine(model, walk_starts(100), 3, hooks=[Stop(0.2)], chunk=100)
    rows = Transitions.cat(stored)
    left = (rows.next_obs[:, 0] > 0.2) | (rows.next_obs[:, 0] < -0.3)
    assert torch.equal(rows.truncated, left & ~rows.terminated) and (rows.next_obs[:, 0] < -0.3).any()


class Budget(RolloutHook):
    """Takes off each reward how far the rollout has come from its first observation, and halts it once it has gone 0.5."""

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        memory = context.memory
        if context.depth == 0:
            memory.update(first=step.obs, gone=torch.zeros_like(step.reward))
        memory["gone"] = memory["gone"] + (step.next_obs - step.obs).abs().sum(-1)
        away = (step.next_obs - memory["first"]).abs().sum(-1)
        return replace(step, reward=away, halt=memory["gone"] > 0.5)


def test_hooks_remember_each_rollout_across_dropping() -> None:
    model = WalkModel(noise=0.15)
    model.build(WALK)
    dropped, masked = (
        imagine(model, walk_starts(150), 6, drop=drop, hooks=[Budget(), Budget()], chunk=100) for drop in (True, False)
    )
    a, b = Transitions.cat(dropped[0]), Transitions.cat(masked[0])
    for name in ("obs", "reward", "next_obs", "terminated", "truncated"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert 20 < int(a.truncated.sum()) < len(a)
    # each rollout by hand, from the chain of its observations
    after = {round(value, 6): i for i, value in enumerate(a.obs[:, 0].tolist())}
    checked = 0
    for start in walk_starts(150).obs[:, 0].tolist():
        place, gone = after.get(round(start, 6)), 0.0
        while place is not None:
            led_to = a.next_obs[place, 0].item()
            gone += abs(led_to - a.obs[place, 0].item())
            assert a.reward[place].item() == pytest.approx(abs(led_to - start), abs=1e-5)
            assert bool(a.truncated[place] | a.terminated[place]) == (gone > 0.5 or bool(a.terminated[place]))
            checked += 1
            place = after.get(round(led_to, 6))
    assert checked >= len(a) - 5


def test_a_hooks_memory_has_a_row_for_each_rollout() -> None:
    class Total(RolloutHook):
        def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
            context.memory["total"] = step.reward.sum()
            return step

    model = WalkModel()
    model.build(WALK)
    with pytest.raises(
        ShapeError, match=r"Total: expected a row of memory\['total'\] for each of 20 rollouts, got shape \(\)"
    ):
        imagine(model, walk_starts(20), 2, hooks=[Total()])


class Lasting(ActionSelector):
    """A noise that lasts: half of what it was, and a new one."""

    def memory(self, n: int, task: Task, like: Tensor) -> dict[str, Tensor]:
        return {"noise": like.new_zeros(n, task.action_size), "steps": torch.zeros(n, dtype=torch.int64, device=like.device)}

    def select(self, situation: Situation) -> Tensor:
        kept = situation.memory
        fresh = draw_normal(situation.policy_generator, len(situation.obs), 1, situation.obs)
        kept["noise"], kept["steps"] = 0.5 * kept["noise"] + 0.1 * fresh, kept["steps"] + 1
        return (0.3 * kept["steps"][:, None] + kept["noise"]).clamp(-1, 1)


def test_selectors_remember_each_rollout_across_dropping() -> None:
    model = WalkModel(noise=0.1)
    model.build(WALK)
    dropped, _ = imagine(model, walk_starts(150), 6, drop=True, selector=Lasting(), chunk=100)
    masked, _ = imagine(model, walk_starts(150), 6, drop=False, selector=Lasting(), chunk=100)
    a, b = Transitions.cat(dropped), Transitions.cat(masked)
    assert torch.equal(a.action, b.action) and torch.equal(a.next_obs, b.next_obs) and a.terminated.sum() > 20
    assert dropped[0].action.mean() < dropped[1].action.mean() < dropped[2].action.mean()
