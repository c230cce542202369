"""`opening`: what a run is, said when it begins."""

from __future__ import annotations

import pytorch_lightning as pl

from mbrl.counted import counted
from mbrl.data import Task
from mbrl.models import DynamicsModel
from mbrl.models.capabilities import Exact
from mbrl.planners import LearnsPolicy, Planner, dynamics_of
from mbrl.training.callbacks.run import Run
from mbrl.training.precision import bf16_checks, bf16_in_short


def opening(run: Run, module: pl.LightningModule) -> list[str]:
    """Lines on the environment with its sizes, what is known and what is learned, on device and folder, and on bf16.

    Args:
        run: about to train.
        module: the planner or model, built.
    """
    if not isinstance(module, (Planner, DynamicsModel)):
        return []
    task = module.built_task
    model = dynamics_of(module) if isinstance(module, Planner) else module
    learner = module.learner if isinstance(module, LearnsPolicy) else None
    parts = [] if model is None or model is module else [type(model).__name__]
    parts += [] if learner is None else [type(learner).__name__]
    who = type(module).__name__ + (f" of {' and '.join(parts)}" if parts else "")
    lines = [f"{_environment(task)}; {_known(task, model)}", f"{who} on {module.device}, in {run.run_folder}"]
    return [*lines, *bf16_in_short(bf16_checks(module))]


def _environment(task: Task) -> str:
    limit = "no time limit" if task.time_limit is None else f"{counted(task.time_limit, 'step')} an episode"
    sizes = f"{counted(task.obs_size, 'observation')}, {counted(task.action_size, 'action')}"
    return f"{task.env_id or 'a dataset that names no environment'}: {sizes}, {limit}"


def _known(task: Task, model: DynamicsModel | None) -> str:
    """Where reward and termination of what is imagined come from."""
    if model is None:
        return "no model, so that reward and termination are the environment's"
    learned = "the exact model's" if isinstance(model, Exact) else "learned"
    reward, end = (learned if name is None else "known" for name in (task.known_reward, task.known_terminated))
    return f"reward and termination {reward}" if reward == end else f"reward {reward}, termination {end}"
