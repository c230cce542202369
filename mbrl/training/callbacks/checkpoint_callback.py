"""`CheckpointCallback`: decides when a run writes a checkpoint, and adds the run's own state to it."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from mbrl.envs import OfflineData
from mbrl.envs.planner_data import PlannerData
from mbrl.errors import EnvironmentFailedError
from mbrl.models import DynamicsModel
from mbrl.names import class_path
from mbrl.planners import Planner
from mbrl.training.best_checkpoint import best_return, keep_if_best
from mbrl.training.callbacks.run import Run
from mbrl.training.checkpoint import checkpoint_folders
from mbrl.training.reached_checkpoints import keep_reached, kept_at, reaches


class CheckpointCallback(Checkpoint):
    """Writes `checkpoints/ckpt-<clock>`, by a planner's clock or a model's epochs, and keeps the newest.

    Args:
        every: steps of a planner's clock between checkpoints; a kill loses about that many. Epochs are written each.
        min_ratio: a checkpoint waits until this many times the duration of the last write has passed, so that writing
            costs at most 1 / `min_ratio` of the run; 0 never waits.
        keep_best: whether to write one at each evaluation that is the best so far, and to keep it (`best_checkpoint`).
        keep_at: mean returns, rising; whether to write one at the first evaluation that reaches each, and to keep it
            (`reached_checkpoints`).
    """

    def __init__(self, every: int, min_ratio: float, keep_best: bool = False, keep_at: Sequence[float] = ()) -> None:
        self.every = every
        self.min_ratio = min_ratio
        self.keep_best = keep_best
        self.keep_at = keep_at
        self._saved = 0  # position of the newest checkpoint
        self._ended = 0.0  # when writing it ended
        self._duration = 0.0  # and how long it took

    @property
    def keeps(self) -> str | None:
        """The setting by which checkpoints are kept for what their evaluations returned; None where there is none."""
        return "keep_best" if self.keep_best else "keep_at" if self.keep_at else None

    # when ------------------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Run, pl_module: pl.LightningModule) -> None:  # type: ignore[override]
        self._saved = position(trainer, pl_module)
        if self.keeps and trainer.is_global_zero:
            if self._is_kept(trainer):  # a cut evaluation was made up for
                self.save(trainer, pl_module)
            self._keep(trainer.run_folder)  # a kill may have come between the checkpoint and this

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Run, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not isinstance(pl_module, Planner):
            return
        steps = pl_module.clock - self._saved
        waited = time.perf_counter() - self._ended >= self.min_ratio * self._duration
        signal = trainer.stop_signal
        due = trainer.is_last_batch or trainer.should_stop or signal or (steps >= self.every and waited)
        if steps and (due or self._is_kept(trainer)):
            self.save(trainer, pl_module)
        if signal:
            raise SystemExit(128 + signal)

    def on_train_epoch_end(self, trainer: Run, pl_module: pl.LightningModule) -> None:  # type: ignore[override]
        if not isinstance(pl_module, Planner):
            self.save(trainer, pl_module)

    def on_exception(  # type: ignore[override]
        self, trainer: Run, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        # SIGTERM may come between the end of a tick and Lightning's own look at it; the tick is whole all the same. One in
        # which the environment failed is undone, and nothing happened since the last whole one.
        between = isinstance(exception, (SIGTERMException, EnvironmentFailedError)) and isinstance(pl_module, Planner)
        if between and position(trainer, pl_module) > self._saved:
            self.save(trainer, pl_module)
        if between and isinstance(exception, EnvironmentFailedError) and self._saved:
            trainer.say(f"a checkpoint holds all that was stepped, up to {self._saved}: resume with --ckpt_path last")

    def on_train_end(self, trainer: Run, pl_module: pl.LightningModule) -> None:  # type: ignore[override]
        places = [kept_at(trainer.run_folder, each) for each in self.keep_at]
        missed = [place.name.removeprefix("return-") for place in places if not place.exists()]
        if missed:
            trainer.say(f"trainer.keep_at: no evaluation reached a return of {' or '.join(missed)}")

    def _is_kept(self, trainer: Run) -> bool:
        """Tells whether an evaluation at this step makes its checkpoint one to keep."""
        found, folder = trainer.evaluation, trainer.run_folder
        if found is None:
            return False
        return (self.keep_best and found > best_return(folder)) or bool(reaches(folder, self.keep_at, found))

    def _keep(self, run: Path) -> None:
        if self.keep_best:
            keep_if_best(run)
        if self.keep_at:
            keep_reached(run, self.keep_at)

    def save(self, trainer: Run, pl_module: pl.LightningModule) -> None:
        """Writes a checkpoint now, then removes the older ones."""
        began = time.perf_counter()
        now = position(trainer, pl_module)
        folder = trainer.run_folder / "checkpoints" / f"ckpt-{now}"
        trainer.metrics_file.sync()
        trainer.save_checkpoint(folder, weights_only=False)
        if trainer.is_global_zero:
            self._keep(trainer.run_folder)
            for older in checkpoint_folders(trainer.run_folder):
                if older != folder:
                    trainer.strategy.remove_checkpoint(older)
        self._saved, self._ended = now, time.perf_counter()
        self._duration = self._ended - began

    @staticmethod
    def _references(module: pl.LightningModule, data: Any) -> dict[str, Any] | None:
        """Returns between which a planner's scores are normalised, so that its test needs no dataset; None without any."""
        found = data.references if isinstance(module, Planner) and isinstance(data, PlannerData) else None
        return None if found is None else asdict(found)

    # what ------------------------------------------------------------------------------------------------------------

    def on_save_checkpoint(  # type: ignore[override]
        self, trainer: Run, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        data = trainer.datamodule
        fitted_to = pl_module.fitted_to if isinstance(pl_module, DynamicsModel) else None
        checkpoint["mbrl_run"] = {
            "clock": trainer.metrics_file.clock,
            "position": position(trainer, pl_module),
            "class_path": class_path(type(pl_module)),
            "model": pl_module.spec,
            "data": data.spec,
            "knows_rows": isinstance(data, OfflineData),  # by its state, which a resume compares wherever they lie by then
            "references": self._references(pl_module, data),
            "fitted_to": None if fitted_to is None else fitted_to.to_plain(),
            "trainer": trainer.computing,
            "threads": torch.get_num_threads(),
            # a run that met its goal stays ended, whatever happens to it between here and its summary
            "ended": trainer.goal if trainer.should_stop else None,
            "eval_return": trainer.evaluation,
            "eval_episodes": trainer.evaluation_episodes,
            "versions": {
                "python": platform.python_version(),
                "torch": str(torch.__version__),
                "pytorch-lightning": pl.__version__,
                "gymnasium": gymnasium.__version__,
            },
        }


def position(trainer: Run, module: pl.LightningModule) -> int:
    """The position of a run on its clock: a planner's own, or whole epochs of a model fitted alone."""
    if isinstance(module, Planner):
        return module.clock
    return int(trainer.fit_loop.epoch_progress.current.processed)
