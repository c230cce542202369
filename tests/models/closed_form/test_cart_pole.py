"""The cart-pole in closed form against MuJoCo's, through the dm_control suite."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mbrl.data import Task, Transitions, make_generator
from mbrl.envs import make_env, make_task
from mbrl.errors import TaskError
from mbrl.models import CartPole
from mbrl.models.closed_form.cart_pole import ENV_IDS, inertia_constants
from mbrl.testing import check_dynamics_model

pytest.importorskip("shimmy")
SWINGUP = make_task("dm_control/cartpole-swingup-v0")


def built(task: Task = SWINGUP) -> CartPole:
    model = CartPole()
    model.build(task)
    return model


def physics(env: Any) -> Any:
    return env.unwrapped._env.physics


def test_inertias_are_those_of_the_loaded_model() -> None:
    env = make_env(SWINGUP)
    env.reset(seed=0)
    model, ours = physics(env).model, inertia_constants()
    assert ours["body_inertia"] == pytest.approx(model.body_inertia[2, 1], rel=1e-12)
    assert ours["dof_M0"] == pytest.approx(model.dof_M0[1], rel=1e-12)
    assert ours["dof_invweight0"] == pytest.approx(model.dof_invweight0[0], rel=1e-12)
    assert ours["gravity"] == model.opt.gravity[2]
    env.close()


@pytest.mark.parametrize("place", ["inside", "at the stop", "far beyond it"])
def test_a_step_agrees_with_mujoco(place: str) -> None:
    """1e-9 is asked for inside the rail; both sides reach it at the stop too (about 1e-14 measured)."""
    low, high = {"inside": (-1.75, 1.75), "at the stop": (1.78, 1.83), "far beyond it": (-2.2, -1.8)}[place]
    env = make_env(SWINGUP)
    env.reset(seed=0)
    data, generator = physics(env).data, np.random.default_rng(0)
    rows = []
    for _ in range(300):
        data.qpos[:] = generator.uniform(low, high), generator.uniform(-6, 6)
        data.qvel[:] = generator.normal(size=2) * [2, 6]
        before = [data.qpos[0], np.cos(data.qpos[1]), np.sin(data.qpos[1]), *data.qvel]
        action = generator.uniform(-1, 1, 1)
        led_to, reward, _, truncated, _ = env.step(action)
        assert not truncated
        rows.append((before, action, led_to, reward))
    obs, action, next_obs, reward = (torch.tensor(np.array(column)) for column in zip(*rows, strict=True))
    said = built().predict(obs, action)
    assert said.reward_mean is not None and said.mean.dtype is torch.float64
    assert (said.mean[0] - next_obs).abs().max() < 1e-12
    assert (said.reward_mean[0] - reward).abs().max() < 1e-12
    if place == "at the stop":  # some rows begin before the stop and end beyond it
        assert ((obs[:, 0] < 1.8) & (next_obs[:, 0] > 1.8)).sum() > 10
    env.close()


@pytest.mark.parametrize("repeat", [1, 4])
def test_a_trajectory_into_the_rail_stays_with_mujoco(repeat: int) -> None:
    """Driven into both stops for 2 s from hanging; the angle then is a few turns on, and chaos has little time."""
    task = make_task("dm_control/cartpole-swingup-v0", action_repeat=repeat)
    env, model = make_env(task), built(task)
    obs, _ = env.reset(seed=0)
    state = model.start(Transitions.from_obs(torch.from_numpy(obs)[None], 1), make_generator("cpu", 0))
    farthest = {-1: 0.0, 1: 0.0}
    for number in range(200 // repeat):
        action = 0.8 if number * repeat < 100 else -1.0
        led_to, reward, *_ = env.step(np.array([action]))
        step = model.step(state, torch.tensor([[action]], dtype=torch.float64))
        state = step.state
        assert (step.next_obs[0] - torch.from_numpy(led_to)).abs().max() < 1e-9
        assert step.reward.item() == pytest.approx(float(reward), abs=1e-9)
        for side in farthest:
            farthest[side] = max(farthest[side], side * float(led_to[0]))
    assert farthest[-1] > 1.8 and farthest[1] > 1.8
    env.close()


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_the_reward_is_the_tasks(env_id: str) -> None:
    task = make_task(env_id, action_repeat=2)
    env, model = make_env(task), built(task)
    obs, _ = env.reset(seed=1)
    earned = []
    for _ in range(40):
        led_to, reward, *_ = env.step(np.array([0.3]))
        said = model.predict(torch.from_numpy(obs), torch.tensor([0.3], dtype=torch.float64), torch.tensor(0))
        assert said.reward_mean is not None
        assert said.reward_mean.item() == pytest.approx(float(reward), abs=1e-9)
        obs = led_to
        earned.append(float(reward))
    if "balance" in env_id:
        assert max(earned) > 1.5
    assert (set(earned) <= {0.0, 1.0, 2.0}) == ("sparse" in env_id)
    env.close()


def test_gradients_agree_with_differences() -> None:
    generator = make_generator("cpu", "gradients")
    position = torch.tensor([0.3, -1.0, 1.79, 1.9, -2.0], dtype=torch.float64)
    angle = torch.randn(5, generator=generator, dtype=torch.float64)
    speed = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    obs = torch.cat([torch.stack([position, angle.cos(), angle.sin()], -1), speed], -1).requires_grad_()
    action = torch.linspace(-0.9, 0.9, 5, dtype=torch.float64)[:, None].requires_grad_()
    assert torch.autograd.gradcheck(lambda obs, action: built().predict(obs, action).mean, (obs, action))


@pytest.mark.parametrize("task", [SWINGUP, replace(SWINGUP, known_reward=None, known_terminated=None, action_repeat=2)])
def test_it_keeps_its_contract(task: Task) -> None:
    check_dynamics_model(CartPole, task)


def test_refusals() -> None:
    for task in (
        make_task("InvertedPendulum-v5"),
        make_task("dm_control/cartpole-two_poles-v0"),
        replace(SWINGUP, env_kwargs={"task_kwargs": {"time_limit": 3}}),
        replace(SWINGUP, env_id=""),
        replace(SWINGUP, obs_size=4, names=None),
    ):
        with pytest.raises(TaskError, match=r"CartPole: expected a task of dm_control/cartpole-balance-v0, .* got "):
            built(task)
