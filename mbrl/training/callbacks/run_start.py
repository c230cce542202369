"""`RunStart`: tells the run folder that every part was made and training begins."""

from __future__ import annotations

import pytorch_lightning as pl

from mbrl.training.callbacks.run import Run


class RunStart(pl.Callback):
    """Has the first files written only now, so that a run that failed to start leaves its folder free.

    Those of a resumed run wait until the checkpoint was restored, so that one that can't be resumed keeps what it has.
    """

    def on_fit_start(self, trainer: Run, pl_module: pl.LightningModule) -> None:  # type: ignore[override]
        if trainer.ckpt_path is None:
            trainer.begin()

    def on_train_start(self, trainer: Run, pl_module: pl.LightningModule) -> None:  # type: ignore[override]
        trainer.begin()
