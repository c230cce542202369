"""`RunStart`: tells the run folder that every part was made and training begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytorch_lightning as pl

if TYPE_CHECKING:
    from mbrl.training.run_trainer import RunTrainer


class RunStart(pl.Callback):
    """Has the first files written only now, so that a run that failed to start leaves its folder free."""

    def on_fit_start(self, trainer: RunTrainer, pl_module: pl.LightningModule) -> None:  # type: ignore[override]
        trainer.begin()
