"""`EpochLines`: one metric line per epoch when a dynamics model is fitted alone."""

from __future__ import annotations

import time

import pytorch_lightning as pl

from mbrl.planners import Planner
from mbrl.training.callbacks.run import Run


class EpochLines(pl.Callback):
    """Writes what the model logged over an epoch (`self.log`) as one line of `metrics.jsonl`."""

    def __init__(self) -> None:
        self._began = 0.0

    def on_train_epoch_start(self, trainer: Run, pl_module: pl.LightningModule) -> None:  # type: ignore[override]
        self._began = time.perf_counter()

    def on_train_epoch_end(self, trainer: Run, pl_module: pl.LightningModule) -> None:  # type: ignore[override]
        if isinstance(pl_module, Planner):
            return
        line = {name: float(value) for name, value in trainer.callback_metrics.items()}
        line["time/epoch_s"] = time.perf_counter() - self._began
        trainer.write_line(trainer.current_epoch, line)
