"""Resuming: which checkpoint, and whether it is of the same experiment."""

from __future__ import annotations

import os
import warnings
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mbrl.errors import CheckpointError, ConfigError, MbrlWarning
from mbrl.names import address, loaded
from mbrl.spec import completed, is_spec
from mbrl.training.best_checkpoint import find_best
from mbrl.training.checkpoint import MODEL, find_last

# What a resumed run may change: how long it goes on and what is looked at, never what is computed.
FREE = (
    "data.init_args.steps",
    "data.init_args.eval_episodes",
    "data.init_args.test_episodes",
    "data.init_args.eval_limit",
    "data.init_args.resume",
)
PATH = "data.init_args.path"  # of a dataset, free too where the checkpoint knows its rows, which its loading compares


def find_checkpoint(path: str | os.PathLike[str], run: Path, *, clean: bool = False) -> Path | None:
    """The checkpoint folder that `path` names.

    Args:
        path: `last` (the newest whole one of `run`), `best` (that of its best evaluation, if `trainer.keep_best` kept it), a
            run folder (its last), `<run folder>/best`, a checkpoint folder, or its `model.pt`.
        run: the run folder.
        clean: whether to remove unfinished checkpoints of `run`, after naming them.

    Returns:
        The folder, or None for `last` if `run` has no whole checkpoint.

    Raises:
        CheckpointError: if there is nothing at `path`, the run has kept no best, or it is a URL or another of Lightning's
            special names.
    """
    text = os.fspath(path)
    if text == "last":
        return find_last(run, remove=clean)
    if text == "best":
        return find_best(run)
    if "://" in text:
        raise CheckpointError(f"expected a path on this machine, got {text}; download the checkpoint folder first.")
    found = Path(path)
    if not found.exists() and found.name in ("last", "best") and (found.parent / "checkpoints").is_dir():
        return find_checkpoint(found.parent if found.name == "last" else found.name, found.parent)
    if not found.exists():
        hint = "; the special names are last and best" if text in ("hpc", "registry") else ""
        raise CheckpointError(f"expected a checkpoint at {text}, but there is nothing{hint}; check the path.")
    if found.name == MODEL:
        return found.parent
    if found.is_file():
        raise CheckpointError(f"expected a run or checkpoint folder or its {MODEL}, got the file {found}; give the folder.")
    runs = sorted(item.name for item in found.iterdir() if (item / "checkpoints").is_dir())
    if runs:
        raise CheckpointError(f"expected the folder of one run, got {found}, which holds several; give {' or '.join(runs)}.")
    if (found / "checkpoints").is_dir():
        last = find_last(found)
        if last is None:
            raise CheckpointError(f"expected a checkpoint in {found}, but the run has no whole one; train it first.")
        return last
    return found


def checkpoint_at(path: str | os.PathLike[str]) -> Path:
    """The checkpoint folder at a path, where no run is known whose last one could be meant.

    Raises:
        CheckpointError: as `find_checkpoint`, and for `last` and `best` alone.
    """
    if os.fspath(path) in ("last", "best") and not Path(path).exists():
        raise CheckpointError(f"expected the path of a run or a checkpoint, got {path} of no run; give RUN/{path}.")
    found = find_checkpoint(path, Path(path))
    if found is None:
        raise CheckpointError(f"expected the path of a run or a checkpoint, got {path}; give the run folder.")
    return found


def flatten(value: Any, name: str = "") -> dict[str, Any]:
    """Nested plain data by dotted name, classes by their public names, older specs with the arguments that they lack."""
    if name.endswith("class_path") and isinstance(value, str):
        return {name: address(value)}
    if is_spec(value) and isinstance(value["class_path"], str):
        cls = loaded(value["class_path"])
        if cls is not None and (arguments := completed(cls, value.get("init_args", {}))):
            value = {**value, "init_args": arguments}
    if isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
        value = {str(number): item for number, item in enumerate(value)}
    if not (isinstance(value, Mapping) and value):
        return {name: list(value) if isinstance(value, tuple) else value}
    found: dict[str, Any] = {}
    for part, item in value.items():
        found.update(flatten(item, f"{name}.{part}" if name else part))
    return found


def differences(saved: Mapping[str, Any], current: Mapping[str, Any], free: Container[str] = FREE) -> list[str]:
    """Lists what differs between the specs of a checkpoint and of a config, one line each, without what may differ.

    Where a class differs, its settings are left out.
    """
    old, new = flatten(saved), flatten(current)
    other = [name for name in old if name.endswith("class_path") and name in new and old[name] != new[name]]
    inner = tuple(f"{name.removesuffix('class_path')}init_args." for name in other)
    names = [name for name in dict.fromkeys([*old, *new]) if name not in free and not name.startswith(inner)]
    missing = object()
    lines = []
    for name in names:
        before, after = old.get(name, missing), new.get(name, missing)
        if before is missing:
            lines.append(f"{name} is {after!r} now and was not set")
        elif after is missing:
            lines.append(f"{name} was {before!r} and is not set now")
        elif before != after:
            lines.append(f"{name} was {before!r} and is {after!r} now")
    return lines


def check_same(manifest: Mapping[str, Any], current: Mapping[str, Any], *, override: bool) -> bool:
    """Refuses to go on with another experiment than the checkpoint's.

    Args:
        manifest: of the checkpoint.
        current: `model` and, in a fit, `data` (the specs of the config) and `trainer` (flags that change what is computed).
        override: whether to go on all the same, after naming the differences.

    Returns:
        Whether anything is the same no more.

    Raises:
        ConfigError: listing every difference.
    """
    saved = {name: manifest[name] for name in current if name in manifest}
    knows_rows = manifest.get("knows_rows") or manifest.get("clock") == "updates"  # a planner's always did
    found = differences(saved, {name: current[name] for name in saved}, (*FREE, PATH) if knows_rows else FREE)
    if not found:
        return False
    text = "; ".join(found)
    if not override:
        raise ConfigError(
            f"expected the checkpoint's settings, but {text}. Set them back, start another run, or pass --override."
        )
    warnings.warn(f"going on with settings that the checkpoint was not made with: {text}.", MbrlWarning, 3)
    return True


@contextmanager
def own_parameters(found: Path | None) -> Iterator[None]:
    """Says what it means if the parameters in `found` don't fit the model's, as after `--override`.

    Raises:
        CheckpointError: in place of torch's error.
    """
    try:
        yield
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        text = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"expected the sizes in {found}, but they don't fit ({text}); set them back, which no override can change."
        ) from error


def check_threads(manifest: Mapping[str, Any]) -> None:
    """Warns if the number of threads is another, which changes the order of sums."""
    before, now = manifest["threads"], torch.get_num_threads()
    if before != now:
        warnings.warn(
            f"the checkpoint was written with {before} threads and this run has {now}, so the numbers will not be equal to "
            f"the unbroken run's to the last bit; set trainer.threads to {before} for that.",
            MbrlWarning,
            3,
        )
