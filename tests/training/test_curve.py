from __future__ import annotations

from pathlib import Path
from typing import Any

from mbrl.training.products.curve import draw_curve


def test_draws_returns_and_losses(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"env_steps": 10, "train/return": 1.0, "model/loss": 3.0},
        {"env_steps": 20, "eval/return": 2.0, "eval/return_low": 1.5, "eval/return_high": 2.5, "model/loss": None},
    ]
    assert draw_curve(lines, tmp_path / "curve.png", "a run")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


def test_one_episode_has_no_interval(tmp_path: Path) -> None:
    assert draw_curve([{"env_steps": 20, "eval/return": 2.0}], tmp_path / "curve.png", "a run")


def test_nothing_to_draw(tmp_path: Path) -> None:
    assert not draw_curve([{"env_steps": 10, "time/wall_s": 1.0}], tmp_path / "curve.png", "a run")
    assert not (tmp_path / "curve.png").exists()
