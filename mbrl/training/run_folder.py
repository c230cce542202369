"""The folder of one run: `runs/<name>/seed<k>`, the same for logs, checkpoints, configuration and figures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mbrl.errors import RunFolderError
from mbrl.training.files import make_writable, write_whole
from mbrl.training.yaml_text import write_mapping

METRICS = "metrics.jsonl"
SUMMARY = "summary.json"


def default_folder(name: str, seed: int) -> Path:
    """`runs/<name>/seed<k>`, below the current folder."""
    return Path("runs") / name / f"seed{seed}"


def holds_run(folder: Path) -> bool:
    """Tells whether a run was started in `folder`."""
    return any((folder / name).exists() for name in ("config.yaml", METRICS)) or any(folder.glob("checkpoints/ckpt-*"))


def refuse_used(folder: Path) -> None:
    """Refuses a folder that holds a run.

    Raises:
        RunFolderError: naming both ways out.
    """
    if holds_run(folder):
        raise RunFolderError(
            f"expected an empty run folder, but {folder} holds a run; resume it with --ckpt_path last, or give another."
        )


def make_folder(folder: Path) -> None:
    """Makes `folder` for a run.

    Raises:
        RunFolderError: if it can't be written.
    """
    make_writable(folder, "trainer.folder")
    make_writable(folder / "checkpoints", "trainer.folder")


def write_config(folder: Path, config: Mapping[str, Any]) -> Path:
    """Writes `config.yaml` once; a resume writes `config.resume-<n>.yaml` beside it."""
    path = folder / "config.yaml"
    number = 0
    while path.exists():
        number += 1
        path = folder / f"config.resume-{number}.yaml"
    write_whole(path, write_mapping(config).encode())
    return path


def inside(path: str | os.PathLike[str]) -> Path:
    """The run folder that a path lies in: of `checkpoints/ckpt-…`, of its `model.pt`, or the folder itself."""
    folder = Path(path)
    if folder.name == "model.pt":
        folder = folder.parent
    return folder.parent.parent if folder.parent.name == "checkpoints" else folder
