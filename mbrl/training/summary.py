"""The end of a run: the table, the figure and `summary.json`, which says that it has come to its end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mbrl.errors import RunFolderError
from mbrl.training.checkpoint import MODEL, find_last, read_manifest
from mbrl.training.files import write_whole
from mbrl.training.metrics_file import MetricsFile
from mbrl.training.products.curve import draw_curve
from mbrl.training.run_folder import SUMMARY


def write_summary(folder: Path, metrics: MetricsFile, goal: Mapping[str, Any]) -> list[str]:
    """Writes `metrics.csv`, `curve.png` and, unless the run has one, `summary.json`.

    Args:
        folder: the run's.
        metrics: its lines.
        goal: settings that may end a run before its last step, plain data by name.

    Returns:
        Where everything is, a line each.
    """
    lines = metrics.read()
    metrics.write_csv(folder / "metrics.csv")
    drawn = draw_curve(lines, folder / "curve.png", f"{folder.parent.name}, {folder.name}", metrics.clock)
    last = find_last(folder)
    manifest = {} if last is None else read_manifest(last, buffers=False)
    if not (folder / SUMMARY).exists():
        evaluations = [line["eval/return"] for line in lines if line.get("eval/return") is not None]
        summary = {
            metrics.clock: manifest.get("position"),
            "last_eval_return": evaluations[-1] if evaluations else None,
            "best_eval_return": max(evaluations, default=None),
            "ended_early": manifest.get("ended") is not None,
            **goal,
        }
        write_whole(folder / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())
    where = [f"run folder  {folder}", f"checkpoint  {last}", f"metrics     {metrics.path} and metrics.csv"]
    return [*where, f"curve       {folder / 'curve.png'}"] if drawn else where


def write_test(folder: Path, metrics: Mapping[str, float], checkpoint: Path | None) -> None:
    """Writes `test.json`: the metrics, and under `checkpoint` what they are of.

    Args:
        folder: for the file.
        metrics: numbers by name; one that isn't finite becomes null.
        checkpoint: its folder, named relative to `folder` if it lies there; None for what was in memory, which becomes null.
    """
    about: dict[str, Any] | None = None
    if checkpoint is not None:
        manifest = read_manifest(checkpoint, buffers=False)
        about = {
            "path": str(checkpoint.relative_to(folder) if checkpoint.is_relative_to(folder) else checkpoint),
            manifest["clock"]: manifest["position"],
            "sha256": manifest["files"][MODEL]["sha256"],
        }
    numbers = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
    write_whole(folder / "test.json", (json.dumps({**numbers, "checkpoint": about}, indent=1) + "\n").encode())


def is_finished(folder: Path, manifest: Mapping[str, Any], length: int | None, goal: Mapping[str, Any]) -> bool:
    """Tells whether a run has nothing left to do.

    Args:
        folder: the run's.
        manifest: of its checkpoint.
        length: real steps, or epochs, that it is to have now.
        goal: what ends it earlier now.
    """
    if length is not None and 0 <= length <= manifest["position"]:
        return True
    if (ended := manifest.get("ended")) is not None:
        return all(ended.get(name) == value for name, value in goal.items())
    if "ended" in manifest:
        return False
    path = folder / SUMMARY  # older checkpoints don't say it
    if not path.is_file():
        return False
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        return bool(before["ended_early"]) and all(before[name] == value for name, value in goal.items())
    except (ValueError, TypeError, KeyError, RecursionError):
        raise RunFolderError(
            f"expected {path} to say whether the run has ended, but it is damaged; put it back, or remove it to train on."
        ) from None
