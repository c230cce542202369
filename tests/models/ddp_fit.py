"""Fits a small ensemble in one process and in two, and writes the weights of every rank; run by test_lightning_fit."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.models.fitting.test_lightning_fit import Rows, ensemble, trainer, weights
from tests.models.linear_task import TASK, linear_rows


class Gather(pl.Callback):
    """Writes what each rank ends with."""

    def __init__(self, path: Path, start: torch.Tensor) -> None:
        self.path = path
        self.start = start

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        all_weights = trainer.strategy.all_gather(weights(pl_module)).view(trainer.world_size, -1)  # type: ignore[arg-type]
        all_elites = trainer.strategy.all_gather(pl_module.drawn_members).view(trainer.world_size, -1)  # type: ignore[arg-type, union-attr]
        if trainer.global_rank == 0:
            found = {"start": self.start}
            for rank in range(trainer.world_size):
                found[f"rank{rank}"], found[f"elites{rank}"] = all_weights[rank].clone(), all_elites[rank].clone()
            torch.save(found, self.path)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")  # Lightning's own about forks; this file checks numbers
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for name, options in (("one", {"devices": 1}), ("two", {"devices": 2, "strategy": "ddp_fork"})):
        model = ensemble(stopping="mbrl-lib")
        model.build(TASK, seed=3)
        gather = Gather(folder / f"{name}.pt", weights(model).clone())
        trainer(folder, max_epochs=3, callbacks=[gather], **options).fit(model, datamodule=Rows(linear_rows(160)))
