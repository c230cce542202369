"""`mbrl check`: an environment and its task functions, or a dataset, before any training."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mbrl.arguments import Seed, check_argument
from mbrl.data.trajectory_weights import episode_returns
from mbrl.envs import OfflineData, check_environment
from mbrl.errors import ConfigError
from mbrl.training.output import tell
from mbrl.training.products.returns_histogram import check_figure, draw_returns


def run(given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Checks what the options name and prints what was found, a sentence a line."""
    if given.seed is not None:
        check_argument("--seed", given.seed, Seed)
    _refuse_idle(given)
    figure: Path | None = None
    kwargs = None if given.env_kwargs is None else json_object("--env_kwargs", given.env_kwargs)
    if given.dataset is not None:
        data = OfflineData(
            given.dataset,
            env_id=given.env_id,
            env_kwargs=kwargs,
            action_repeat=given.action_repeat,
            action_low=given.action_low,
            action_high=given.action_high,
            clip_actions=given.clip_actions,
            reward=given.reward,
            terminated=given.terminated,
            done=given.done,
        )
        data.trusted = allow
        if given.figure is not None:
            figure = Path(given.figure)
            check_figure(figure)
        lines = data.describe()
    elif given.env_id is not None:
        lines = check_environment(
            given.env_id,
            kwargs,
            reward=given.reward,
            terminated=given.terminated,
            action_repeat=1 if given.action_repeat is None else given.action_repeat,
            steps=1000 if given.steps is None else given.steps,
            seed=0 if given.seed is None else given.seed,
        )
    else:
        raise ConfigError("mbrl check: expected an environment's id or --dataset, got neither; give one.")
    tell("\n".join(lines))  # before the figure, which a full disk may refuse
    if figure is not None:
        draw_returns(episode_returns(data.transitions), figure, given.dataset, data.references)
        tell(f"figure   {figure}")
    return 0


def _refuse_idle(given: argparse.Namespace) -> None:
    """Refuses options of an environment's steps beside a dataset, and a dataset's beside an environment alone."""
    names = ("action_low", "action_high", "clip_actions", "done", "figure") if given.dataset is None else ("steps", "seed")
    told = [f"--{name}" for name in names if (value := getattr(given, name)) is not None and value is not False]
    if told and (given.env_id is not None or given.dataset is not None):
        looks = "asks a dataset (--dataset)" if given.dataset is None else "takes steps in an environment, alone"
        raise ConfigError(
            f"mbrl check: expected {' and '.join(told)} where the check {looks}, got {given.dataset or given.env_id}; leave "
            f"{'it' if len(told) == 1 else 'them'} out."
        )


def json_object(option: str, text: str) -> dict[str, Any]:
    """The dict that a JSON text holds.

    Args:
        option: that it was given to.
        text: such as `{"g": 9.81}`.

    Raises:
        ConfigError: if it holds none.
    """
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f'{option}: expected a JSON object such as {{"a": 1.5}}, got {text}; quote it for the shell.')
    return found
