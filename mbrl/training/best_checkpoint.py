"""The checkpoint of the best evaluation, kept as `checkpoints/best-<clock>` beside the newest."""

from __future__ import annotations

import math
import re
from pathlib import Path

from mbrl.errors import CheckpointError
from mbrl.replacing import remove
from mbrl.training.checkpoint import MANIFEST, find_last, link_checkpoint, read_manifest


def find_best(run: Path) -> Path:
    """The checkpoint of a run's best evaluation.

    Raises:
        CheckpointError: if the run has kept none, or it is damaged.
    """
    found = _folders(run)
    if not found:
        raise CheckpointError(
            f"expected the best evaluation's checkpoint in {run}, but it has kept none; give last, or train with "
            "trainer.keep_best: true."
        )
    read_manifest(found[-1], buffers=False)
    return found[-1]


def best_return(run: Path) -> float:
    """The evaluation's mean return that the kept checkpoint stands for; −∞ where there is none that can be used."""
    try:
        return float(read_manifest(find_best(run), buffers=False)["eval_return"])
    except (CheckpointError, KeyError, TypeError):
        return -math.inf


def keep_if_best(run: Path) -> None:
    """Keeps the newest checkpoint too, in place of an older best, if its evaluation was better.

    Raises:
        RunFolderError: if the disk is full or can't be written; the older best stays.
    """
    last = find_last(run)
    value = None if last is None else read_manifest(last, buffers=False).get("eval_return")
    if last is None or value is None or not value > best_return(run):
        return
    place = last.with_name(last.name.replace("ckpt", "best"))
    link_checkpoint(last, place)
    for older in _folders(run):
        if older != place:
            (older / MANIFEST).unlink(missing_ok=True)
            remove(older)


def _folders(run: Path) -> list[Path]:
    """All that are kept, the newest last."""
    found = [path for path in (run / "checkpoints").glob("best-*") if re.fullmatch(r"best-[0-9]{1,18}", path.name)]
    return sorted((path for path in found if path.is_dir() and not path.is_symlink()), key=lambda path: int(path.name[5:]))
