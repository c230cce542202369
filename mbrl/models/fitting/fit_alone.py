"""`FitAlone`: how Lightning fits a gradient model by itself, in minibatches, with its own clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mbrl.data import Transitions, make_generator
from mbrl.models.base import DynamicsModel
from mbrl.models.fitting.fit_run import FitRun
from mbrl.models.fitting.fitted_rows import FittedRows
from mbrl.models.model_module import Batches, in_order


class FitAlone(DynamicsModel):
    """Lightning's hooks of a gradient model; all that they run is the model's own, as in a planner."""

    _fit_run: FitRun | None = None  # of a fit that Lightning runs
    _pending: dict[str, Any] | None = None  # a checkpoint's fit, until its rows are there

    # what a gradient model has, see there
    max_epochs: int | None
    most_updates: Callable[[int], int | None]
    loss: Callable[..., tuple[Tensor, dict[str, Tensor]]]
    begin_fit: Callable[..., FitRun]
    end_fit: Callable[..., Tensor | None]
    after_update: Callable[[], None]
    explained: Callable[[Transitions], Tensor]
    fit_report: Callable[..., dict[str, float | Tensor]]
    judge: Callable[..., Tensor]
    _end_epoch: Callable[[FitRun, Tensor], bool]

    def on_fit_start(self) -> None:
        """Splits the rows; of a resumed fit, goes on with its kept weights and its order."""
        data = self._data
        value: Any = self.fit_value
        if isinstance(value, nn.Module):
            value.to(self.device)
        self.fitted_to = FittedRows.of(data.transitions, data.seed, **self._holdout)
        generator = make_generator("cpu", data.seed, "dynamics", "fit")
        self._fit_run = self.begin_fit(data.transitions, generator, self.fit_value)
        if self._pending is not None:
            self._fit_run.load_state_dict(self._pending)
            self._pending = None
        if self._fit_run.holdout is None:
            self._skip_validation()

    def train_dataloader(self) -> Batches:
        """One epoch of member batches, each process its share."""
        run, trainer = self._fit_run, self.trainer
        assert run is not None, "Lightning calls on_fit_start before it asks for loaders"
        return Batches(lambda: run.epoch(trainer.global_rank, trainer.world_size), len(run.batches))

    def val_dataloader(self) -> Batches:
        """The held-out rows during a fit, all rows otherwise."""
        if self._fit_run is None or self._fit_run.holdout is None:
            return super().val_dataloader()
        return in_order(self._fit_run.holdout)

    def training_step(self, batch: Transitions, batch_idx: int) -> Tensor:
        """The loss that `update` descends too."""
        loss, metrics = self.loss(batch, self.fit_value)
        for name, value in {"loss": loss.detach(), **metrics}.items():
            self.log_epoch(f"model/{name}", value, batch.batch_shape[-1])
        return loss

    def optimizer_step(self, *step: Any, **options: Any) -> None:
        """Lightning's step of the optimiser, and `after_update`."""
        super().optimizer_step(*step, **options)
        with torch.no_grad():
            self.after_update()

    def on_validation_epoch_end(self) -> None:
        """Logs the holdout error; stops the fit when the rule says so."""
        super().on_validation_epoch_end()
        if self._fit_run is not None and not self.trainer.sanity_checking:
            rows, scores = self._fit_run.holdout, self.mean_scores()
            if rows is not None:
                self.log_epoch("model/explained", self.explained(rows))
                for name, number in self.fit_report(self._fit_run).items():
                    self.log_epoch(f"model/{name}", number)
                scores = self.judge(scores, rows, self.fit_value)
            self.trainer.should_stop |= self._end_epoch(self._fit_run, scores)

    def on_train_batch_end(self, *batch: Any) -> None:
        """Stops at the model's own cap of updates."""
        run = self._fit_run
        most = None if run is None else self.most_updates(len(run))
        self.trainer.should_stop |= most is not None and self.trainer.global_step >= most

    def on_train_epoch_end(self) -> None:
        """Restores the best weights after the last epoch, before checkpoints of it are written."""
        trainer = self.trainer
        epoch, epochs, steps = trainer.current_epoch + 1, trainer.max_epochs, trainer.max_steps
        trainer.should_stop |= self.max_epochs is not None and self.max_epochs <= epoch
        # a stop that the Trainer's minimum holds back is not the end: epochs that follow would train over the best weights
        may_stop = epoch >= (trainer.min_epochs or 0) and trainer.global_step >= (trainer.min_steps or 0)
        last = epochs is not None and 0 <= epochs <= epoch
        if last or (trainer.should_stop and may_stop) or 0 <= steps <= trainer.global_step:
            self.on_train_end()

    def on_train_end(self) -> None:
        """Restores the best weights and chooses the elites, once."""
        run, self._fit_run = self._fit_run, None
        if run is not None:
            self.end_fit(run, self.fit_value)

    def get_extra_state(self) -> dict[str, Any]:
        """The state of an unfinished fit: kept weights, bests, the order's generator. Empty between fits."""
        if self._fit_run is not None:
            return {"fit": self._fit_run.state_dict()}
        return {} if self._pending is None else {"fit": self._pending}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Keeps the state of an unfinished fit until its rows are there."""
        self._pending = state.get("fit")
