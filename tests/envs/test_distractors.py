"""`Distracted-v0`: the base untouched, and numbers beside it that nothing moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from mbrl.data import make_generator
from mbrl.envs import make_task
from mbrl.envs.task import make_env
from mbrl.errors import TaskError

ID = "mbrl.envs.distractors:Distracted-v0"


def played(env: Any, seed: int, sign: float = 1.0, steps: int = 60) -> list[tuple[Any, ...]]:
    actions = np.random.default_rng(1)
    found: list[tuple[Any, ...]] = [(env.reset(seed=seed)[0], 0.0, False, False)]
    for _ in range(steps):
        low, high = env.action_space.low, env.action_space.high
        action = (low + high) / 2 + sign * actions.uniform(-1, 1, low.shape) * (high - low) / 2
        found.append(env.step(action.astype(np.float32))[:4])
        if any(found[-1][2:]):
            break
    env.close()
    return found


@pytest.mark.check("vagram-K17")
@pytest.mark.parametrize("dynamics", ["paper", "released"])
@pytest.mark.parametrize("base", ["Pendulum-v1", "Hopper-v5"])
def test_the_base_is_untouched_and_nothing_moves_the_distractors(base: str, dynamics: str) -> None:
    make = lambda: gymnasium.make(ID, base_id=base, dims=7, dynamics=dynamics)  # noqa: E731
    mixed, plain = played(make(), 3), played(gymnasium.make(base), 3)
    size = len(plain[0][0])
    assert len(mixed) == len(plain)
    for (obs, *rest), (wanted, *wanted_rest) in zip(mixed, plain, strict=True):
        assert np.array_equal(obs[:size], wanted)
        assert rest == wanted_rest
    other = played(make(), 3, sign=-1.0)
    assert any(not np.array_equal(a[0][:size], b[0][:size]) for a, b in zip(mixed, other, strict=False))
    for a, b in zip(mixed, other, strict=False):
        assert np.array_equal(a[0][size:], b[0][size:])


@pytest.mark.check("vagram-K17")
@pytest.mark.parametrize("dims", [1, 10, 20])
def test_the_papers_stay_within_twenty_and_come_home(dims: int) -> None:
    env = gymnasium.make(ID, base_id="Pendulum-v1", dims=dims, distractor_seed=2, max_episode_steps=3000)
    home = env.reset(seed=0)[0][3:]
    lengths, homes = [], 0
    for _ in range(199):
        obs = env.step(np.zeros(1, np.float32))[0]
        lengths.append(float(np.linalg.norm(obs[3:])))
        homes += int(np.array_equal(obs[3:], home))
    assert max(lengths) < 20
    if dims > 1:
        assert homes > 0
    assert np.array_equal(env.reset(seed=1)[0][3:], home)  # whatever the seed of the reset
    env.close()


def test_the_released_begin_anew_and_their_constants_belong_to_their_own_seed() -> None:
    make = lambda seed: gymnasium.make(ID, base_id="Pendulum-v1", dims=4, dynamics="released", distractor_seed=seed)  # noqa: E731
    first, second, other = (played(make(seed), 5, steps=3) for seed in (0, 0, 1))
    assert np.array_equal(first[3][0], second[3][0])
    assert np.array_equal(first[0][0], other[0][0])  # where an episode begins is of the reset's seed
    assert not np.array_equal(first[1][0], other[1][0])
    env = make(0)
    assert not np.array_equal(env.reset(seed=0)[0][3:], env.reset(seed=1)[0][3:])
    env.close()


@pytest.mark.parametrize("base", ["Pendulum-v1", "Hopper-v5"])
def test_known_functions_are_the_bases_on_its_part_of_the_observation(base: str) -> None:
    task, plain = make_task(ID, {"base_id": base, "dims": 5}), make_task(base)
    assert (task.known_reward, task.known_terminated) == (plain.known_reward, plain.known_terminated)
    assert task.time_limit == plain.time_limit
    assert task.obs_size == plain.obs_size + 5
    generator = make_generator("cpu", 1)
    obs, next_obs = torch.randn(2, 50, plain.obs_size, generator=generator) * 0.2 + 1.0
    action = torch.rand(50, plain.action_size, generator=generator) * 2 - 1
    for wild in (0.0, 1e6):  # Hopper looks at every number of its own observation
        extra = torch.full((50, 5), wild)
        both = torch.cat((obs, extra), -1), action, torch.cat((next_obs, extra), -1)
        ends = plain.terminated(obs, action, next_obs)
        assert ends is not None and torch.equal(task.terminated(*both), ends)  # type: ignore[arg-type]
        if plain.known_reward:
            assert torch.equal(task.reward(*both), plain.reward(obs, action, next_obs))  # type: ignore[arg-type]
    again = type(task).from_plain(task.to_plain())
    assert again == task
    assert torch.equal(again.terminated(*both), task.terminated(*both))  # type: ignore[arg-type]


def length(obs: torch.Tensor, action: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
    return torch.full(obs.shape[:-1], float(obs.shape[-1] + next_obs.shape[-1]))


def test_a_named_function_gets_the_bases_part_and_arguments_of_the_base_make_none_known() -> None:
    task = make_task(ID, {"base_id": "Pendulum-v1"}, reward=length)
    assert float(task.reward(torch.zeros(13), torch.zeros(1), torch.zeros(13))) == 6.0  # type: ignore[arg-type]
    changed = make_task(ID, {"base_id": "Pendulum-v1", "base_kwargs": {"g": 1.0}})
    assert changed.known_reward is None


def test_an_evaluation_meets_the_same_distractors_and_a_limit_may_be_shorter() -> None:
    task = make_task(ID, {"base_id": "Pendulum-v1", "dims": 5})
    one, two = make_env(task), make_env(task)
    assert np.array_equal(one.reset(seed=0)[0], two.reset(seed=0)[0])
    one.close()
    two.close()
    short = make_env(replace(task, time_limit=7))
    assert len(played(short, 0)) == 8


@pytest.mark.parametrize(
    "kwargs", [{"base_id": "Nothing-v9"}, {"base_id": "CartPole-v1"}, {"base_id": "Pendulum-v1", "dims": 0}, {}]
)
def test_wrong_arguments_are_refused_by_a_sentence(kwargs: dict[str, Any]) -> None:
    with pytest.raises(TaskError):
        make_task(ID, kwargs)
