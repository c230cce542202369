"""`mbrl play`: a trained planner in its environment, in a window or as a film."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mbrl.arguments import Seed, check_argument, check_whole
from mbrl.data import Task
from mbrl.errors import ConfigError, EnvironmentFailedError, UnsupportedError
from mbrl.planners import Planner
from mbrl.training.load import load_policy
from mbrl.training.output import plain_warnings, tell
from mbrl.training.products.films import check_films, film, film_names
from mbrl.training.products.shown_episodes import drawing, drawn_env, shown_episode

_ENDLESS = 1000  # steps of an episode that nothing else ends, as evaluations take by default


def run(given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Plays the episodes that the options ask for, and prints what each earned."""
    check_whole("--episodes", given.episodes)
    check_argument("--seed", given.seed, Seed)
    if given.max_steps is not None:
        check_whole("--max_steps", given.max_steps)
    with plain_warnings():
        planner = load_policy(given.ckpt_path, allow)
        if given.video is None:
            _check_screen()
        else:
            for path in film_names(given.video, given.episodes):
                _check_new(path)
        task = planner.built_task
        task = replace(task, time_limit=given.max_steps or task.time_limit or _ENDLESS)
        seeds = [(given.seed + number) % 2**31 for number in range(given.episodes)]
        if given.video is None:
            _window(planner, task, seeds)
        else:
            _films(planner, task, seeds, film_names(given.video, given.episodes))
    return 0


def _films(planner: Planner, task: Task, seeds: Sequence[int], paths: Sequence[Path]) -> None:
    check_films(task)
    for number, (seed, path) in enumerate(zip(seeds, paths, strict=True)):
        shown = film(planner, task, seed, path)
        tell(f"episode {number}: return {shown.total:.6g} in {shown.length} steps, {path}")


def _window(planner: Planner, task: Task, seeds: Sequence[int]) -> None:
    env = drawn_env(task, "human")
    try:
        with drawing(task):
            try:
                env.reset(seed=seeds[0])  # draws
            except EnvironmentFailedError as error:
                raise UnsupportedError(str(error)) from error
        for number, seed in enumerate(seeds):
            shown = shown_episode(planner, task, env, seed)
            tell(f"episode {number}: return {shown.total:.6g} in {shown.length} steps")
            sys.stdout.flush()
    finally:
        env.close()


def _check_screen() -> None:
    """Refuses a window where there is no display, upon which some simulators end the process."""
    if sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")):
        return
    raise ConfigError(
        "mbrl play: expected a display to open a window on, got none (DISPLAY and WAYLAND_DISPLAY are unset); write a film "
        "with --video film.mp4, for MuJoCo with MUJOCO_GL=egl or MUJOCO_GL=osmesa set."
    )


def _check_new(path: Path) -> None:
    if path.suffix != ".mp4":
        raise ConfigError(f"mbrl play: expected a name that ends in .mp4, got --video {path}; name another.")
    if os.path.lexists(path):
        raise ConfigError(f"mbrl play: expected a new file, but {path} exists; remove it, or name another with --video.")
    if not path.parent.is_dir():
        raise ConfigError(f"mbrl play: expected a folder {path.parent} to write {path.name} into, got none; make it.")
