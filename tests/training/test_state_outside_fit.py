"""What a run has learned is there wherever it is used: in test, validate, predict, report, collect and load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mbrl
from mbrl.envs import OfflineData, collect
from mbrl.planners import Memory
from mbrl.spec import Part, from_spec
from mbrl.training.checkpoint import checkpoint_folders, read_checkpoint
from tests.training.test_kill_and_resume import dyna
from tests.training.toy import ToyPlanner, data, lines, trainer


class Drift(Part):
    """Moves whenever it is asked, in training and in evaluations alike."""

    def __init__(self) -> None:
        self.reset()

    def __call__(self) -> float:
        self.value = 0.9 * self.value + 0.1
        return self.value

    def reset(self) -> None:
        self.value = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.value = state["value"]


class Drifting(ToyPlanner):
    """Acts by its counter, which is a planner state, and by a part's."""

    def __init__(self) -> None:
        super().__init__()
        self.drift = Drift()

    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> tuple[Tensor, Memory]:
        action, memory = super().act(obs, memory, explore=explore)
        return (action + 0.05 * self.counter + 0.1 * self.drift()).clamp(-1, 1), memory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Drifting]:
    torch.set_num_threads(1)
    folder, planner = tmp_path_factory.mktemp("run"), Drifting()
    trainer(folder).fit(planner, data(20))
    assert planner.counter > 0.2 and planner.drift.value > 0.5
    return folder, planner


def test_load_and_test_and_validate_act_as_the_trained_planner(run: tuple[Path, Drifting], tmp_path: Path) -> None:
    folder, planner = run
    loaded = mbrl.load(folder, allow=["tests"])
    assert isinstance(loaded, Drifting)
    assert (loaded.counter, loaded.drift.value) == (planner.counter, planner.drift.value)
    expected = trainer(tmp_path / "python").test(planner, data(20))
    assert trainer(tmp_path / "python").test(planner, data(20)) == expected  # the first has moved nothing
    assert trainer(tmp_path / "loaded").test(loaded, data(20)) == expected
    assert trainer(folder).test(Drifting(), data(20), ckpt_path="last") == expected
    validated = trainer(tmp_path / "python").validate(planner, data(20, eval_episodes=2))
    assert trainer(folder).validate(Drifting(), data(20, eval_episodes=2), ckpt_path="last") == validated


def test_predict_acts_as_the_trained_planner(run: tuple[Path, Drifting], tmp_path: Path) -> None:
    folder, planner = run
    rows = collect(planner.built_task, str(tmp_path / "rows.npz"), steps=20)
    trained = trainer(tmp_path / "python").predict(planner, OfflineData(str(rows)))
    read = trainer(folder).predict(Drifting(), OfflineData(str(rows)), ckpt_path="last", output=tmp_path / "again.npz")
    with np.load(trained) as one, np.load(read) as other:
        assert np.array_equal(one["action"], other["action"])


def test_how_often_it_is_evaluated_changes_no_training(run: tuple[Path, Drifting], tmp_path: Path) -> None:
    folder, planner = run
    seldom = Drifting()
    trainer(tmp_path / "seldom", eval_every=7).fit(seldom, data(20))
    assert (seldom.counter, seldom.drift.value) == (planner.counter, planner.drift.value)
    first, second = (
        [{name: value for name, value in line.items() if not name.startswith("eval/")} for line in lines(where)]
        for where in (folder, tmp_path / "seldom")
    )
    second = [line for line in second if line["env_steps"] % 10 == 0]
    assert first == second


def test_a_tuned_weight_is_loaded(tmp_path: Path) -> None:
    planner = dyna()
    trainer(tmp_path).fit(planner, data(40, num_envs=2))
    saved = read_checkpoint(checkpoint_folders(tmp_path)[0], buffers=False)["mbrl"]["parts"]
    loaded: Any = mbrl.load(tmp_path)
    for one in (loaded, planner):
        assert one.rollout_hooks[0].weight.state_dict().keys() == saved["rollout_hooks.0.weight"].keys()
        weight = one.rollout_hooks[0].weight.state_dict()["log_weight"]
        assert weight != 0.0 and weight == saved["rollout_hooks.0.weight"]["log_weight"]
    assert from_spec(loaded.spec).rollout_hooks[0].weight.state_dict() == {}
