"""The report of `mbrl check` on an environment."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from mbrl.envs import OfflineData, check_environment, collect, make_task
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
    assert "InvertedPendulum-v5: 4 observations, 1 action within [-3, 3], a time limit of 1,000 steps." in report
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


def test_a_known_termination_that_met_no_end_is_to_be_minded(tmp_path: Path) -> None:
    def told(lines: list[str]) -> list[str]:
        return [line for line in lines if "was compared with no end" in line]

    (said,) = told(check_environment("InvertedPendulum-v5", steps=3))
    assert said.startswith("Mind: mbrl.envs.terminations.inverted_pendulum was compared with no end, since none of the 3 ")
    assert said.endswith("so that whether it finds ends is unknown; raise steps until some end, or act so that they do.")
    assert not told(check_environment("InvertedPendulum-v5", steps=300)), "ends were seen"
    assert not told(check_environment("Pendulum-v1", steps=3)), "who claims no end need not see one"
    path = collect(make_task("InvertedPendulum-v5"), str(tmp_path / "ends.npz"), steps=30)
    for rows, times in ((2, 1), (30, 0)):
        assert len(told(OfflineData(str(path), rows=rows).describe())) == times


class Odd(Drifting):
    """Draws its starts elsewhere, shows a clock, and says things in forms that only we take."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def reset(self, *, seed=None, options=None):
        self.x, self.time = np.random.default_rng().normal(size=1), 1.7e9
        return np.array([self.x[0], self.time]), {}

    def step(self, action):
        self.time += 0.05
        return np.array([self.x[0], self.time]).tolist(), np.array([0.5]), False, False, {}


@pytest.fixture
def odd() -> Iterator[str]:
    gymnasium.register("Odd-v0", entry_point=Odd)
    yield "Odd-v0"
    gymnasium.registry.pop("Odd-v0")


def test_what_is_odd_is_told_in_sentences(odd: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lines = check_environment(odd, steps=200)
    report = "\n".join(lines)
    first = next(i for i, line in enumerate(lines) if line.startswith("Gymnasium's checker: "))
    assert first < next(
        i for i, line in enumerate(lines) if line.startswith("Two resets with the same seed begin differently")
    )
    assert "\x1b" not in report and "WARN" not in report
    assert "There is no time limit and no end within 200 steps" in report
    assert "column 1 near 1.7e+09, where its numbers lie 128 apart, changing by 0.05 in a step" in report


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "InvertedPendulum-v5", "MountainCarContinuous-v0"])
def test_gymnasium_has_nothing_to_say_of_its_own(env_id: str) -> None:
    report = "\n".join(check_environment(env_id, steps=20))
    assert "Gymnasium's checker" not in report
    assert "no time limit" not in report
    assert "begin differently" not in report


def test_a_reset_that_fails_float32_is_refused_by_the_check(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reset = Odd.reset
    monkeypatch.setattr(Odd, "reset", lambda self, **given: (reset(self, **given)[0] * np.nan, {}))
    with pytest.raises(TaskError, match="expected finite observations"):
        check_environment(odd, steps=20)
