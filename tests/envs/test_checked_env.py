"""Environments that don't answer as Gymnasium's API asks: converted where that is unambiguous, else refused."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl.envs import VectorExperience, check_environment, make_env, make_task
from mbrl.errors import DataError, EnvironmentFailedError, MbrlWarning, TaskError


class Drift(gymnasium.Env):
    """Two numbers that decay; `answers` maps what its methods would return to what they do."""

    def __init__(self, answers: dict[str, Callable[..., Any]] | None = None, dtype: Any = np.float32) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), dtype)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.answers = {"obs": lambda obs: obs, "reward": lambda reward: reward, "flag": lambda flag: flag}
        self.answers |= {"reset": lambda *answer: answer, "step": lambda *answer: answer, **(answers or {})}
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        self.x = self.np_random.uniform(-1, 1, 2)
        return self.answers["reset"](self.answers["obs"](self.x.astype(self.observation_space.dtype)), {})

    def step(self, action: np.ndarray) -> Any:
        self.steps += 1
        self.x = 0.9 * self.x + 0.1 * float(action[0])
        obs = self.answers["obs"](self.x.astype(self.observation_space.dtype))
        flag = self.answers["flag"](False)
        return self.answers["step"](obs, self.answers["reward"](-float(self.x @ self.x)), flag, flag, {})


@pytest.fixture
def register() -> Iterator[Callable[..., str]]:
    """Registers an environment for the test alone, as `Odd-v0`, with 20 steps an episode."""

    def registered(entry: Callable[..., gymnasium.Env], limit: int | None = 20) -> str:
        gymnasium.register("Odd-v0", entry_point=entry, max_episode_steps=limit)
        return "Odd-v0"

    yield registered
    gymnasium.registry.pop("Odd-v0", None)


def steps_of(env_id: str, steps: int = 5) -> list[torch.Tensor]:
    experience = VectorExperience(make_task(env_id), 1, seed=3)
    rows = [experience.step(torch.full((1, 1), 0.5)) for _ in range(steps)]
    experience.close()
    return [torch.cat([row.obs, row.next_obs, row.reward[:, None]], 1) for row in rows]


def one(array: np.ndarray) -> Any:
    return array[:1]


REFUSED = {
    "one number for two": ({"obs": one}, r"Odd-v0: expected reset .* shape \(2,\).*, got an array of shape \(1,\)"),
    "a column": ({"obs": lambda obs: obs[:, None]}, r"shape \(2,\).*, got an array of shape \(2, 1\)"),
    "a batch of one": ({"obs": lambda obs: obs[None]}, r"shape \(2,\).*, got an array of shape \(1, 2\)"),
    "ragged rows": ({"obs": lambda obs: [obs, [1.0]]}, r"shape \(2,\), .*got "),
    "words": ({"obs": lambda obs: ["left", "right"]}, r"shape \(2,\), .*got \['left', 'right'\]"),
    "nothing seen": ({"obs": lambda obs: None}, r"shape \(2,\), .*got None"),
    "complex numbers": ({"obs": lambda obs: obs * 1j}, r"shape \(2,\), .*got array\(.*j"),
    "the old reset": ({"reset": lambda obs, info: obs}, r"expected reset to return observation and info, got an array of"),
    "the old reset as a list": (
        {"reset": lambda obs, info: obs.tolist()},
        r"observation and info, got a list of shape \(2,\)",
    ),
    "nothing at reset": ({"reset": lambda *answer: None}, r"observation and info, got None; return obs, \{\}"),
    "four values": (
        {"step": lambda o, r, d, t, i: (o, r, d, i)},
        r"expected step to return .*truncated and info, got a tuple of 4",
    ),
    "nothing from step": ({"step": lambda *answer: None}, r"expected step to return .*, got None"),
    "no info": ({"step": lambda o, r, d, t, i: (o, r, d, t, 3)}, r"expected step to return a dict as info.*, got 3"),
    "a reward each": (
        {"reward": lambda reward: np.zeros(2)},
        r"expected step to return a number as reward, got an array of",
    ),
    "no reward": ({"reward": lambda reward: None}, r"a number as reward, got None"),
    "a reward in words": ({"reward": lambda reward: "good"}, r"a number as reward, got 'good'"),
    "no flag": ({"flag": lambda flag: None}, r"true or false as terminated, got None"),
    "a word for a flag": ({"flag": lambda flag: "no"}, r"true or false as terminated, got 'no'"),
    "a number for a flag": ({"flag": lambda flag: 0.5}, r"true or false as terminated, got 0\.5"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_ambiguous_is_refused_by_a_sentence(what: str, register: Callable[..., str]) -> None:
    answers, sentence = REFUSED[what]
    env_id = register(lambda: Drift(answers))
    with pytest.raises(EnvironmentFailedError, match=sentence):
        steps_of(env_id)
    with pytest.raises(TaskError, match=sentence):
        check_environment(env_id, steps=30)


CONVERTED = {
    "a list": {"obs": np.ndarray.tolist},
    "a tuple": {"obs": lambda obs: tuple(obs.tolist())},
    "a tensor": {"obs": lambda obs: torch.from_numpy(obs).requires_grad_()},
    "more digits": {"obs": lambda obs: obs.astype(np.float64)},
    "a reward of shape (1,)": {"reward": lambda reward: np.array([reward])},
    "a reward of no dim": {"reward": np.array},
    "a reward as a tensor": {"reward": lambda reward: torch.tensor([reward], dtype=torch.float64)},
    "a reward of NumPy's": {"reward": np.float64},
    "flags of NumPy's": {"flag": np.bool_},
    "flags as numbers": {"flag": int},
    "flags in arrays": {"flag": lambda flag: np.array([flag])},
    "answers in lists": {"reset": lambda *answer: list(answer), "step": lambda *answer: list(answer)},
    "None for no info": {"reset": lambda obs, info: (obs, None), "step": lambda o, r, d, t, i: (o, r, d, t, None)},
}


@pytest.mark.parametrize("what", CONVERTED)
def test_what_is_unambiguous_gives_the_same_rows(what: str, register: Callable[..., str]) -> None:
    env_id = register(Drift)
    plain = steps_of(env_id)
    gymnasium.registry.pop(env_id)
    register(lambda: Drift(CONVERTED[what]))
    assert all(torch.equal(a, b) for a, b in zip(plain, steps_of(env_id), strict=True))


def test_whole_numbers_are_rewards_and_observations(register: Callable[..., str]) -> None:
    env_id = register(lambda: Drift({"obs": lambda obs: np.array([1, 2]), "reward": lambda reward: np.int32(-3)}))
    assert steps_of(env_id)[0].tolist() == [[1.0, 2.0, 1.0, 2.0, -3.0]]


@pytest.mark.parametrize("change", ["returns one array", "writes into it later", "writes into the action"])
def test_an_array_that_the_environment_uses_again_is_copied(change: str, register: Callable[..., str]) -> None:
    plain = steps_of(register(Drift))
    gymnasium.registry.pop("Odd-v0")
    shared = np.zeros(2, np.float32)

    class Reusing(Drift):
        def step(self, action: np.ndarray) -> Any:
            shared[:] = 77.0
            answer = super().step(action)
            if change == "writes into the action":
                action[:] = 55.0
            return answer

    def show(obs: np.ndarray) -> np.ndarray:
        shared[:] = obs
        return obs if change == "writes into the action" else shared

    env_id = register(lambda: Reusing({"obs": show}))
    assert all(torch.equal(a, b) for a, b in zip(plain, steps_of(env_id), strict=True))
    env = make_env(make_task(env_id))
    first, _ = env.reset(seed=1)
    kept = first.copy()
    env.step(np.zeros(1, np.float32))
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
@pytest.mark.parametrize("where", ["reset", "step", "reward", "second reset"])
def test_what_float32_cannot_hold_is_refused_wherever_it_comes(
    value: float, where: str, register: Callable[..., str]
) -> None:
    resets = 0

    class Broken(Drift):
        def reset(self, **given: Any) -> Any:
            nonlocal resets
            resets += 1
            obs, info = super().reset(**given)
            bad = where == "reset" or (where == "second reset" and resets == 2)
            return (np.array([0.0, value]) if bad else obs), info

        def step(self, action: np.ndarray) -> Any:
            obs, reward, *rest = super().step(action)
            if self.steps == 4:
                obs = np.array([value, 0.0]) if where == "step" else obs
                reward = value if where == "reward" else reward
            return obs, reward, *rest

    env_id = register(lambda: Broken(dtype=np.float64), limit=5)
    step = {"reset": 0, "step": 4, "reward": 4, "second reset": 0}[where]
    held = ", which float32 can't hold" if value == 1e39 else ""
    with pytest.raises(
        DataError, match=rf"Odd-v0: expected finite observations and rewards, .* at step {step} of an episode{held};"
    ):
        steps_of(env_id, 6)


def test_an_environment_that_raises_is_named_and_the_error_chained(register: Callable[..., str]) -> None:
    def fail(*answer: Any) -> Any:
        raise ZeroDivisionError("the arm is stuck")

    with pytest.raises(
        EnvironmentFailedError, match=r"Odd-v0: expected step .*, got ZeroDivisionError: the arm is stuck;"
    ) as found:
        steps_of(register(lambda: Drift({"step": fail})))
    assert isinstance(found.value.__cause__, ZeroDivisionError)


def test_an_environment_that_exits_the_process_does_not(register: Callable[..., str]) -> None:
    with pytest.raises(EnvironmentFailedError, match=r"got SystemExit: 3;"):
        steps_of(register(lambda: Drift({"step": lambda *answer: sys.exit(3)})))


def test_a_reset_without_a_seed_is_told_what_to_define(register: Callable[..., str]) -> None:
    class NoSeed(Drift):
        def reset(self) -> Any:  # type: ignore[override]
            return super().reset()

    with pytest.raises(EnvironmentFailedError, match=r"define reset\(self, \*, seed=None, options=None\)"):
        steps_of(register(NoSeed))


def test_a_reset_without_options_is_fine(register: Callable[..., str]) -> None:
    class NoOptions(Drift):
        def reset(self, seed: int | None = None) -> Any:  # type: ignore[override]
            return super().reset(seed=seed)

    steps_of(register(NoOptions))


@pytest.mark.parametrize("bound", [1e38, float(np.finfo(np.float32).max), 1e20])
def test_bounds_that_are_infinite_in_all_but_name_are_refused(bound: float, register: Callable[..., str]) -> None:
    class Wide(Drift):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = spaces.Box(-1.0, bound, (1,), np.float32)

    with pytest.raises(
        TaskError, match=r"bounded one-dimensional box of floats, got one whose bounds are infinite in all but"
    ):
        make_task(register(Wide))


@pytest.mark.parametrize("wrapper", [gymnasium.wrappers.NormalizeObservation, gymnasium.wrappers.NormalizeReward])
def test_running_statistics_in_a_wrapper_are_refused_unless_they_stand(wrapper: Any, register: Callable[..., str]) -> None:
    with pytest.raises(
        TaskError, match=rf"Odd-v0: expected .* by running statistics, got {wrapper.__name__}, .*no checkpoint"
    ):
        make_task(register(lambda: gymnasium.wrappers.ClipAction(wrapper(Drift()))))
    gymnasium.registry.pop("Odd-v0")

    def frozen() -> gymnasium.Env:
        env = wrapper(Drift())
        env.update_running_mean = False
        return env

    steps_of(register(frozen))


def test_a_column_whose_changes_vanish_in_float32_is_warned_of_with_numbers(register: Callable[..., str]) -> None:
    class Clock(Drift):
        def step(self, action: np.ndarray) -> Any:
            answer = super().step(action)
            return np.array([answer[0][0], 1.7e9 + 0.05 * self.steps]), *answer[1:]

        def reset(self, **given: Any) -> Any:
            obs, info = super().reset(**given)
            return np.array([obs[0], 1.7e9]), info

    env_id = register(lambda: Clock(dtype=np.float64), limit=1000)
    with pytest.warns(MbrlWarning, match=r"column 1 near 1\.7e\+09, where its numbers lie 128 apart, changing by 0\.05 in"):
        steps_of(env_id, 100)


def test_a_column_that_rests_or_rounds_is_not_warned_of(register: Callable[..., str]) -> None:
    def show(obs: np.ndarray) -> np.ndarray:
        return np.array([1.0 + 1e-12 * obs[0], 5e8])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steps_of(register(lambda: Drift({"obs": show}, dtype=np.float64), limit=1000), 120)
