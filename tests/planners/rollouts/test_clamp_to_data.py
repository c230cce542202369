"""`ClampToData` keeps rollouts within the range of the real rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import ModelState, Prediction, Transitions
from mbrl.errors import NotBuiltError, UnsupportedError
from mbrl.models import DynamicsModel
from mbrl.parts import states_of_parts
from mbrl.planners import ClampToData, DataRange, RolloutContext
from mbrl.testing.clauses import through_bytes
from tests.planners.exact_models import WALK, WalkModel
from tests.planners.rollouts.test_imagination import imagine, walk_starts
from tests.planners.test_dyna import Counted, dyna, run


class Doubling(WalkModel):
    """Gets the walk wrong: it goes twice as far from 0 at each step."""

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        said = super().predict(obs, action, member)
        return replace(said, mean=said.mean + obs)


def clamped(margin: float, drop: bool = True, model: DynamicsModel | None = None) -> tuple[Transitions, dict[str, Any]]:
    model = Doubling() if model is None else model
    model.build(replace(WALK, known_terminated="mbrl.envs.terminations.never"))
    hook = ClampToData(margin)
    hook.fitted(model, walk_starts(50))
    reports: dict[str, Any] = {"clamped": []}
    report = lambda found: reports["clamped"].append(float(found["clamped"]))  # noqa: E731
    stored, said = imagine(model, walk_starts(50), 5, hooks=[hook], drop=drop, report=report, data=hook._range)
    return Transitions.cat(stored), {**reports, **said}


@pytest.mark.parametrize("drop", [True, False])
def test_rollouts_stay_in_the_range_and_go_on_from_there(drop: bool) -> None:
    data = DataRange.of(walk_starts(50))
    rows, report = clamped(0.25, drop)
    low, high = data.low - 0.25 * data.width, data.high + 0.25 * data.width
    assert rows.next_obs.min() == low and rows.next_obs.max() == high and len(rows) == 250
    by_depth = rows.extras["depth"][:, 0] * 1000 + rows.extras["rollout"][:, 0]
    rows = rows.select(by_depth.argsort())
    for depth in range(4):
        assert torch.equal(rows.next_obs[depth * 50 : depth * 50 + 50], rows.obs[depth * 50 + 50 : depth * 50 + 100])
    said = rows.obs + 0.1 * rows.action
    made = said + rows.obs
    assert torch.equal(rows.next_obs, made.clamp(low, high))
    assert torch.equal(rows.reward, -said[:, 0].square()), "the reward is that of the step as the model made it"
    changed = (made != rows.next_obs).float().reshape(5, 50).mean(1).tolist()
    assert report["clamped"] == pytest.approx(changed) and 0 < changed[0] < changed[-1]
    assert report["rollout/outside"] == 0


def test_within_the_range_nothing_changes() -> None:
    model = WalkModel(noise=0.1)
    model.build(WALK)
    hook = ClampToData(10.0)
    hook.fitted(model, walk_starts(50))
    with_hook, without = (Transitions.cat(imagine(model, walk_starts(50), 4, hooks=hooks)[0]) for hooks in ([hook], []))
    assert torch.equal(with_hook.next_obs, without.next_obs)


def test_numbers_that_are_not_finite_are_still_dropped_and_counted() -> None:
    rows, report = clamped(0.0, model=WalkModel(bad_above=0.5))
    assert report["rollout/not_finite"] > 0 and torch.isfinite(rows.next_obs).all()


def test_dyna_shows_it_the_real_rows_at_each_refit_and_keeps_the_range() -> None:
    planner = dyna(dynamics=Counted(), rollout_hooks=[ClampToData(0.0)], rollout_length=(0, 1, 3, 3))
    run(planner, 45)
    (hook,) = planner.rollout_hooks
    seen = DataRange.of(planner.real_buffer.all().select(slice(40)))  # of the refit at step 40
    assert torch.equal(hook._range.low, seen.low) and torch.equal(hook._range.high, seen.high)
    last = planner.model_buffer.all().select(slice(-50, None))
    assert (last.next_obs >= seen.low).all() and (last.next_obs <= seen.high).all()
    line = planner.metrics.pop()
    assert line["rollout/clamped"] > 0 and line["rollout/outside"] == 0
    state = through_bytes(states_of_parts(planner))["rollout_hooks.0"]
    other = ClampToData(0.0)
    other.load_state_dict(state)
    assert torch.equal(other._range.width, seen.width)  # type: ignore[union-attr]
    planner.build(WALK)
    assert states_of_parts(planner) == {}


def test_refusals() -> None:
    model = WalkModel()
    model.build(WALK)
    with pytest.raises(NotBuiltError, match=r"ClampToData: expected a refit before rollouts, .* got none; have the"):
        imagine(model, walk_starts(5), 1, hooks=[ClampToData()])

    class Own(ModelState):
        obs = torch.zeros(5, 1)
        select = tile = fork = None  # type: ignore[assignment]

    hook = ClampToData()
    hook.fitted(model, walk_starts(5))
    step = model.step(model.start(walk_starts(5), torch.Generator()), torch.zeros(5, 1))
    with pytest.raises(UnsupportedError, match="Own can't move rollouts to other observations: it has no method moved"):
        hook(replace(step, state=Own()), RolloutContext(0, model, torch.Generator()))
