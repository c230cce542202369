"""`ProgressCallback`: a bar that counts on the run's clock, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mbrl.planners import Planner
from mbrl.training.callbacks.checkpoint_callback import position
from mbrl.training.callbacks.run import Run
from mbrl.training.metrics_file import CLOCKS

_LINE_EVERY = 10.0  # seconds between plain lines


class ProgressCallback(pl.Callback):
    """Shows the clock, return, model loss and speed on stderr.

    Args:
        console: where to write; stderr by default, so that stdout stays free for results.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._shown: dict[str, float] = {}
        self._last_line = 0.0

    def on_train_start(self, trainer: Run, pl_module: pl.LightningModule) -> None:  # type: ignore[override]
        if not trainer.is_global_zero:
            return
        total = _total(trainer, pl_module)
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[text]}"), console=self.console, transient=False)
            self._bar.add_task(
                CLOCKS[trainer.metrics_file.clock], total=total, completed=position(trainer, pl_module), text=""
            )
            self._bar.start()

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Run, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=position(trainer, pl_module))

    def show(self, trainer: Run, module: pl.LightningModule, line: Mapping[str, float]) -> None:
        """Takes in a metric line."""
        self._shown.update(line)
        text = summary_text(self._shown)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=position(trainer, module), text=text)
            return
        now = time.monotonic()
        if now - self._last_line >= _LINE_EVERY or "eval/return" in line:
            self._last_line = now
            total = _total(trainer, module)
            unit = CLOCKS[trainer.metrics_file.clock].removesuffix("s")
            done = f"{unit} {position(trainer, module)}" + (f"/{total}" if total else "")
            self.console.print(f"{done}  {text}", highlight=False, soft_wrap=True, markup=False)

    def on_train_end(self, trainer: Run, pl_module: pl.LightningModule) -> None:  # type: ignore[override]
        self._stop()

    def on_exception(  # type: ignore[override]
        self, trainer: Run, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def summary_text(shown: Mapping[str, float]) -> str:
    """Puts the metrics so far into a line of progress."""
    parts = []
    for label, name, form in (
        ("eval return", "eval/return", "{:.1f}"),
        ("return", "train/return", "{:.1f}"),
        ("model loss", "model/loss", "{:.3g}"),
        ("steps/s", "time/steps_per_second", "{:.1f}"),
        ("updates/s", "time/updates_per_second", "{:.1f}"),
    ):
        if name in shown:
            parts.append(f"{label} {form.format(shown[name])}")
    return ", ".join(parts)


def _total(trainer: Run, module: pl.LightningModule) -> int | None:
    if isinstance(module, Planner):
        return getattr(trainer.datamodule, "steps", None)
    return trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
