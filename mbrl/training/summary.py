"""The end of a run: the table, the figure and `summary.json`, which says that it has come to its end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mbrl.data import NormalizedScore
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


def with_scores(metrics: Mapping[str, float], references: NormalizedScore | None) -> dict[str, float]:
    """The metrics of a test, with its normalised score if there are references.

    Returns:
        `test/normalized_score` is that of the mean return, the ends of its interval likewise; `test/normalized_score_std` is
        the standard deviation over episodes, which is scaled only.
    """
    found = dict(metrics)
    if references is None or "test/return" not in metrics:
        return found
    for end in ("", "_low", "_high"):
        if f"test/return{end}" in metrics:
            found[f"test/normalized_score{end}"] = references.of(metrics[f"test/return{end}"])
    if "test/return_std" in metrics:
        found["test/normalized_score_std"] = references.spread(metrics["test/return_std"])
    return found


def write_test(
    folder: Path, metrics: Mapping[str, float], checkpoint: Path | None, references: NormalizedScore | None = None
) -> None:
    """Writes `test.json`: the metrics, under `checkpoint` what they are of, and under `references` whose scores they have.

    Args:
        folder: for the file.
        metrics: numbers by name; one that isn't finite becomes null.
        checkpoint: its folder, named relative to `folder` if it lies there; None for what was in memory, which becomes null.
            One of a planner that learned from a dataset says how many real episodes its evaluations had taken.
        references: what `test/normalized_score` is between.
    """
    about: dict[str, Any] | None = None
    seen: dict[str, int] = {}
    if checkpoint is not None:
        manifest = read_manifest(checkpoint, buffers=False)
        if (episodes := manifest.get("eval_episodes")) is not None:
            seen["eval/total_episodes"] = episodes
        about = {
            "path": str(checkpoint.relative_to(folder) if checkpoint.is_relative_to(folder) else checkpoint),
            manifest["clock"]: manifest["position"],
            "sha256": manifest["files"][MODEL]["sha256"],
        }
    numbers = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
    whose = {} if references is None else {"references": asdict(references)}
    written = {**numbers, **seen, "checkpoint": about, **whose}
    write_whole(folder / "test.json", (json.dumps(written, indent=1) + "\n").encode())


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
