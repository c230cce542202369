"""The end of a run: the table, the figure and `summary.json`, which says that it has come to its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mbrl.training.checkpoint import find_last, read_manifest
from mbrl.training.curve import draw_curve
from mbrl.training.files import write_whole
from mbrl.training.metrics_file import MetricsFile
from mbrl.training.run_folder import SUMMARY


def write_summary(folder: Path, metrics: MetricsFile, ended_early: bool, goal: Mapping[str, Any]) -> list[str]:
    """Writes `metrics.csv`, `curve.png` and, unless the run has one, `summary.json`.

    Args:
        folder: the run's.
        metrics: its lines.
        ended_early: whether the run met its goal before its last step.
        goal: what that goal is, plain data by name.

    Returns:
        Where everything is, a line each.
    """
    lines = metrics.read()
    metrics.write_csv(folder / "metrics.csv")
    drawn = draw_curve(lines, folder / "curve.png", f"{folder.parent.name}, {folder.name}", metrics.clock)
    last = find_last(folder)
    if not (folder / SUMMARY).exists():
        evaluations = [line["eval/return"] for line in lines if line.get("eval/return") is not None]
        summary = {
            metrics.clock: None if last is None else read_manifest(last, buffers=False)["position"],
            "last_eval_return": evaluations[-1] if evaluations else None,
            "best_eval_return": max(evaluations, default=None),
            "ended_early": ended_early,
            **goal,
        }
        write_whole(folder / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())
    where = [f"run folder  {folder}", f"checkpoint  {last}", f"metrics     {metrics.path} and metrics.csv"]
    return [*where, f"curve       {folder / 'curve.png'}"] if drawn else where


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
    path = folder / SUMMARY
    if not path.is_file():
        return False
    before = json.loads(path.read_text(encoding="utf-8"))
    return bool(before["ended_early"]) and all(before[name] == value for name, value in goal.items())
