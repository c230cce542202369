"""Parts are found wherever they lie, and what they learned can be put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mbrl.models import DynamicsModel
from mbrl.parts import load_states_of_parts, parts_of, states_of_parts
from mbrl.planners import Dyna
from mbrl.policies import SAC
from mbrl.spec import Part
from mbrl.testing import LinearModel, linear_task
from tests.planners.test_dyna import dyna as make_dyna
from tests.planners.test_dyna import run


class Count(Part):
    def __init__(self) -> None:
        self.count = 0

    def reset(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count} if self.count else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.count = state["count"]


class CountingModel(LinearModel):
    def __init__(self, count: Count) -> None:
        super().__init__()
        self.count = count


class CountingSAC(SAC):
    def __init__(self, count: Count) -> None:
        super().__init__(hidden=[4])
        self.layers = nn.ModuleList([nn.Identity()])
        self.layers[0].inner = {"here": [count]}


def made() -> Dyna:
    planner = Dyna(CountingModel(Count()), CountingSAC(Count()))
    planner.build(linear_task())
    return planner


PATHS = ["dynamics.count", "learner.layers.0.inner.here.0"]


def test_parts_of_learners_and_models_are_found_reset_and_saved() -> None:
    planner = made()
    parts: Any = parts_of(planner)
    assert [path for path in parts if isinstance(parts[path], Count)] == PATHS
    for number, path in enumerate(PATHS, 1):
        parts[path].count = number
    checkpoint: dict[str, Any] = {"state_dict": planner.state_dict()}
    planner.on_save_checkpoint(checkpoint)
    assert checkpoint["mbrl"]["parts"] == {PATHS[0]: {"count": 1}, PATHS[1]: {"count": 2}}
    other = made()
    other.on_load_checkpoint(checkpoint)
    other.restore()
    assert states_of_parts(other) == checkpoint["mbrl"]["parts"]
    other.build(linear_task())
    assert states_of_parts(other) == {}


def test_a_model_alone_keeps_its_parts() -> None:
    models = [CountingModel(Count()) for _ in range(2)]
    for model in models:
        model.count.count = 3
        DynamicsModel.build(model, linear_task())
        assert model.count.count == 0
    models[0].count.count, checkpoint = 5, {}
    models[0].on_save_checkpoint(checkpoint)
    models[1].on_load_checkpoint(checkpoint)
    assert models[1].count.count == 5
    del checkpoint["mbrl"]["parts"]  # as checkpoints were written before
    models[1].on_load_checkpoint(checkpoint)
    assert models[1].count.count == 0


def test_a_part_may_know_the_module_that_holds_it() -> None:
    module, part = nn.Linear(1, 1), Count()
    module.part, part.owner = part, module  # type: ignore[assignment, attr-defined]
    assert parts_of(module) == {"part": part}
    assert list(parts_of(part)) == []


def test_what_had_no_state_then_is_forgotten() -> None:
    owner = nn.Module()
    owner.kept, owner.fresh = Count(), Count()  # type: ignore[assignment]
    owner.kept.count, owner.fresh.count = 1, torch.tensor(2)  # type: ignore[union-attr, assignment]
    load_states_of_parts(owner, {"kept": {"count": 7}})
    assert states_of_parts(owner) == {"kept": {"count": 7}}


class Scale(Part):
    """The largest observation that it was shown, once per refit."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, int]] = []

    def fitted(self, model: Any, rows: Any) -> None:
        self.seen.append((model, len(rows)))


def test_parts_are_shown_model_and_rows_once_per_refit_wherever_they_lie() -> None:
    shared, own = Scale(), Scale()
    planner = make_dyna(batch_hooks=[], rollout_hooks=[])
    planner.rollout_selector.scale, planner.explore_selector.scale = shared, shared
    planner.learner.part = own
    run(planner, 35)
    assert shared.seen == own.seen == [(planner.dynamics, 20), (planner.dynamics, 30)]
