"""Episodes of a planner to look at: deterministic, one at a time, in an environment that draws itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import gymnasium
import torch

from mbrl.data import Task, make_generator
from mbrl.envs import make_env, snapshot_of
from mbrl.errors import EnvironmentFailedError, UnsupportedError
from mbrl.planners import Planner
from mbrl.planners.evaluation import EvaluationStopped, evaluating
from mbrl.planners.metrics import MetricSums

Env = gymnasium.Env[Any, Any]


class ShownEpisode(NamedTuple):
    """One episode: its return, undiscounted and in environment units, and its real steps."""

    total: float
    length: int


def drawn_env(task: Task, render_mode: str) -> Env:
    """Makes an environment that draws itself.

    Args:
        task: the environment's task.
        render_mode: `rgb_array` for pictures, or `human` for a window.

    Raises:
        TaskError: if the environment can't be made at all.
        UnsupportedError: if it has no such render mode, or can't draw on this machine.
    """
    plain = make_env(task)
    modes = list(plain.metadata.get("render_modes") or ())
    plain.close()
    if render_mode not in modes and "rgb_array" not in modes:
        raise UnsupportedError(
            f"expected an environment that draws itself, got {task.env_id}, whose render_modes are {modes}; give its class "
            'a render and metadata = {"render_modes": ["rgb_array"]}, or do without.'
        )
    with drawing(task):
        if render_mode in modes:
            return make_env(task, render_mode=render_mode)
        return gymnasium.wrappers.HumanRendering(make_env(task, render_mode="rgb_array"))


@contextmanager
def drawing(task: Task) -> Iterator[None]:
    """Draws, and says what may help where that fails.

    Raises:
        UnsupportedError: in place of whatever OpenGL, pygame and simulators raise, each in its own way.
    """
    try:
        yield
    except EnvironmentFailedError:
        raise
    except Exception as error:
        raise UnsupportedError(
            f"expected pictures, but drawing {task.env_id} failed ({type(error).__name__}: {error}); without a screen set "
            "MUJOCO_GL=egl or osmesa for MuJoCo, install gymnasium[classic-control] for the classic tasks, or do without."
        ) from error


@torch.no_grad()
def shown_episode(
    planner: Planner,
    task: Task,
    env: Env,
    reset_seed: int,
    generator: torch.Generator | None = None,
    *,
    look: Callable[[], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> ShownEpisode:
    """Plays one deterministic episode; nothing that training uses moves.

    Args:
        planner: built.
        task: that `env` was made of, with a time limit.
        env: the environment.
        reset_seed: of the episode's start, as `env.reset` takes it.
        generator: what planning draws from; by default one made of `reset_seed`.
        look: called after the reset and after each step, to keep a picture.
        stop: asked before each step whether to stop.

    Raises:
        EvaluationStopped: if `stop` says so.
        EnvironmentFailedError: if the environment raises, or answers what can't be used.
    """
    memory = planner.memory(1, generator or make_generator(planner.device, reset_seed, "shown"))
    before, planner.metrics = planner.metrics, MetricSums()  # what acting reports is no news of the training
    total, length, ended = 0.0, 0, False
    try:
        with evaluating(planner):
            obs, _ = env.reset(seed=reset_seed)
            if look is not None:
                look()
            while not ended:
                if stop is not None and stop():
                    raise EvaluationStopped
                rows = torch.as_tensor(obs, dtype=torch.float32, device=planner.device)[None]  # 1 x S
                action, memory = planner.act(rows, memory, explore=False, snapshot=snapshot_of([env]))
                obs, reward, terminated, truncated, _ = env.step(task.to_env_action(action.cpu())[0].numpy())
                total += float(reward)
                length += 1
                ended = bool(terminated or truncated)
                if look is not None:
                    look()
    finally:
        planner.metrics = before
    return ShownEpisode(total, length)
