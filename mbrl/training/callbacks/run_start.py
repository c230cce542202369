"""`RunStart`: tells the run folder that every part was made and training begins."""

from __future__ import annotations

import pytorch_lightning as pl

from mbrl.training.callbacks.run import Run


class RunStart(pl.Callback):
    """Has the first files written only now, when all parts are made and a checkpoint is read whole.

    So a run that failed to start leaves its folder free, and one that can't be resumed keeps what it has.
    """

    def on_train_start(self, trainer: Run, pl_module: pl.LightningModule) -> None:  # type: ignore[override]
        trainer.begin()
