"""The linear system: model, environment and closed forms agree with each other."""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import pytest
import torch

from mbrl.data import Transitions, make_generator
from mbrl.envs import VectorExperience
from mbrl.errors import ConfigError
from mbrl.testing import LinearModel, forecast, linear_task, lqr_gain
from mbrl.testing.linear import ACTION_MATRIX, STATE_MATRIX


def built(**options: object) -> LinearModel:
    model = LinearModel(**options)
    model.build(linear_task())
    return model


def test_environment_and_model_are_the_same_system() -> None:
    experience = VectorExperience(linear_task(), 3, seed=0)
    experience.reset(0)
    model, generator = built(), make_generator("cpu", "actions")
    ended = 0
    for _ in range(60):
        rows = experience.step(torch.rand(3, 1, generator=generator) * 2 - 1)
        step = model.step(model.start(rows, make_generator("cpu", "noise")), rows.action)
        torch.testing.assert_close(step.next_obs, rows.next_obs)
        torch.testing.assert_close(step.reward, rows.reward)
        assert torch.equal(step.terminated, rows.terminated)
        ended += int((rows.terminated | rows.truncated).sum())
    assert ended > 0
    experience.close()


@pytest.mark.filterwarnings("ignore:.*A Box observation space (min|max)imum value is -?infinity")
def test_environment_passes_gymnasiums_check_and_ends_outside_its_limit() -> None:
    from gymnasium.utils.env_checker import check_env

    env = gymnasium.make("mbrl/Linear-v0", noise=0.1).unwrapped
    check_env(env, skip_render_check=True)
    env.reset(seed=0)
    env.state[:] = (1.99, 1.0)
    assert env.step(np.zeros(1, dtype=np.float32))[2]
    endless = gymnasium.make("mbrl/Linear-v0", ends=False).unwrapped
    endless.reset(seed=0)
    endless.state[:] = (5.0, 1.0)
    assert not endless.step(np.zeros(1, dtype=np.float32))[2]


def test_forecast_is_the_mean_and_covariance_of_rollouts() -> None:
    model = built(noise=0.1)
    obs = torch.tensor([[0.3, -0.2]]).expand(20_000, 2)
    plan = torch.tensor([[0.5], [-0.5], [1.0]]).expand(20_000, 3, 1)
    state = model.start(Transitions.from_obs(obs, 1), make_generator("cpu", "noise"))
    sampled = torch.stack([step.next_obs for step in model.rollout(state, plan)], 1)  # B x H x S
    mean, covariance = forecast(torch.tensor(STATE_MATRIX), torch.tensor(ACTION_MATRIX), 0.1, obs[:1], plan[:1])
    torch.testing.assert_close(sampled.mean(0), mean[0], atol=0.005, rtol=0)
    for h in range(3):
        torch.testing.assert_close(torch.cov(sampled[:, h].T), covariance[h], atol=0.0015, rtol=0)


def test_members_have_the_stated_spread() -> None:
    obs, action = torch.zeros(4, 2), torch.zeros(4, 1)
    mean = built(members=5, spread=0.3).predict(obs, action).mean
    torch.testing.assert_close(mean.std(0, correction=0), torch.full((4, 2), 0.3 * math.sqrt(24 / 12)))
    torch.testing.assert_close(mean.mean(0), built().predict(obs, action).mean[0])


def test_lqr_gain_is_the_fixed_point_and_beats_its_neighbours() -> None:
    gain, value = lqr_gain()
    again, unchanged = lqr_gain(sweeps=1001)
    torch.testing.assert_close((again, unchanged), (gain, value))
    f, g = (torch.tensor(matrix, dtype=torch.float64) for matrix in (STATE_MATRIX, ACTION_MATRIX))

    def cost(controller: torch.Tensor) -> float:
        state, total = torch.tensor([0.3, -0.2], dtype=torch.float64), 0.0
        for _ in range(2000):
            action = -controller @ state
            state = f @ state + g @ action
            total += (state.square().sum() + 0.1 * action.square().sum()).item()
        return total

    start = torch.tensor([0.3, -0.2], dtype=torch.float64)
    assert cost(gain) == pytest.approx((start @ value @ start).item(), rel=1e-9)
    for step in (-0.05, 0.05):
        for column in range(2):
            moved = gain.clone()
            moved[0, column] += step
            assert cost(moved) > cost(gain)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match=r"state_matrix S x S and action_matrix S x A, got 2 x \[3\]"):
        LinearModel(state_matrix=((1, 0, 0), (0, 1, 0)))
    with pytest.raises(ConfigError, match=r"LinearModel\(members=…\): expected a whole number of at least 1, got 0"):
        LinearModel(members=0)
    with pytest.raises(ConfigError, match=r"LinearModel\(action_matrix\): expected shape 2 x 1, got 1 x 1"):
        LinearModel(state_matrix=((1,),), action_matrix=((1,),)).build(linear_task())
