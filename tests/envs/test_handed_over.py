"""A user's vector environment: right transitions in each autoreset mode."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from mbrl.data import Task
from mbrl.envs import HandedOverExperience, make_task
from mbrl.errors import CheckpointError, DataError, EnvironmentFailedError, ShapeError, TaskError

LENGTHS = (3, 5)
MODES = list(AutoresetMode)


class Counter(gymnasium.Env):
    """Shows 100 x episode + steps in it; ends after `length` steps, every second time by truncation."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-2, 2, (1,), np.float32)

    def __init__(self, length: int = 3) -> None:
        self.length = length
        self.episode = -1
        self.seeds: list[int | None] = []
        self.actions: list[float] = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.episode, self.count = self.episode + 1, 0
        return np.array([100.0 * self.episode]), {}

    def step(self, action):
        self.count += 1
        self.actions.append(float(action[0]))
        end = self.count == self.length
        odd = self.episode % 2 == 1
        return np.array([100.0 * self.episode + self.count]), float(self.count), end and not odd, end and odd, {}


@pytest.fixture
def task() -> Iterator[Task]:
    gymnasium.register("Counter-v0", entry_point=Counter)
    yield make_task("Counter-v0")
    gymnasium.registry.pop("Counter-v0")


def vector(mode: AutoresetMode) -> SyncVectorEnv:
    return SyncVectorEnv([lambda length=length: Counter(length) for length in LENGTHS], autoreset_mode=mode)


def real_steps(experience: HandedOverExperience, ticks: int) -> dict[int, list[tuple[float, float, float, bool, bool, int]]]:
    out: dict[int, list[tuple[float, float, float, bool, bool, int]]] = {0: [], 1: []}
    for _ in range(ticks):
        rows = experience.step(torch.full((2, 1), 0.5))
        ended = torch.ones(2, dtype=torch.bool)  # also where the step only reset: what a planner did there is in vain
        ended[rows.extras["env"]] = rows.terminated | rows.truncated
        assert torch.equal(experience.ended, ended)
        columns = (rows.obs[:, 0], rows.next_obs[:, 0], rows.reward, rows.terminated, rows.truncated, rows.extras["episode"])
        for env, row in zip(
            rows.extras["env"].tolist(), zip(*(column.tolist() for column in columns), strict=True), strict=True
        ):
            out[env].append(row)
    return out


@pytest.mark.parametrize("mode", MODES)
def test_only_real_steps_come_out_and_lead_where_they_led(mode: AutoresetMode, task: Task) -> None:
    experience = HandedOverExperience(task, vector(mode))
    steps = real_steps(experience, 24)
    for env, length in enumerate(LENGTHS):
        per_episode = length + 1 if mode is AutoresetMode.NEXT_STEP else length  # ticks
        assert len(steps[env]) == 24 - (24 // per_episode if mode is AutoresetMode.NEXT_STEP else 0)
        for number, (obs, next_obs, reward, terminated, truncated, _) in enumerate(steps[env]):
            episode, count = divmod(number, length)
            assert obs == 100 * episode + count
            assert next_obs == 100 * episode + count + 1  # never the next episode's first observation
            assert reward == count + 1
            end = count + 1 == length
            assert (terminated, truncated) == (end and episode % 2 == 0, end and episode % 2 == 1)
        numbers = [row[5] for row in steps[env]]
        assert all((a == b) == (i % length != length - 1) for i, (a, b) in enumerate(pairwise(numbers)))
    assert not {row[5] for row in steps[0]} & {row[5] for row in steps[1]}
    ends = [row for env in steps.values() for row in env if row[3] or row[4]]
    finished = experience.finished()
    assert len(finished) == len(ends)
    assert set(finished) == {(6.0, 3), (15.0, 5)}
    experience.close()


@pytest.mark.parametrize("mode", MODES)
def test_actions_are_converted(mode: AutoresetMode, task: Task) -> None:
    vector_env = vector(mode)
    experience = HandedOverExperience(task, vector_env)
    real_steps(experience, 4)
    assert set(vector_env.envs[0].actions) == {1.0}  # 0.5 of ±2
    with pytest.raises(ShapeError, match=r"HandedOverExperience.step\(action\): expected shape 2 x 1, got 2 x 2"):
        experience.step(torch.zeros(2, 2))
    experience.close()


@pytest.mark.parametrize("mode", MODES)
def test_what_no_buffer_can_hold_is_refused(mode: AutoresetMode, task: Task) -> None:
    vector_env = vector(mode)
    experience = HandedOverExperience(task, vector_env)
    for wrong in (1.5, torch.nan):
        with pytest.raises(DataError, match=r"expected actions in \[−1, 1\], got"):
            experience.step(torch.full((2, 1), wrong))
    experience.step(torch.zeros(2, 1))
    vector_env.envs[1].episode = torch.nan
    with pytest.raises(DataError, match=r"Counter-v0: expected finite .* got \[nan\] and 2.0 at step 2 of an episode"):
        experience.step(torch.zeros(2, 1))
    experience.close()


def test_where_we_reset_each_reset_has_a_seed_of_its_own(task: Task) -> None:
    vector_env = vector(AutoresetMode.DISABLED)
    experience = HandedOverExperience(task, vector_env, seed=3)
    real_steps(experience, 15)
    seeds = [seed for env in vector_env.envs for seed in env.seeds]
    assert None not in seeds
    assert len(set(seeds)) == len(seeds) == 6 + 4
    experience.close()


@pytest.mark.parametrize("mode", MODES)
def test_there_is_no_exact_resume_but_one_at_the_next_episode(mode: AutoresetMode, task: Task) -> None:
    experience = HandedOverExperience(task, vector(mode))
    with pytest.raises(CheckpointError, match="expected resume='next_episode' for envs handed over, got 'exact'"):
        experience.state_dict()
    experience.resume = "next_episode"
    real_steps(experience, 4)
    state = experience.state_dict()
    resumed = HandedOverExperience(task, vector(mode), resume="next_episode")
    resumed.load_state_dict(state)
    rows = resumed.step(torch.zeros(2, 1))
    assert rows.extras["episode"].tolist() == [state["episodes"], state["episodes"] + 1]
    assert rows.next_obs[:, 0].remainder(100).tolist() == [1, 1]
    resumed.resume = "exact"
    with pytest.raises(CheckpointError, match="handed over"):
        resumed.load_state_dict(state)
    experience.close()
    resumed.close()


def test_another_tasks_environments_are_refused(task: Task) -> None:
    other = gymnasium.make_vec("Pendulum-v1", 2, vectorization_mode="sync")
    with pytest.raises(TaskError, match=r"expected a vector environment of Counter-v0 .* got observations Box"):
        HandedOverExperience(task, other)
    other.close()
    silent = vector(AutoresetMode.DISABLED)
    silent.metadata = {}
    with pytest.raises(TaskError, match=r"expected an AutoresetMode in .*metadata\['autoreset_mode'\], got None"):
        HandedOverExperience(task, silent)
    silent.close()


# what it answers -----------------------------------------------------------------------------------------------------


class Odd(gymnasium.vector.SyncVectorEnv):
    """Two pendulums whose answers `change` alters."""

    def __init__(self, change: Any) -> None:
        super().__init__([lambda: gymnasium.make("Pendulum-v1")] * 2, autoreset_mode=AutoresetMode.NEXT_STEP)
        self.change = change

    def step(self, actions: Any) -> Any:
        return self.change(*super().step(actions))


def nothing(*answer: Any) -> Any:
    raise OSError("the cable came off")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda o, r, d, t, i: (o, r, d, i), r"Pendulum-v1: expected 5 values from the vector environment's step, got 4"),
        (lambda o, r, d, t, i: (o[:1], r, d, t, i), r"expected observations of shape \(2, 3\) .*, got \(1, 3\)"),
        (lambda o, r, d, t, i: (o, r[:, None], d, t, i), r"expected rewards of shape \(2,\) .*, got \(2, 1\)"),
        (lambda o, r, d, t, i: (o, r, False, t, i), r"expected terminated of shape \(2,\) .*, got \(\)"),
        (
            lambda o, r, d, t, i: (o * 1e39, r, d, t, i),
            r"expected finite observations and rewards, .* at step 1 of an",
        ),
        (nothing, r"expected the vector environment's step to answer, got OSError: the cable came off"),
    ],
)
def test_what_a_vector_environment_cannot_mean_is_refused(change: Any, sentence: str) -> None:
    experience = HandedOverExperience(make_task("Pendulum-v1"), Odd(change), resume="next_episode")
    with np.errstate(over="ignore"), pytest.raises(EnvironmentFailedError, match=sentence):
        experience.step(torch.zeros(2, 1))
    experience.close()


def test_running_statistics_around_or_in_a_vector_environment_are_refused() -> None:
    task = make_task("Pendulum-v1")
    around = gymnasium.wrappers.vector.NormalizeObservation(Odd(lambda *answer: answer))
    inside = gymnasium.vector.SyncVectorEnv(
        [lambda: gymnasium.wrappers.NormalizeReward(gymnasium.make("Pendulum-v1"))],
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    for vector_env in (around, inside):
        with pytest.raises(TaskError, match="scales nothing by running statistics, got Normalize"):
            HandedOverExperience(task, vector_env)
        vector_env.close()
