"""`ProgressCallback`: a bar that counts on the run's clock, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from mbrl.activity import listen
from mbrl.counted import counted
from mbrl.planners import Planner
from mbrl.training.callbacks.checkpoint_callback import position
from mbrl.training.callbacks.opening import opening
from mbrl.training.callbacks.run import Run
from mbrl.training.metrics_file import CLOCKS

_LINE_EVERY = 10.0  # seconds between plain lines
_LONG = 0.5  # seconds after which what is being done is shown


class ProgressCallback(pl.Callback):
    """Shows what is trained, then the clock, return, model loss, speed, and what takes long, on stderr.

    On a terminal a bar keeps count and time left, with the rest below it, and each evaluation leaves a line.

    Args:
        console: where to write; stderr by default, so that stdout stays free for results.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._shown: dict[str, float] = {}
        self._last_line = 0.0
        self._activity = ""
        self._since = 0.0

    def on_train_start(self, trainer: Run, pl_module: pl.LightningModule) -> None:  # type: ignore[override]
        if not trainer.is_global_zero:
            return
        for line in opening(trainer, pl_module):
            trainer.say(line)
        total = _total(trainer, pl_module)
        if self.console.is_terminal:
            self._bar = _Bar(console=self.console)
            self._bar.add_task(
                CLOCKS[trainer.metrics_file.clock], total=total, completed=position(trainer, pl_module), text=""
            )
            self._bar.start()
            listen(self._doing)

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Run, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=position(trainer, pl_module))

    def show(self, trainer: Run, module: pl.LightningModule, line: Mapping[str, float]) -> None:
        """Takes in a metric line."""
        self._shown.update(line)
        total = _total(trainer, module)
        unit = CLOCKS[trainer.metrics_file.clock].removesuffix("s")
        done = f"{unit} {position(trainer, module)}" + (f"/{total}" if total else "")
        text = summary_text(self._shown)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=position(trainer, module), text=text)
            if "eval/return" in line:
                self.console.print(f"{done}  {evaluation_text(line)}", highlight=False, markup=False)
            return
        now = time.monotonic()
        if now - self._last_line >= _LINE_EVERY or "eval/return" in line:
            self._last_line = now
            self.console.print(f"{done}  {text}", highlight=False, soft_wrap=True, markup=False)

    def _doing(self, text: str) -> None:
        """Shows what is being done once it lasts, so that nothing flickers."""
        what, now = text.partition(",")[0], time.monotonic()
        if what != self._activity:
            self._activity, self._since = what, now
        if self._bar is not None:
            (task,) = self._bar.tasks
            shown = text if text and now - self._since >= _LONG else ""
            if shown != task.fields.get("doing", ""):
                self._bar.update(task.id, doing=shown)

    def on_train_end(self, trainer: Run, pl_module: pl.LightningModule) -> None:  # type: ignore[override]
        self._stop()

    def on_exception(  # type: ignore[override]
        self, trainer: Run, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            listen(None)
            self._doing("")
            self._bar.stop()
            self._bar = None


class _Bar(Progress):
    """Count and time left in a line of their own, which the bar leaves room for, and the text below."""

    def __init__(self, console: Console) -> None:
        kept = {"table_column": Column(no_wrap=True)}
        super().__init__(
            TextColumn("{task.description}", **kept),  # type: ignore[arg-type]
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            MofNCompleteColumn(**kept),  # type: ignore[arg-type]
            TimeRemainingColumn(elapsed_when_finished=True, **kept),  # type: ignore[arg-type]
            console=console,
            expand=True,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar, and its text where there is some."""
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            parts = [part for part in (task.fields.get("text"), task.fields.get("doing")) if part]
            if parts:
                yield Text("; ".join(parts))


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


def evaluation_text(line: Mapping[str, float]) -> str:
    """Says what an evaluation found, with its interval if it had episodes enough for one."""
    interval = ""
    if "eval/return_low" in line:
        interval = f" [{line['eval/return_low']:.1f}, {line['eval/return_high']:.1f}]"
    return f"eval return {line['eval/return']:.1f}{interval} over {counted(round(line.get('eval/episodes', 1)), 'episode')}"


def _total(trainer: Run, module: pl.LightningModule) -> int | None:
    if isinstance(module, Planner):
        return getattr(trainer.datamodule, "steps", None)
    return trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
