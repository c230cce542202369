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
from mbrl.training.run_clock import RunClock
from mbrl.training.run_folder import SUMMARY


def write_summary(folder: Path, metrics: MetricsFile, clock: RunClock) -> list[str]:
    """Writes `metrics.csv`, `curve.png` and, unless the run has one, `summary.json`.

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
            metrics.clock: None if last is None else read_manifest(last)["position"],
            "last_eval_return": evaluations[-1] if evaluations else None,
            "best_eval_return": max(evaluations, default=None),
            "goal_reached": clock.reached,
            "stop_at": clock.stop_at,
            "stop_count": clock.stop_count,
        }
        write_whole(folder / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())
    where = [f"run folder  {folder}", f"checkpoint  {last}", f"metrics     {metrics.path} and metrics.csv"]
    return [*where, f"curve       {folder / 'curve.png'}"] if drawn else where


def is_finished(folder: Path, manifest: Mapping[str, Any], steps: int | None, clock: RunClock) -> bool:
    """Whether a planner's run has nothing left to do.

    Args:
        folder: the run's.
        manifest: of its checkpoint.
        steps: real steps that it is to have now.
        clock: with the goal that it is to reach now.
    """
    if manifest["clock"] != "env_steps":
        return False
    if steps is not None and manifest["position"] >= steps:
        return True
    path = folder / SUMMARY
    if not path.is_file():
        return False
    before = json.loads(path.read_text(encoding="utf-8"))
    same_goal = before["stop_at"] == clock.stop_at and before["stop_count"] == clock.stop_count
    return bool(before["goal_reached"]) and same_goal
