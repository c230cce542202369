"""One episode of a planner as an animated GIF, which needs no video library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mbrl.data import Task, derived_seed, make_generator
from mbrl.planners import Planner
from mbrl.replacing import replacing
from mbrl.training.products.shown_episodes import drawing, drawn_env, shown_episode

_FRAMES_PER_SECOND = 25  # at most: what GIF viewers keep up with
_MAX_FRAMES = 500


def record_episode(planner: Planner, task: Task, seed: int, path: Path) -> float:
    """Writes one deterministic episode to `path` (a GIF) and returns its return.

    Args:
        planner: built and trained.
        task: whose environment is drawn.
        seed: of the episode's start and of what planning draws.
        path: the file.

    Raises:
        UnsupportedError: if the environment can't be drawn, at all or on this machine.
    """
    from PIL import Image  # comes with matplotlib; slow to import

    env = drawn_env(task, "rgb_array")
    rate = float(env.metadata.get("render_fps", _FRAMES_PER_SECOND))
    every = max(1, round(rate / _FRAMES_PER_SECOND))
    frames: list[Any] = []
    looks = 0

    def look() -> None:
        nonlocal looks
        if looks % every == 0 and len(frames) < _MAX_FRAMES:
            with drawing(task):
                frames.append(Image.fromarray(np.asarray(env.render())))
        looks += 1

    try:
        start = derived_seed(seed, "video") % 2**31
        shown = shown_episode(planner, task, env, start, make_generator(planner.device, seed, "video"), look=look)
    finally:
        env.close()
    with replacing(path) as file:
        frames[0].save(
            file, format="GIF", save_all=True, append_images=frames[1:], duration=round(1000 * every / rate), loop=0
        )
    return shown.total
