"""Reward functions against the simulators, in float64."""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import pytest
import torch

from mbrl.data import make_generator
from mbrl.envs import check_task, make_env, make_task, rewards
from mbrl.envs.check import _random_steps


@pytest.mark.parametrize(
    "env_id",
    [
        "Pendulum-v1",
        "MountainCarContinuous-v0",
        "InvertedPendulum-v5",
        "Reacher-v5",
        "Pusher-v5",
        "dm_control/cartpole-swingup-v0",
        "dm_control/cartpole-balance-v0",
        "dm_control/cartpole-balance_sparse-v0",
        "dm_control/pendulum-swingup-v0",
    ],
)
def test_known_rewards_agree(env_id: str) -> None:
    if env_id.startswith("dm_control"):
        pytest.importorskip("shimmy")
    task = make_task(env_id)
    assert task.known_reward is not None
    found = check_task(task, steps=1000, seed=1)
    assert found[0].startswith(task.known_reward)


@pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning")
@pytest.mark.parametrize("env_id", ["InvertedPendulum-v4", "Reacher-v4", "Hopper-v4", "Ant-v4"])
def test_the_functions_of_version_4_agree(env_id: str) -> None:
    assert check_task(make_task(env_id), steps=300)


def test_the_inverted_pendulum_pays_nothing_on_its_last_step() -> None:
    rows = _random_steps(make_task("InvertedPendulum-v5"), 200, 0)
    assert rows.terminated.any()
    assert torch.equal(rows.reward, 1.0 - rows.terminated.double())


@pytest.mark.check("coplanner-40")
def test_pendulum_in_closed_form_reproduces_the_simulator() -> None:
    """The largest reward and state errors are those of the observation's float32."""
    task = make_task("Pendulum-v1")
    env = make_env(task)
    generator = make_generator("cpu", "pendulum")
    torque = (torch.rand(2000, generator=generator, dtype=torch.float64) * 4 - 2).numpy().astype(np.float32)
    largest_state, largest_reward = 0.0, 0.0
    for step, u in enumerate(torque.tolist()):
        if step % 200 == 0:
            obs, _ = env.reset(seed=step)
        angle, speed = env.unwrapped.state
        next_speed = min(max(speed + 0.05 * (15 * math.sin(angle) + 3 * u), -8), 8)
        next_angle = angle + 0.05 * next_speed
        led_to, reward, _, _, _ = env.step(np.array([u], dtype=np.float32))
        expected = [math.cos(next_angle), math.sin(next_angle), next_speed]
        largest_state = max(largest_state, float(np.abs(led_to - expected).max()))
        ours = rewards.pendulum(*(torch.from_numpy(np.array(x, dtype=np.float64)) for x in (obs, [u], led_to)))
        largest_reward = max(largest_reward, abs(ours.item() - float(reward)))
        obs = led_to
    assert largest_state <= 4.8e-7
    assert largest_reward <= 2.5e-6
    env.close()


def test_pendulum_by_hand() -> None:
    obs = torch.tensor([[math.cos(-3.0), math.sin(-3.0), -2.0]], dtype=torch.float64)
    reward = rewards.pendulum(obs, torch.tensor([[1.5]], dtype=torch.float64), obs * math.nan)
    assert reward.item() == pytest.approx(-(9.0 + 0.4 + 0.00225), abs=1e-12)


def test_dm_control_cartpole_by_hand() -> None:
    # upright in the middle at rest earns 1; each bell is 0.1 at its margin; full control costs a fifth
    at = torch.tensor([[0.0, 1, 0, 0, 0], [2.0, 1, 0, 0, 0], [0, 1, 0, 0, 5.0], [0, -1, 0, 0, 0]], dtype=torch.float64)
    none, full = torch.zeros(4, 1, dtype=torch.float64), torch.ones(4, 1, dtype=torch.float64)
    assert rewards.dm_cartpole(at, none, at).tolist() == pytest.approx([1.0, 0.55, 0.55, 0.0])
    assert rewards.dm_cartpole(at, full, at).tolist() == pytest.approx([0.8, 0.44, 0.44, 0.0])
    assert rewards.dm_cartpole_sparse(at, none, at).tolist() == [1, 0, 1, 0]


def test_dm_control_pendulum_is_rewarded_within_8_degrees() -> None:
    angles = torch.tensor([7.9, -7.9, 8.1, 180.0], dtype=torch.float64).deg2rad()
    obs = torch.stack([angles.cos(), angles.sin(), angles], dim=-1)
    assert rewards.dm_pendulum(obs, obs, obs).tolist() == [1, 1, 0, 0]


def test_mountain_car_is_paid_on_arrival() -> None:
    env = gymnasium.make("MountainCarContinuous-v0", disable_env_checker=True)
    obs, _ = env.reset(seed=0)
    terminated, steps = False, 0
    while not terminated and steps < 500:  # push the way it moves
        action = np.array([1.0 if obs[1] >= 0 else -1.0], dtype=np.float32)
        led_to, reward, terminated, _, _ = env.step(action)
        row = [torch.from_numpy(np.array(x, dtype=np.float64)) for x in (obs, action, led_to)]
        assert rewards.mountain_car_continuous(*row).item() == pytest.approx(reward, abs=1e-6)
        obs, steps = led_to, steps + 1
    assert terminated
    env.close()


@pytest.mark.parametrize(
    "name", ["pendulum", "inverted_pendulum", "one", "reacher", "pusher", "dm_cartpole", "dm_cartpole_sparse", "dm_pendulum"]
)
def test_any_leading_dims_and_dtype(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    obs, action = torch.randn(2, 3, 23, generator=generator), torch.randn(2, 3, 2, generator=generator)
    out = getattr(rewards, name)(obs, action, obs)
    assert out.shape == (2, 3)
    assert out.dtype is torch.float32
    double = getattr(rewards, name)(obs.double(), action.double(), obs.double())
    assert double.dtype is torch.float64
    assert torch.allclose(out.double(), double, atol=1e-4)
