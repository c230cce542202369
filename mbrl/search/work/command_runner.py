"""`CommandRunner`: runs a search file's configurations as `mbrl fit`, one process per seed, within the file's limits."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna

from mbrl.search.file.search_file import SearchFile
from mbrl.search.study.outcome import INTERRUPTED, Job, Outcome
from mbrl.search.work.reduce import reduced
from mbrl.training.metrics_file import CLOCKS
from mbrl.training.processes.run_process import RunProcess, free_folder
from mbrl.training.yaml_text import read_mapping

POLL_S = 0.5


@dataclass(frozen=True)
class _Run:
    """The outcome of one seed."""

    outcome: str
    values: tuple[float, ...] = ()
    env_steps: int | None = None
    detail: str = ""


class CommandRunner:
    """Runs configurations by the command line, each seed in a process of its own.

    The process returns its memory to the machine, and takes none of the others with it if it crashes. Its folder is
    `<folder of the job>/seed<k>`; a job that was lost goes on from the checkpoint there.

    Args:
        search: the search file.
        folder: of the study; the configurations are written below it.
        allow: modules that runs may import names from, besides `mbrl`.
        poll_s: seconds between looks at a run, 0.5 by default; fewer costs time, more sees limits later.
        patience_s: seconds that a run that is told to end may take to write its checkpoint.
        clock: gives seconds, for limits.
    """

    def __init__(
        self,
        search: SearchFile,
        folder: Path,
        *,
        allow: Sequence[str] = (),
        poll_s: float | None = None,
        patience_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.search = search
        self.folder = folder
        self.poll_s = POLL_S if poll_s is None else poll_s
        self.patience_s = patience_s
        self.clock = clock
        self._options = [option for module in allow for option in ("--allow", module)]
        self._configs = _write_configs(search, folder / "configs")

    def suggest(self, trial: optuna.Trial) -> Mapping[str, Any]:
        """Chooses every active parameter, parents first."""
        return self.search.space.suggest(trial)

    def run(self, job: Job) -> Outcome:
        """Runs a configuration on its seeds, one after the other, until one fails.

        With several seeds the first one's curve is what a pruner sees.
        """
        began = time.monotonic()
        argv = tuple(self._argv(job, job.seeds[0], job.folder / f"seed{job.seeds[0]}"))
        runs: list[_Run] = []
        for seed in job.seeds:
            runs.append(self._seed(job, seed, reports=not runs))
            if runs[-1].outcome != "ok":
                break
        rows = tuple(run.values for run in runs if run.outcome == "ok")
        steps = [run.env_steps for run in runs if run.env_steps is not None]
        facts: dict[str, Any] = {
            "seed_values": rows,
            "wall_s": time.monotonic() - began,
            "env_steps": sum(steps) if steps else None,
            "detail": runs[-1].detail,
            "argv": argv,
        }
        if runs[-1].outcome != "ok":
            return Outcome(runs[-1].outcome, **facts)
        means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        return Outcome("ok", values=tuple(means), variances=_variances(rows), **facts)

    def _argv(self, job: Job, seed: int, folder: Path) -> list[str]:
        return [*self._options, *self.search.argv(job.params, seed, folder, self._configs)]

    def _seed(self, job: Job, seed: int, *, reports: bool) -> _Run:
        folder, lock = free_folder(job.folder / f"seed{seed}")
        lines = _Lines(folder / "metrics.jsonl", self.clock)
        with lock, RunProcess(self._argv(job, seed, folder), folder, lock, job.device) as process:
            outcome, detail = self._watch(job, process, lines, reports=reports)
        if outcome == "error" and "ended by SIG" in detail and job.should_stop():
            outcome = INTERRUPTED  # the system told this worker and its run to end at once
        values: tuple[float, ...] = ()
        if outcome == "ok":
            outcome, detail, values = self._values(lines)
        return _Run(outcome, values, lines.last("env_steps"), detail)

    def _watch(self, job: Job, process: RunProcess, lines: _Lines, *, reports: bool) -> tuple[str, str]:
        """Waits for a run's end, and brings it about where a limit, a pruner or a signal says so."""
        limits, began = self.search.limits, self.clock()
        curve = _Curve(job, self.search, lines)
        while not process.wait(self.poll_s):
            if job.should_stop():
                process.end(self.patience_s)
                return INTERRUPTED, ""
            if lines.read() and reports and curve.report():
                process.end(self.patience_s)
                return "pruned", ""
            now = self.clock()
            for minutes, since, what in (
                (limits.trial_minutes, began, "limits.trial_minutes"),
                (limits.stall_minutes, max(began, lines.changed), "limits.stall_minutes without a line of metrics"),
            ):
                if minutes is not None and now - since > 60 * minutes:
                    process.end(self.patience_s)
                    return "timeout", f"ended after {minutes:g} minutes ({what})"
        lines.read()
        if reports:
            curve.report(ask=False)
        return process.verdict()

    def _values(self, lines: _Lines) -> tuple[str, str, tuple[float, ...]]:
        """The objectives of a run that came to its end."""
        found = []
        for objective in self.search.objectives:
            series = lines.series(objective.metric)
            if not series:
                names = ", ".join(sorted({name for line in lines.lines for name in line})) or "no line"
                return "error", f"expected {objective.metric} in {lines.path}, got {names}; correct the objective.", ()
            value = reduced([number for _, number in series], objective.reduce)
            if not math.isfinite(value):
                return "diverged", f"{objective.metric} is not finite", ()
            if objective.log and value <= 0:
                detail = f"expected {objective.metric} above 0, got {value:g}; remove `log: true` from the objective."
                return "error", detail, ()
            found.append(value)
        return "ok", "", tuple(found)


class _Lines:
    """The lines of a run's `metrics.jsonl`, as far as they are written; a resumed run cuts some off."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self.path = path
        self._clock = clock
        self.lines: list[dict[str, Any]] = []
        self.changed = -math.inf
        self._seen: tuple[int, int, int] | None = None
        self.read()  # what an earlier try left is no sign of life
        self.changed = -math.inf

    def read(self) -> bool:
        """Reads the lines if the file changed, and tells whether it did."""
        try:
            state = os.stat(self.path)
        except FileNotFoundError:
            return False
        seen = (state.st_ino, state.st_size, state.st_mtime_ns)
        if seen == self._seen:
            return False
        self._seen, self.changed = seen, self._clock()
        whole = self.path.read_text(encoding="utf-8").rpartition("\n")[0]  # the last line may still be being written
        self.lines = [json.loads(line) for line in whole.splitlines()]
        return True

    def series(self, metric: str) -> list[tuple[int, float]]:
        """Pairs (clock, value) of the lines that have the metric; NaN for a value that wasn't finite."""
        return [
            (int(next(line[clock] for clock in CLOCKS if clock in line)), math.nan if value is None else float(value))
            for line in self.lines
            for value in [line.get(metric, "")]
            if value != ""
        ]

    def last(self, name: str) -> int | None:
        """The newest value of a metric, or None."""
        values = [line[name] for line in self.lines if line.get(name) is not None]
        return int(values[-1]) if values else None


class _Curve:
    """Reports a run's first objective, as it would count if the run ended there."""

    def __init__(self, job: Job, search: SearchFile, lines: _Lines) -> None:
        self.job, self.search, self.lines = job, search, lines
        self._last = -1

    def report(self, *, ask: bool = True) -> bool:
        """Reports new values, and tells whether to prune. No run is pruned in its first `pruner.warmup_fraction`."""
        objective = self.search.objectives[0]
        series = self.lines.series(objective.metric)
        for count, (step, _) in enumerate(series, 1):
            if step > self._last:
                self._last = step
                self.job.report(reduced([value for _, value in series[:count]], objective.reduce), step)
        pruner = self.search.pruner
        if not ask or pruner.name == "none" or not series:
            return False
        return self._last >= pruner.warmup_fraction * self._length() and self.job.should_prune()

    def _length(self) -> float:
        """Steps or epochs of the whole run, as the run's own configuration says."""
        path = self.lines.path.parent / "config.yaml"
        config = read_mapping(path.read_text(encoding="utf-8"), str(path))
        for part, name in (("data", "steps"), ("trainer", "max_epochs")):
            settings = config.get(part) or {}
            length = {**settings, **(settings.get("init_args") or {})}.get(name)
            if length is not None and length > 0:
                return float(length)
        return math.inf  # unknown: never past its warm-up


def _write_configs(search: SearchFile, folder: Path) -> list[Path]:
    """Writes the configurations, each moved into place whole, since other workers write and read the same files."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as beside:
        paths = []
        for path in search.write_configs(beside):
            os.replace(path, folder / path.name)
            paths.append(folder / path.name)
    return paths


def _variances(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Variances of the means over rows, one per column; none with a single row."""
    count = len(rows)
    if count < 2:
        return ()
    variances = []
    for column in zip(*rows, strict=True):
        mean = sum(column) / count
        variances.append(sum((value - mean) ** 2 for value in column) / (count - 1) / count)
    return tuple(variances)
