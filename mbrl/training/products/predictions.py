"""Predictions of a trained planner or model for a dataset's rows, as arrays in environment units."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mbrl.arguments import check_shape
from mbrl.data import Task, Transitions, make_generator
from mbrl.errors import DataError, UnsupportedError
from mbrl.models import DynamicsModel
from mbrl.planners import Planner
from mbrl.planners.evaluation import evaluating

_ROWS = 4096  # at once


@torch.no_grad()
def predict_rows(module: Any, rows: Transitions, task: Task, seed: int = 0) -> dict[str, np.ndarray]:
    """A planner's deterministic actions, or a model's predictions of all members, for `N` rows.

    Args:
        module: a built planner or dynamics model.
        rows: `N` transitions; a planner reads their observations, each as the start of an episode, a model also their
            actions.
        task: converts actions to environment units.
        seed: of what planning draws.

    Returns:
        `obs` `N x S` and `action` `N x A` in environment units; for a model the row's own action, and `mean` and `var`
        `E x N x S` of the next observation, and whatever else it predicts, `E x N` each.
    """
    advice = "give a dataset of the task that was trained on"
    check_shape("predict(obs)", rows.obs, ("B", module.built_task.obs_size), advice, DataError)
    check_shape("predict(action)", rows.action, ("B", module.built_task.action_size), advice, DataError)
    parts: list[dict[str, torch.Tensor]] = []
    for first in range(0, len(rows), _ROWS):
        chunk = rows.select(slice(first, first + _ROWS)).to(module.device)
        if isinstance(module, Planner):
            memory = module.memory(len(chunk), make_generator(module.device, seed, "predict", first))
            with evaluating(module):
                action, _ = module.act(chunk.obs, memory, explore=False)
            parts.append({"obs": chunk.obs, "action": task.to_env_action(action)})
        elif isinstance(module, DynamicsModel):
            parts.append({"obs": chunk.obs, "action": task.to_env_action(chunk.action), **module.predict_step(chunk)})
        else:
            raise UnsupportedError(f"predict: expected a planner or a dynamics model, got {type(module).__name__}.")
    axes = {name: 0 if name in ("obs", "action") else 1 for name in parts[0]}
    return {name: torch.cat([part[name] for part in parts], axis).cpu().numpy() for name, axis in axes.items()}


def in_short(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Predictions as a few numbers: how many rows, and of each array the mean and the standard deviation."""
    found = {"rows": float(len(arrays["obs"]))}
    for name, array in arrays.items():
        found |= {f"{name} mean": float(array.mean()), f"{name} std": float(array.std())}
    return found


def check_output(path: Path) -> None:
    """Refuses a file that exists or has another ending, before anything is computed.

    Raises:
        DataError: saying what to do.
    """
    if path.suffix != ".npz":
        raise DataError(f"predict: expected an output file that ends in .npz, got {path}; rename it.")
    if path.exists():
        raise DataError(f"predict: expected a new output file, but {path} exists; name another, or remove it.")
