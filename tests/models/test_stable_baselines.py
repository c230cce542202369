"""A model as Stable-Baselines3's vector environment: the episodes of `ModelVectorEnv`, said as its agents read them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecCheckNan, VecMonitor, VecNormalize
from torch import Tensor

import mbrl.models.stable_baselines as module
from mbrl.data import Task, Transitions, make_generator
from mbrl.errors import ConfigError, DataError, NotBuiltError, ShapeError, UnsupportedError
from mbrl.models import DynamicsModel, GaussianEnsemble, ModelVectorEnv
from mbrl.models.stable_baselines import ModelVecEnv
from mbrl.testing import LinearModel, linear_task


def starts(number: int = 50) -> Transitions:
    return Transitions.from_obs(torch.rand(number, 2, generator=make_generator("cpu", "starts", 0)) * 2 - 1, 1)


def linear(**options: Any) -> LinearModel:
    model = LinearModel(noise=0.2, members=3, spread=0.1, **options)
    model.build(linear_task(ends=True, time_limit=12))
    return model


def ensemble() -> GaussianEnsemble:
    model = GaussianEnsemble(members=2, elites=2, hidden=[8])
    model.build(linear_task(ends=True, time_limit=12), 0)
    return model


@pytest.mark.parametrize("make", [linear, ensemble])
def test_it_equals_the_vector_environment_that_resets_at_once(make: Callable[[], DynamicsModel]) -> None:
    """Bit for bit over many episodes: observations, rewards as float32, ends, and what is said of them."""
    envs, plain = ModelVecEnv(make(), starts(), 4), ModelVectorEnv(make(), starts(), 4, autoreset_mode="same_step")
    envs.seed(3)
    assert np.array_equal(envs.reset(), plain.reset(seed=3)[0])
    plain.action_space.seed(0)
    ends = 0
    for _ in range(60):
        action = plain.action_space.sample()
        obs, reward, done, infos = envs.step(action)
        expected, paid, terminated, truncated, info = plain.step(action)
        assert np.array_equal(obs, expected) and obs.dtype == np.float32
        assert np.array_equal(reward, paid.astype(np.float32)) and reward.dtype == np.float32
        assert np.array_equal(done, terminated | truncated) and done.dtype == np.bool_
        for env, said in enumerate(infos):
            assert said["TimeLimit.truncated"] is bool(truncated[env] and not terminated[env])
            assert ("terminal_observation" in said) == done[env]
            if done[env]:
                assert np.array_equal(said["terminal_observation"], info["final_obs"][env])
        ends += done.sum()
    assert ends > 8


def far(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """The task ends at 2."""
    return next_obs[..., 0] >= 2.0


class HaltsBelow(LinearModel):
    """A model of s' = s + a that halts its rollouts at −2."""

    def halted(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        return next_obs[..., 0] <= -2.0


def test_each_kind_of_end_says_whether_to_bootstrap() -> None:
    """Terminated, halted, cut by the limit of 4 steps, and terminated in the very step of the limit."""
    model = HaltsBelow([[1.0]], [[1.0]])
    task = Task(
        "", 1, 1, (-1.0,), (1.0,), time_limit=4, known_reward="mbrl.envs.rewards.one", known_terminated=f"{__name__}.far"
    )
    model.build(task)
    envs = ModelVecEnv(model, Transitions.from_obs(torch.zeros(1, 1), 1), 4)
    envs.seed(0)
    envs.reset()
    action = np.array([[1.0], [-1.0], [0.0], [0.5]], dtype=np.float32)
    steps = [envs.step(action) for _ in range(4)]
    assert [done.tolist() for _, _, done, _ in steps] == [
        [False] * 4, [True, True, False, False], [False] * 4, [True, True, True, True],
    ]  # fmt: skip
    for step, env, truncated, last in ((1, 0, False, 2.0), (1, 1, True, -2.0), (3, 2, True, 0.0), (3, 3, False, 2.0)):
        obs, _, _, infos = steps[step]
        assert infos[env] == {"TimeLimit.truncated": truncated, "terminal_observation": np.array([last], dtype=np.float32)}
        assert obs[env].tolist() == [0.0]  # the next episode's
    assert steps[1][3][2] == {"TimeLimit.truncated": False}


def test_seeds_repeat() -> None:
    def episode(envs: ModelVecEnv, seed: int | None) -> Any:
        if seed is not None:
            envs.seed(seed)
        return np.stack([envs.reset(), *(envs.step(np.full((3, 1), 0.1))[0] for _ in range(20))])

    envs, other = (ModelVecEnv(linear(), starts(), 3) for _ in range(2))
    first, second = episode(envs, 3), episode(envs, None)
    assert not np.array_equal(first, second)
    other.seed(9)
    other.reset()
    assert np.array_equal(episode(other, 3), first) and np.array_equal(episode(other, None), second)
    assert not np.array_equal(episode(other, 4), first)


def test_what_was_handed_out_is_the_callers() -> None:
    envs, other = (ModelVecEnv(linear(), starts(), 2) for _ in range(2))
    for one in (envs, other):
        one.seed(0)
    kept = envs.reset()
    kept += 100
    other.reset()
    assert np.array_equal(envs.step(np.zeros((2, 1)))[0], other.step(np.zeros((2, 1)))[0])


def test_its_wrappers_and_evaluation_take_it() -> None:
    envs = VecMonitor(VecCheckNan(ModelVecEnv(linear(), starts(), 3), raise_exception=True))
    assert envs.num_envs == 3 and envs.render_mode is None and envs.unwrapped.env_is_wrapped(Monitor) == [False] * 3
    assert envs.get_attr("num_envs", [0, 2]) == [3, 3] and not envs.has_attr("nothing")
    normalised = VecNormalize(envs)
    agent = PPO("MlpPolicy", normalised, n_steps=8, batch_size=24, seed=0, device="cpu", policy_kwargs={"net_arch": [4]})
    agent.learn(24)
    returns, lengths = evaluate_policy(agent, envs, 6, return_episode_rewards=True)
    assert len(returns) == 6 and max(lengths) <= 12
    envs.close()


def test_ppo_learns() -> None:
    """In 2,000 steps PPO learns to keep the state near 0: its cost falls below two thirds."""

    def environments() -> VecMonitor:
        model = LinearModel()
        model.build(linear_task(ends=False, time_limit=25))
        envs = VecMonitor(ModelVecEnv(model, starts(200), 16))
        envs.seed(7)
        return envs

    agent = PPO(
        "MlpPolicy", environments(), n_steps=32, batch_size=128, learning_rate=3e-3, gamma=0.95, seed=0, device="cpu",
        policy_kwargs={"net_arch": [32]},
    )  # fmt: skip
    before = evaluate_policy(agent, environments(), 40)[0]
    agent.learn(2000)
    after = evaluate_policy(agent, environments(), 40)[0]
    assert before < 0 and after > before * 2 / 3


def test_refusals() -> None:
    envs = ModelVecEnv(linear(), starts(), 2)
    with pytest.raises(UnsupportedError, match=r"no attribute to be set, .* got 'rows'; give it to the constructor"):
        envs.set_attr("rows", None)
    with pytest.raises(UnsupportedError, match=r"no method of a single environment, .* got 'render'; make single ones"):
        envs.env_method("render")
    with pytest.raises(UnsupportedError, match="expected reset before anything else"):
        envs.step(np.zeros((2, 1)))
    with pytest.raises(UnsupportedError, match="expected step_async before step_wait"):
        envs.step_wait()
    envs.set_options({"reset_mask": np.array([True, False])})
    with pytest.raises(ConfigError, match=r"no options of a reset, got \['reset_mask'\]; leave set_options out"):
        envs.reset()
    envs.reset()
    with pytest.raises(ShapeError, match="2 x 1"):
        envs.step(np.zeros((3, 1)))
    with pytest.raises(DataError, match="expected actions between"):
        envs.step(np.full((2, 1), 3.0))
    with pytest.raises(ConfigError, match="a whole number of at least 1"):
        ModelVecEnv(linear(), starts(), 0)
    with pytest.raises(NotBuiltError):
        ModelVecEnv(LinearModel(), starts(), 2)


def test_without_stable_baselines_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.vec_env", None)
    spec = importlib.util.spec_from_file_location("without", module.__file__)
    assert spec is not None and spec.loader is not None
    with pytest.raises(ConfigError, match=r"expected Stable-Baselines3, .* pip install stable-baselines3"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
