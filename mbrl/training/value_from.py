"""`value_from`: the value function by which a model is fitted alone, of a planner's run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mbrl.data import check_same_task
from mbrl.errors import CheckpointError, ConfigError
from mbrl.models import DynamicsModel
from mbrl.planners import LearnsPolicy
from mbrl.policies import Learner
from mbrl.training.checkpoint import MODEL, read_checkpoint, read_manifest
from mbrl.training.load import module_of
from mbrl.training.parts import tell_if_never_fitted
from mbrl.training.resume import checkpoint_at


def value_from(
    path: str | os.PathLike[str], model: Any, datamodule: Any, allow: Sequence[str] = ()
) -> tuple[Learner, dict[str, str]]:
    """The learner of a run, and what tells it from another in a manifest.

    Args:
        path: a run folder (its newest whole checkpoint), a checkpoint folder, or its `model.pt`.
        model: what is to be fitted.
        datamodule: its rows.
        allow: modules in which names in checkpoints may be looked up.

    Raises:
        ConfigError: if `model` asks for no values.
        CheckpointError: if there is no checkpoint, or it holds no learner.
        TaskError: if it is of another task.
    """
    if not (isinstance(model, DynamicsModel) and model.wants_value):
        raise ConfigError(
            f"trainer.value_from: expected a model alone whose fit asks for values, got {type(model).__name__}, which has "
            "no use for it; leave it out."
        )
    folder = checkpoint_at(path)
    planner = module_of(read_checkpoint(folder, buffers=False), folder, allow)
    learner = planner.learner if isinstance(planner, LearnsPolicy) else None
    if learner is None:
        raise CheckpointError(
            f"trainer.value_from: expected a planner's run with a learner in {path}, got {type(planner).__name__} without "
            "one; give another run."
        )
    check_same_task(datamodule.task, planner.built_task, f"trainer.value_from ({path})")
    tell_if_never_fitted(planner)
    return learner.requires_grad_(False), {"sha256": read_manifest(folder, buffers=False)["files"][MODEL]["sha256"]}
