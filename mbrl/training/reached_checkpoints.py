"""Checkpoints of the first evaluations that reached given returns, kept as `checkpoints/return-<threshold>`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from mbrl.arguments import check_argument
from mbrl.errors import CheckpointError, ConfigError
from mbrl.training.checkpoint import find_last, link_checkpoint, read_manifest


def thresholds_of(keep_at: Mapping[str, Any] | None) -> tuple[float, ...]:
    """The returns of `trainer.keep_at`, rising; none for None.

    Raises:
        ConfigError: for anything but `{return: [a, b, …]}` of finite numbers that rise.
    """
    if keep_at is None:
        return ()
    found = keep_at.get("return") if list(keep_at) == ["return"] else None
    try:
        check_argument("", found, Sequence[float])
    except ConfigError:
        found = None
    if not found or any(low >= high for low, high in pairwise(found)):
        raise ConfigError(
            f"trainer.keep_at: expected {{return: [a, b, …]}}, mean returns of evaluations, got {dict(keep_at)}; give "
            "finite numbers that rise, such as {return: [-800, -300]}."
        )
    return tuple(map(float, found))


def kept_at(run: Path, threshold: float) -> Path:
    """The folder of the checkpoint whose evaluation was the first of `run` to reach `threshold`, there or not."""
    return run / "checkpoints" / f"return-{repr(threshold).removesuffix('.0')}"


def reaches(run: Path, thresholds: Sequence[float], value: float) -> list[Path]:
    """Folders, not there yet, of those thresholds that an evaluation's mean return `value` reaches."""
    return [place for each in thresholds if each <= value and not (place := kept_at(run, each)).exists()]


def keep_reached(run: Path, thresholds: Sequence[float]) -> None:
    """Keeps the newest checkpoint too for each threshold that its evaluation is the first to reach.

    One that is kept stays, whatever later evaluations return. Files are linked where the file system can do that.

    Raises:
        RunFolderError: if the disk is full or can't be written.
    """
    if all(kept_at(run, each).exists() for each in thresholds):
        return
    last = find_last(run)
    value = None if last is None else read_manifest(last, buffers=False).get("eval_return")
    if last is None or value is None:
        return
    for place in reaches(run, thresholds, value):
        link_checkpoint(last, place)


def reached_checkpoints(run: Path) -> list[tuple[Path, float, int]]:
    """Lists what a run has kept at returns, the first first: checkpoint, mean return of its evaluation, and clock.

    Raises:
        CheckpointError: for a link in a checkpoint's place, or one that is no evaluation's.
    """
    found = []
    for folder in sorted((run / "checkpoints").glob("return-*")):
        if folder.is_symlink():
            raise CheckpointError(
                f"expected a checkpoint in {folder}, got a link, which isn't followed; put it there itself."
            )
        if not folder.is_dir():
            continue
        manifest = read_manifest(folder, buffers=False)
        try:
            found.append((folder, float(manifest["eval_return"]), int(manifest["position"])))
        except (KeyError, TypeError, ValueError):
            raise CheckpointError(
                f"expected the return of an evaluation in the manifest of {folder}, got none; use another run."
            ) from None
    return sorted(found, key=lambda one: one[2])
