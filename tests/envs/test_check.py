"""The report of `mbrl check` on an environment."""

from __future__ import annotations

from collections.abc import Iterator

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from mbrl.envs import check_environment, make_task
from mbrl.envs.check import replays
from mbrl.errors import TaskError


class Drifting(gymnasium.Env):
    """Remembers how often it was reset, and lets that into its physics, as a careless environment does."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    resets = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets += 1
        self.x = self.np_random.normal(size=1)
        return self.x.copy(), {}

    def step(self, action):
        self.x = self.x + 1e-9 * self.resets
        return self.x.copy(), 0.0, False, False, {}


@pytest.fixture
def drifting() -> Iterator[str]:
    gymnasium.register("Drifting-v0", entry_point=Drifting, max_episode_steps=30)
    yield "Drifting-v0"
    gymnasium.registry.pop("Drifting-v0")


def test_the_report_of_a_known_task() -> None:
    report = "\n".join(check_environment("InvertedPendulum-v5", steps=300))
    assert "InvertedPendulum-v5: 4 observations, 1 actions within [-3, 3], a time limit of 1000 steps." in report
    assert "Reward: mbrl.envs.rewards.inverted_pendulum." in report
    assert "mbrl.envs.rewards.inverted_pendulum agrees on 300 steps; the largest difference is 0.0e+00." in report
    assert "mbrl.envs.terminations.inverted_pendulum agrees on 300 steps, " in report
    assert "a run resumes exactly" in report
    assert "Random actions return " in report
    assert report == "\n".join(check_environment("InvertedPendulum-v5", steps=300))


def test_the_report_of_an_unknown_one(drifting: str) -> None:
    report = "\n".join(check_environment(drifting, steps=20))
    assert "Reward: learned by the model." in report
    assert "Termination: learned by the model." in report
    assert 'can\'t resume exactly, so set resume="next_episode"' in report
    assert "Random actions finished no episode in 20 steps." in report


@pytest.mark.parametrize("env_id", ["Hopper-v5", "Pendulum-v1", "Pusher-v5", "dm_control/walker-walk-v0"])
def test_used_environments_replay(env_id: str) -> None:
    if env_id.startswith("dm_control"):
        pytest.importorskip("shimmy")
    assert replays(make_task(env_id))


def test_one_that_keeps_something_across_resets_does_not(drifting: str) -> None:
    assert not replays(make_task(drifting))


def test_a_disagreement_is_raised() -> None:
    with pytest.raises(TaskError, match="never to agree with the environment"):
        check_environment("InvertedPendulum-v5", terminated="mbrl.envs.terminations.never", steps=200)
