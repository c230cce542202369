"""`load` and `load_policy`: a planner or a dynamics model from a checkpoint, in any process."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mbrl.arguments import check_argument
from mbrl.data import Task
from mbrl.errors import CheckpointError, ConfigError, MbrlError, reading
from mbrl.models import DynamicsModel
from mbrl.planners import Planner
from mbrl.spec import from_spec
from mbrl.training.checkpoint import read_checkpoint
from mbrl.training.parts import tell_if_never_fitted
from mbrl.training.resume import checkpoint_at

# where a checkpoint has what every loader reads, and what that is
_LAYOUT: dict[tuple[str, ...], Any] = {
    ("state_dict",): Mapping,
    ("mbrl",): Mapping,
    ("mbrl", "kind"): Literal["planner", "model"],
    ("mbrl", "spec"): Mapping[str, Any],
    ("mbrl", "task"): Mapping[str, Any],
    ("mbrl", "seed"): int,
}


def load(path: str | os.PathLike[str], allow: Sequence[str] = ()) -> Planner | DynamicsModel:
    """Loads what a checkpoint holds, on the CPU, without its replay buffers and without its environment.

    Nothing in a checkpoint runs: it holds tensors and plain data, and the names in it resolve only in `mbrl` and in the
    modules that you allow. A model that needs its environment makes it when it is first stepped.

    Args:
        path: a run folder (its newest whole checkpoint), a checkpoint folder, or its `model.pt`.
        allow: modules of your own whose classes or functions the checkpoint names.

    Returns:
        The `Planner`, or the `DynamicsModel` where one was fitted alone, built and with its trained parameters.

    Raises:
        CheckpointError: if there is no checkpoint, or it is damaged, or of something else.
        UntrustedNameError: if it names a module that isn't allowed.

    Example:
        >>> planner = mbrl.load("runs/mbpo-pendulum/seed0")  # doctest: +SKIP
    """
    check_argument("load(path=…)", path, str | os.PathLike)
    check_argument("load(allow=…)", allow, str | Sequence[str])
    folder = checkpoint_at(path)
    return module_of(read_checkpoint(folder, buffers=False), folder, allow)


def load_policy(path: str | os.PathLike[str], allow: Sequence[str] = ()) -> Planner:
    """Loads a run's planner to act with: `predict` gives actions, `reset` begins an episode, `task` says what it is for.

    Args:
        path: as in `load`.
        allow: as in `load`.

    Raises:
        CheckpointError: as in `load`, or if a model was fitted alone, which can't act.
        UntrustedNameError: as in `load`.

    Example:
        >>> policy = mbrl.load_policy("runs/mbpo-pendulum/seed0")  # doctest: +SKIP
        >>> action = policy.predict(obs)  # environment units, as obs is; doctest: +SKIP
    """
    found = load(path, allow)
    if not isinstance(found, Planner):
        raise CheckpointError(
            f"expected a planner, which can act, in {path}, got {type(found).__name__}; give a planner's run, or "
            "mbrl.load the model."
        )
    tell_if_never_fitted(found)
    return found


def load_into(module: Any, folder: Path, allow: Sequence[str] = ()) -> None:
    """Gives `module`, whose spec is that of the checkpoint in `folder`, its parameters; builds it if need be."""
    checkpoint = read_checkpoint(folder, buffers=False)
    _check_layout(checkpoint, folder)
    if module.task is None:
        module.build(Task.from_plain(checkpoint["mbrl"]["task"], allow), checkpoint["mbrl"]["seed"])
    _fill(module, checkpoint, folder)


def module_of(checkpoint: dict[str, Any], folder: Path, allow: Sequence[str]) -> Planner | DynamicsModel:
    """The planner or model of a checkpoint that was read.

    Raises:
        CheckpointError: if its parameters don't fit its own spec, or the spec names more than memory holds.
    """
    _check_layout(checkpoint, folder)
    about = checkpoint["mbrl"]
    task = Task.from_plain(about["task"], allow)
    module: Planner | DynamicsModel = from_spec(about["spec"], allow, recorded=True)
    try:
        module.build(task, about["seed"])
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MbrlError) or not (isinstance(error, MemoryError) or re.search("alloc|overflow", str(error))):
            raise
        raise CheckpointError(
            f"expected sizes in {folder} that fit into memory, but there is no room for what its settings name; use another."
        ) from error
    _fill(module, checkpoint, folder)
    return module


def _check_layout(checkpoint: dict[str, Any], folder: Path) -> None:
    """Refuses a checkpoint that lacks what makes a planner or a model of it, or has something else there."""
    for path, declared in _LAYOUT.items():
        at: Any = checkpoint
        for name in path:
            at = at.get(name)
        try:
            check_argument(" ".join(path), at, declared)
        except ConfigError as error:
            raise CheckpointError(f"{folder}: {str(error).rstrip('.')}; use another checkpoint.") from None


def _fill(module: Any, checkpoint: dict[str, Any], folder: Path) -> None:
    with reading(f"parameters of {checkpoint['mbrl']['spec']['class_path']} in {folder}"):
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"], strict=True)
        if isinstance(module, Planner):
            module.restore()
