from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from PIL import Image

import mbrl.training.products.shown_episodes as shown_episodes
from mbrl.envs import make_env, make_task
from mbrl.errors import UnsupportedError
from mbrl.training.products.video import record_episode
from tests.training.toy import ToyPlanner


class Drawn(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Pendulum with a picture of its height, since drawing the real one needs pygame."""

    def render(self) -> Any:
        height = self.unwrapped.state[0]  # type: ignore[attr-defined]
        return np.full((8, 8, 3), int(127 * (1 + np.cos(height))), dtype=np.uint8)


@pytest.fixture
def planner() -> ToyPlanner:
    planner = ToyPlanner()
    planner.build(make_task("Pendulum-v1"), 0)
    return planner


def test_an_episode_becomes_a_gif(planner: ToyPlanner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shown_episodes.make_env
    monkeypatch.setattr(shown_episodes, "make_env", lambda task, render_mode=None: Drawn(real(task)))
    total = record_episode(planner, planner.built_task, 0, tmp_path / "a.gif")
    assert total < 0
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames > 10
    assert record_episode(planner, planner.built_task, 0, tmp_path / "b.gif") == total


def test_an_environment_that_can_not_be_drawn_says_what_to_do(
    planner: ToyPlanner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(task: Any, render_mode: str | None = None) -> Any:
        if render_mode is not None:
            raise RuntimeError("no display")
        return make_env(task)

    monkeypatch.setattr(shown_episodes, "make_env", fail)
    with pytest.raises(UnsupportedError, match=r"drawing Pendulum-v1 failed \(RuntimeError: no display\); .*MUJOCO_GL"):
        record_episode(planner, planner.built_task, 0, tmp_path / "a.gif")
