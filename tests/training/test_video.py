from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from PIL import Image

import mbrl.training.products.video as video
from mbrl.envs import make_task
from mbrl.errors import UnsupportedError
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
    real = video.make_env
    monkeypatch.setattr(video, "make_env", lambda task, render_mode: Drawn(real(task)))
    total = video.record_episode(planner, planner.built_task, 0, tmp_path / "a.gif")
    assert total < 0
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames > 10
    assert video.record_episode(planner, planner.built_task, 0, tmp_path / "b.gif") == total


def test_an_environment_that_can_not_be_drawn_says_what_to_do(
    planner: ToyPlanner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(task: object, render_mode: str) -> None:
        raise RuntimeError("no display")

    monkeypatch.setattr(video, "make_env", fail)
    with pytest.raises(UnsupportedError, match=r"drawing Pendulum-v1 failed \(RuntimeError: no display\); .*MUJOCO_GL"):
        video.record_episode(planner, planner.built_task, 0, tmp_path / "a.gif")
