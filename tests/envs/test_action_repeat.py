"""An action repeat stores whole steps alone: no step that a time limit cuts short passes for an ordinary one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl.data import Transitions
from mbrl.envs import OfflineData, OnlineData, VectorExperience, collect, make_task
from mbrl.errors import TaskError
from mbrl.planners import Dyna
from mbrl.policies import SAC
from mbrl.testing import LinearModel
from tests.training.toy import trainer


class Counter(gymnasium.Env[np.ndarray, np.ndarray]):
    """Observes its simulator steps; terminates after `end` of them, or truncates by itself after `own`."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, end: int = 1000, own: int = 1000) -> None:
        self.end, self.own, self.count = end, own, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return self.shown(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.count += 1
        return self.shown(), 1.0, self.count >= self.end, self.count >= self.own, {}

    def shown(self) -> np.ndarray:
        return np.array([self.count], dtype=np.float32)


ID = "tests.envs.test_action_repeat:Counter-v0"


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    gymnasium.register("Counter-v0", entry_point=Counter, max_episode_steps=10)
    yield
    del gymnasium.registry["Counter-v0"]


def stepped(task: Any, ticks: int) -> Transitions:
    experience = VectorExperience(task, 2)
    rows = Transitions.cat([experience.step(torch.zeros(2, 1)) for _ in range(ticks)])
    experience.close()
    return rows


def assert_whole(rows: Any, steps: int = 3) -> None:
    """Every row is of three simulator steps, and every `steps`-th one ends its episode."""
    assert torch.equal(rows.next_obs - rows.obs, torch.full_like(rows.obs, 3.0))
    assert torch.equal(rows.reward, torch.full_like(rows.reward, 3.0))
    assert not rows.terminated.any()
    assert torch.equal(rows.truncated, rows.next_obs[:, 0] == 3.0 * steps)


def test_a_limit_that_it_does_not_divide_ends_with_the_last_whole_step() -> None:
    task = make_task(ID, action_repeat=3)
    assert task.time_limit == 3
    assert_whole(stepped(task, 8))
    assert make_task(ID, {"max_episode_steps": 12}, action_repeat=3).time_limit == 4
    assert_whole(stepped(make_task(ID, {"max_episode_steps": 12}, action_repeat=3), 8), 4)


def test_training_rows(tmp_path: Path) -> None:
    model = LinearModel(state_matrix=[[1.0]], action_matrix=[[0.1]], learn_reward=True, learn_terminated=True)
    planner = Dyna(model, SAC(hidden=[8]), warmup_steps=4, refit_every=4, updates_per_step=1, batch_size=8, real_ratio=1.0)
    data = OnlineData(ID, steps=11, action_repeat=3, eval_episodes=1)
    trainer(tmp_path / "run").fit(planner, data)
    rows = planner.real_buffer.all()
    assert len(rows) == 11
    assert_whole(rows)


def test_collected_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    collect(make_task(ID, action_repeat=3), str(path), steps=12, num_envs=2)
    assert_whole(OfflineData(str(path), env_id=ID, action_repeat=3).transitions)


def test_a_termination_within_a_step_is_stored() -> None:
    rows = stepped(make_task(ID, {"end": 5}, action_repeat=3), 4)
    assert rows.terminated.tolist() == [False, False, True, True] * 2
    assert rows.next_obs[rows.terminated].unique().tolist() == [5.0]
    assert rows.reward.tolist() == [3.0, 3.0, 2.0, 2.0] * 2


def test_a_truncation_that_nobody_could_foresee_is_refused() -> None:
    task = make_task(ID, {"own": 5}, action_repeat=3)
    with pytest.raises(TaskError, match=r"Counter-v0: .* action_repeat=3, got one .* after 2 of 3 .* divides its length"):
        stepped(task, 2)
    assert stepped(make_task(ID, {"own": 6}, action_repeat=3), 2).truncated.tolist() == [False, False, True, True]


def test_a_repeat_longer_than_the_episode_is_refused() -> None:
    with pytest.raises(TaskError, match="expected an action_repeat of at most its 10 simulator steps, got 11; lower it"):
        make_task(ID, action_repeat=11)
