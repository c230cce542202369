"""Imagined rows know which step of which rollout they are, and whether it goes on."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from mbrl.data import ModelStep, ReplayBuffer, Task, Transitions, make_generator
from mbrl.errors import UnsupportedError
from mbrl.planners import BatchContext, BatchHook, ImaginedLearning, RolloutContext, RolloutHook
from mbrl.planners.rollouts.imagination import REAL_ROWS
from mbrl.policies import SAC, CriticContext, CriticTerm
from tests.planners.exact_models import WALK, WalkModel
from tests.planners.rollouts.test_imagination import imagine, walk_starts
from tests.planners.rollouts.test_imagined_learning import LENGTH, ROLLOUTS, Offline, made, ticked


class HaltsLeft(RolloutHook):
    """Halts what gets below −0.5, also where it ended."""

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        return replace(step, halt=step.next_obs[:, 0] < -0.5)


def rolled_out(n: int, length: int, **options: Any) -> Transitions:
    model = WalkModel(noise=0.1, bad_above=0.6)
    model.build(WALK)
    stored, _ = imagine(model, walk_starts(n), length, hooks=[HaltsLeft()], **options)
    return Transitions.cat(stored)


def column(rows: Transitions, name: str) -> list[int]:
    assert rows.extras[name].shape == (len(rows), 1) and rows.extras[name].dtype == rows.obs.dtype
    return [int(value) for value in rows.extras[name][:, 0].tolist()]


@pytest.mark.parametrize("drop", [True, False])
def test_a_rollout_is_the_rows_of_its_number_and_ends_at_the_one_that_is_terminated_or_cut(drop: bool) -> None:
    rows = rolled_out(200, 5, drop=drop)
    seen: dict[int, list[int]] = {}
    for place, number in enumerate(column(rows, "rollout")):
        seen.setdefault(number, []).append(place)
    starts, depth, cut = walk_starts(200).obs, column(rows, "depth"), column(rows, "cut")
    endings = {"terminated": 0, "halted": 0, "long": 0, "not finite": 0}
    for number, places in seen.items():
        assert [depth[place] for place in places] == list(range(len(places)))
        assert torch.equal(rows.obs[places[0]], starts[number])
        for place, later in pairwise(places):
            assert torch.equal(rows.next_obs[place], rows.obs[later]) and not cut[place] and not rows.terminated[place]
        last = places[-1]
        assert cut[last] == 1 - int(rows.terminated[last]), "terminated or cut, never both"
        halted = bool(rows.truncated[last])
        kind = "terminated" if not cut[last] else "halted" if halted else "long" if len(places) == 5 else "not finite"
        endings[kind] += 1
    assert all(endings.values()), endings
    assert set(range(200)) - set(seen) == {i for i, start in enumerate(starts[:, 0].tolist()) if start > 0.6}


@pytest.mark.parametrize("chunk", [64, 7])
def test_dropping_and_masking_store_the_same_columns(chunk: int) -> None:
    one, other = (rolled_out(150, 4, drop=drop, chunk=chunk) for drop in (True, False))
    assert set(one.extras) == {"rollout", "depth", "cut"} == set(REAL_ROWS)
    order = [torch.tensor(column(rows, "rollout")) * 10 + torch.tensor(column(rows, "depth")) for rows in (one, other)]
    assert torch.equal(*order) and len(order[0].unique()) == len(order[0])
    for name in one.extras:
        assert torch.equal(one.extras[name], other.extras[name])


@pytest.mark.parametrize("drop", [True, False])
def test_the_action_before_follows_a_rollout(drop: bool) -> None:
    starts = walk_starts(50)
    starts.extras["prev_action"] = torch.rand(50, 1, generator=make_generator("cpu", "before"))
    model = WalkModel(noise=0.1)
    model.build(WALK)
    rows = Transitions.cat(imagine(model, starts, 4, drop=drop)[0])
    actions = {pair: row for row, pair in enumerate(zip(column(rows, "rollout"), column(rows, "depth"), strict=True))}
    for (number, depth), row in actions.items():
        before = starts.extras["prev_action"][number] if depth == 0 else rows.action[actions[number, depth - 1]]
        assert torch.equal(rows.extras["prev_action"][row], before)


# batches -------------------------------------------------------------------------------------------------------------


class Sees(BatchHook, CriticTerm):
    """Keeps the batches that it is shown, as a hook and as a term."""

    def __init__(self) -> None:
        self.batches: list[Transitions] = []

    def __call__(self, batch: Transitions, context: BatchContext | CriticContext) -> Any:
        self.batches.append(batch)
        return batch if isinstance(context, BatchContext) else batch.reward.new_zeros(())

    def check(self, *parts: Any) -> None:
        pass


def test_batches_carry_them_to_hooks_and_terms() -> None:
    planner, hook, term = made(), Sees(), Sees()
    planner.learning.batch_hooks, planner.learning.critic_terms = [hook], [term]
    real = planner.learning.real
    ends = Transitions(*(torch.zeros(100, *rest) for rest in ((1,), (1,), (), (1,))), *torch.ones(2, 100, dtype=torch.bool))
    real.add(replace(ends, terminated=torch.arange(100) % 3 == 0, truncated=torch.arange(100) % 2 == 0))
    ticked(planner, 1)
    for batch in (hook.batches[0], term.batches[0]):
        mine, models = batch.select(slice(0, 4)), batch.select(slice(4, 16))
        assert column(mine, "rollout") == column(mine, "depth") == [-1] * 4
        assert column(mine, "cut") == (mine.truncated & ~mine.terminated).int().tolist()
        assert set(column(models, "rollout")) <= set(range(ROLLOUTS))
        kept = planner.learning.model.all()
        for i in range(12):
            (row,) = ((kept.obs == models.obs[i]) & (kept.action == models.action[i])).all(-1).nonzero()[:, 0].tolist()
            for name in REAL_ROWS:
                assert models.extras[name][i] == kept.extras[name][row]
            assert models.extras["cut"][i] == (models.extras["depth"][i] == LENGTH - 1) * ~models.terminated[i]


@pytest.mark.parametrize("real_rows", [0, 16])
def test_batches_of_one_kind_carry_them_too(real_rows: int) -> None:
    planner = made()
    planner.learning.imagine(ROLLOUTS, LENGTH, capacity=ROLLOUTS * LENGTH, clock=0)
    planner.learning.real_rows = real_rows
    batch, model_rows = planner.learning.batch()
    assert model_rows == slice(real_rows, 16)
    assert set(REAL_ROWS) <= set(batch.extras)
    assert (min(column(batch, "depth")) == -1) is (real_rows == 16)


def test_rollouts_kept_by_an_older_version_load_as_rows_without_a_number() -> None:
    planner, other = ticked(made(), 6), made()
    state = planner.buffers_state()["model"]
    width = ReplayBuffer(1, 1, 1).layout.width
    state["matrix"] = planner.buffers_state()["model"]["matrix"][:, :width].clone()
    other.load_buffers_state({"model": state})
    old, new = planner.learning.model.all(), other.learning.model.all()
    for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated", "row"):
        assert torch.equal(getattr(old, name), getattr(new, name))
    assert {name: set(column(new, name)) for name in REAL_ROWS} == {"rollout": {-1}, "depth": {-1}, "cut": {0}}


class AsksFor(SAC):
    def __init__(self, name: str) -> None:
        super().__init__(hidden=[4])
        self.name = name

    def row_extras(self, task: Task) -> dict[str, int]:
        return {self.name: 1}


def test_a_learner_that_asks_for_what_rollouts_do_not_know_is_refused() -> None:
    model, learner = WalkModel(), AsksFor("goal")
    model.build(WALK)
    learner.build(WALK)
    planner: Any = Offline()
    planner.build(WALK)
    place = (model, learner, ReplayBuffer(4, 1, 1), planner.streams, planner.metrics)
    ImaginedLearning(*place, batch_size=4, real_rows=4)
    with pytest.raises(UnsupportedError, match=r"AsksFor can't learn from rollouts: it asks for \['goal'\] of each row"):
        ImaginedLearning(*place, batch_size=4, real_rows=3)
