"""One episode of a planner as an animated GIF, which needs no video library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from mbrl.data import Task, derived_seed, make_generator
from mbrl.envs import make_env, snapshot_of
from mbrl.errors import UnsupportedError
from mbrl.planners import Planner
from mbrl.replacing import replacing

_FRAMES_PER_SECOND = 25  # at most: what GIF viewers keep up with
_MAX_FRAMES = 500


@torch.no_grad()
def record_episode(planner: Planner, task: Task, seed: int, path: Path) -> float:
    """Writes one deterministic episode to `path` (a GIF) and returns its return.

    Args:
        planner: built and trained.
        task: whose environment is drawn.
        seed: of the episode's start and of what planning draws.
        path: the file.

    Raises:
        UnsupportedError: if the environment can't be drawn on this machine.
    """
    from PIL import Image  # comes with matplotlib; slow to import

    with _drawing(task):
        env = make_env(task, render_mode="rgb_array")
        obs, _ = env.reset(seed=derived_seed(seed, "video") % 2**31)
        frames = [env.render()]
    rate = float(env.metadata.get("render_fps", _FRAMES_PER_SECOND))
    every = max(1, round(rate / _FRAMES_PER_SECOND))
    memory = planner.memory(1, make_generator(planner.device, seed, "video"))
    total, ended, step = 0.0, False, 0
    while not ended:
        tensor = torch.as_tensor(obs, dtype=torch.float32, device=planner.device)[None]  # 1 x S
        action, memory = planner.act(tensor, memory, explore=False, snapshot=snapshot_of([env]))
        command = task.to_env_action(action.cpu())[0].numpy()
        with _drawing(task):
            obs, reward, terminated, truncated, _ = env.step(command)
            picture = env.render() if (step + 1) % every == 0 and len(frames) < _MAX_FRAMES else None
        total += float(reward)
        ended = terminated or truncated
        step += 1
        if picture is not None:
            frames.append(picture)
    env.close()
    with _drawing(task):
        images = [Image.fromarray(np.asarray(frame)) for frame in frames]
    with replacing(path) as file:
        images[0].save(
            file, format="GIF", save_all=True, append_images=images[1:], duration=round(1000 * every / rate), loop=0
        )
    return total


@contextmanager
def _drawing(task: Task) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # OpenGL, pygame and simulators fail each in its own way
        raise UnsupportedError(
            f"expected pictures, but drawing {task.env_id} failed ({type(error).__name__}: {error}); without a screen set "
            "MUJOCO_GL=egl or osmesa for MuJoCo, install gymnasium[classic-control] for the classic tasks, or do without."
        ) from error
