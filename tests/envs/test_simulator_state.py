"""Rows of simulator state: what is in them, and that an environment goes on from one as it did."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from mbrl.data import make_generator
from mbrl.envs import HandedOverExperience, SimulatorState, VectorExperience, make_env, make_task, simulator_state_size
from mbrl.errors import TaskError


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log where the program runs


@pytest.mark.parametrize(
    ("env_id", "size"),
    [
        ("InvertedPendulum-v5", 1 + 2 * 2 + 2),  # time, positions, velocities; warm start
        ("Hopper-v5", 1 + 2 * 6 + 6),
        ("Walker2d-v5", 1 + 2 * 9 + 9),
        ("Reacher-v5", 1 + 2 * 4 + 4),
        ("Ant-v5", 1 + 15 + 14 + 14 + 3 * 14),  # and where 14 bodies are
        ("Humanoid-v5", 1 + 24 + 23 + 23 + 3 * 14),  # and where their 14 centres of mass are
    ],
)
def test_a_row_holds_physics_warm_start_and_what_is_read_before_a_step(env_id: str, size: int) -> None:
    assert simulator_state_size(make_task(env_id)) == size


@pytest.mark.parametrize("env_id", ["Hopper-v5", "Ant-v5", "Humanoid-v5", "Pusher-v5", "dm_control/cartpole-swingup-v0"])
def test_an_environment_put_back_goes_on_as_it_did(env_id: str) -> None:
    if env_id.startswith("dm_control"):
        pytest.importorskip("shimmy")
    task = make_task(env_id)
    env, other = make_env(task), make_env(task)
    draws = np.random.default_rng(0)
    actions = draws.uniform(task.action_low, task.action_high, (12, task.action_size)).astype(env.action_space.dtype)
    env.reset(seed=3)
    other.reset(seed=4)
    for action in actions[:6]:
        env.step(action)
        other.step(-action)
    row = SimulatorState(env).read()
    assert row.dtype == np.float64
    SimulatorState(other).write(row)
    assert np.array_equal(SimulatorState(other).read(), row)
    for action in actions[6:]:
        here, there = env.step(action), other.step(action)
        assert np.array_equal(here[0], there[0])
        assert here[1:4] == there[1:4]
    env.close()
    other.close()


def test_positions_alone_would_not_do() -> None:
    """What the row holds beyond positions and velocities matters: the reward of Ant differs without it."""
    task = make_task("Ant-v5")
    env = make_env(task)
    env.reset(seed=3)
    for _ in range(5):
        env.step(np.full(8, 0.5, dtype=np.float32))
    inner = env.unwrapped
    row, positions, velocities = SimulatorState(env).read(), inner.data.qpos.copy(), inner.data.qvel.copy()
    _, expected, *_ = env.step(np.zeros(8, dtype=np.float32))
    inner.set_state(positions, velocities)
    _, without, *_ = env.step(np.zeros(8, dtype=np.float32))
    SimulatorState(env).write(row)
    _, again, *_ = env.step(np.zeros(8, dtype=np.float32))
    assert again == expected
    assert abs(without - expected) > 1e-6
    env.close()


def test_an_environment_without_mujoco_has_no_such_state() -> None:
    with pytest.raises(TaskError, match=r"a MuJoCo environment \(Gymnasium or dm_control\), got PendulumEnv"):
        simulator_state_size(make_task("Pendulum-v1"))
    assert VectorExperience(make_task("Pendulum-v1"), 2).snapshot is None


def test_snapshots_are_of_the_states_that_observations_show() -> None:
    """Hopper's observation is its positions but the first, and its velocities clipped: after resets as well."""
    task = make_task("Hopper-v5")
    experience = VectorExperience(task, 3, seed=1)
    ended = False
    for action in torch.rand(40, 3, 3, generator=make_generator("cpu", "actions")) * 2 - 1:
        snapshot = experience.snapshot
        assert snapshot is not None
        assert (snapshot.dtype, snapshot.shape) == (torch.float64, (3, 19))
        shown = torch.cat([snapshot[:, 2:7], snapshot[:, 7:13].clamp(-10, 10)], 1)
        assert torch.equal(shown.float(), experience.obs)
        kept = snapshot.clone()
        experience.step(action)
        ended = ended or bool(experience.ended.any())
        assert torch.equal(snapshot, kept)  # the caller's own
    assert ended
    experience.close()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_snapshots_of_environments_handed_over(mode: AutoresetMode) -> None:
    task = make_task("InvertedPendulum-v5")
    envs = SyncVectorEnv([lambda: gymnasium.make("InvertedPendulum-v5")] * 2, autoreset_mode=mode)
    experience = HandedOverExperience(task, envs, seed=2)
    ended = False
    for action in torch.rand(30, 2, 1, generator=make_generator("cpu", "actions")) * 2 - 1:
        snapshot = experience.snapshot
        assert snapshot is not None
        assert torch.equal(snapshot[:, 1:5].float(), experience.obs)
        experience.step(action)
        ended = ended or bool(experience.ended.any())
    assert ended
    experience.close()
