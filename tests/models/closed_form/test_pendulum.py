"""The pendulum in closed form against Gymnasium's."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mbrl.data import Task, Transitions, make_generator
from mbrl.envs import make_env, make_task
from mbrl.errors import ConfigError, TaskError, UnsupportedError
from mbrl.models import Pendulum
from mbrl.testing import check_dynamics_model

TASK = make_task("Pendulum-v1")


def built(task: Task = TASK, **options: Any) -> Pendulum:
    model = Pendulum(**options)
    model.build(task)
    return model


def simulated(
    task: Task, steps: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random steps of the simulator in its own float64: obs, action in [−1, 1], next obs, reward, and next obs as shown."""
    env = make_env(task)
    rows: list[tuple[Any, ...]] = []
    torque = torch.rand(steps, generator=make_generator("cpu", seed, "torque"), dtype=torch.float64) * 4 - 2

    def exact() -> list[float]:
        angle, speed = env.unwrapped.state
        return [math.cos(angle), math.sin(angle), float(speed)]

    for step, u in enumerate(torque.tolist()):
        if step % 50 == 0:
            env.reset(seed=seed + step)
        if step % 10 == 0:  # to reach the clip of the speed too
            env.unwrapped.state = np.array([3.0 * math.cos(step), 7.9 * math.sin(step / 3)])
        before = exact()
        shown, reward, *_ = env.step(np.array([u]))
        rows.append((before, [u / 2], exact(), float(reward), shown.tolist()))
    env.close()
    return tuple(torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))  # type: ignore[return-value]


@pytest.mark.check("coplanner-40")
def test_it_reproduces_the_simulator() -> None:
    """2,000 random steps: to float64 from the simulator's own state, to 2.5e-6 and 4.8e-7 from its float32 observations."""
    obs, action, next_obs, reward, shown = simulated(TASK, 2000, 0)
    said = built().predict(obs, action)
    assert said.reward_mean is not None
    assert (said.mean[0] - next_obs).abs().max() < 1e-14
    assert (said.reward_mean[0] - reward).abs().max() < 1e-13
    assert (said.mean[0] - shown).abs().max() <= 4.8e-7
    rough = built().predict(obs.float().double(), action)
    assert rough.reward_mean is not None
    assert (rough.reward_mean[0] - reward).abs().max() <= 2.5e-6
    assert (next_obs[:, 2].abs() == 8).any()


def test_float32_stays_near_float64() -> None:
    obs, action, next_obs, _, _ = simulated(TASK, 100, 1)
    said = built().predict(obs.float(), action.float())
    assert said.mean.dtype is torch.float32
    assert (said.mean[0] - next_obs).abs().max() < 3e-6


@pytest.mark.parametrize(("env_kwargs", "repeat"), [({"g": 9.81}, 1), ({}, 3)])
def test_gravity_and_action_repeat(env_kwargs: dict[str, float], repeat: int) -> None:
    task = make_task("Pendulum-v1", env_kwargs, reward="learned", action_repeat=repeat)
    if env_kwargs:
        task = replace(task, known_terminated="mbrl.envs.terminations.never")
    obs, action, next_obs, reward, _ = simulated(task, 300, 2)
    model = built(task, **env_kwargs)
    step = model.step(model.start(Transitions.from_obs(obs, 1), make_generator("cpu", 0)), action)
    assert (step.next_obs - next_obs).abs().max() < 1e-13
    assert (step.reward - reward).abs().max() < 1e-12  # the sum over inner steps
    assert not step.terminated.any()


def test_gradients_agree_with_differences() -> None:
    obs, action, *_ = simulated(TASK, 20, 3)
    inside = obs[:, 2].abs() < 7
    model = built()

    def answer(obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        said = model.predict(obs, action)
        assert said.reward_mean is not None
        return said.mean.sum(-1) + said.reward_mean

    arguments = (obs[inside].requires_grad_(), (0.9 * action[inside]).requires_grad_())
    assert torch.autograd.gradcheck(answer, arguments)


@pytest.mark.parametrize("task", [TASK, replace(TASK, known_reward=None, known_terminated=None, action_repeat=2)])
def test_it_keeps_its_contract(task: Task) -> None:
    check_dynamics_model(Pendulum, task)


def test_a_step_draws_nothing_and_refuses_a_foreign_state() -> None:
    model, generator = built(), make_generator("cpu", "untouched")
    before = generator.get_state()
    state = model.start(Transitions.from_obs(torch.eye(3), 1), generator)
    first = model.step(state, torch.zeros(3, 1))
    assert torch.equal(generator.get_state(), before)
    own = model.predict(state.obs, torch.zeros(3, 1))
    assert torch.equal(first.next_obs, own.mean[0]) and torch.equal(first.reward, own.reward_mean[0])
    with pytest.raises(UnsupportedError, match=r"expected an ObsState, got str"):
        model.step("a state", torch.zeros(3, 1))


def test_refusals() -> None:
    with pytest.raises(ConfigError, match=r"Pendulum\(dt=…\): expected a finite number above 0, got 0"):
        Pendulum(dt=0)
    with pytest.raises(TaskError, match=r"sizes \(3, 1\) and actions in ±2 N m, got \(2, 1\) .*MountainCar"):
        built(make_task("MountainCarContinuous-v0"))
    with pytest.raises(TaskError, match=r"got \(3, 1\) and \(\(-1\.0,\), \(1\.0,\)\)"):
        built(replace(TASK, action_low=(-1.0,), action_high=(1.0,)))
    with pytest.raises(TaskError, match=r"constants of Pendulum-v1, got g 9\.81 against 10, m 2 against 1;"):
        built(g=9.81, m=2.0)
    with pytest.raises(TaskError, match=r"got g 10 against 9\.81;"):
        built(replace(TASK, env_kwargs={"g": 9.81}))
    with pytest.raises(TaskError, match="expected the task of Pendulum-v1, got Other-v0; name one of your own"):
        built(replace(TASK, env_id="Other-v0"))
    built(replace(TASK, env_id="mine:Heavy-v0"), m=2.0)
    built(replace(TASK, env_id=""), m=2.0)
