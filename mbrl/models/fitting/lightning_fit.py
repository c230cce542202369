"""`LightningFit`: a gradient model as the LightningModule of `mbrl fit`, with Lightning's own clock and optimisation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mbrl.data import Transitions, ValueFunction, check_same_task, make_generator
from mbrl.errors import ConfigError, DivergedError
from mbrl.models.base import DynamicsModel
from mbrl.models.fitting.fit_run import FitRun

_SCORE_ROWS = 4096  # rows in a validation batch


class Batches:
    """A loader over what `make` yields, each time anew.

    Args:
        make: starts an iteration.
        length: its number of batches.
    """

    def __init__(self, make: Callable[[], Iterator[Transitions]], length: int) -> None:
        self._make = make
        self._length = length

    def __iter__(self) -> Iterator[Transitions]:
        return self._make()

    def __len__(self) -> int:
        return self._length


class LightningFit(DynamicsModel):
    """Hooks for training a model by itself on the rows of a DataModule.

    The DataModule has `task`, `seed` and `transitions`, and its loaders hand on those of the model, which knows its members
    and its holdout (`OfflineData` does so).

    Batches, split, early stopping, best weights and elites are those of a planner's refit. An epoch is one pass over the
    training rows. The optimiser, the kept weights and the order of rows are in the checkpoint, so an interrupted fit goes
    on as if nothing had happened. Under DDP every process computes its share of each batch and the whole holdout.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seed = 0
        self._fit_run: FitRun | None = None
        self._pending: dict[str, Any] | None = None  # a checkpoint's fit, until its rows are there
        self._scores: list[tuple[Tensor, int]] = []

    @abstractmethod
    def begin_fit(self, rows: Transitions, generator: torch.Generator) -> FitRun:
        """Prepares a fit to `rows` (`N`)."""

    @abstractmethod
    def end_fit(self, run: FitRun) -> Tensor | None:
        """Keeps the best weights; returns the members' final scores (`E`), None without a holdout."""

    @abstractmethod
    def loss(self, batch: Transitions, value: ValueFunction | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of `E x B` transitions, and metrics."""

    @abstractmethod
    def score(self, rows: Transitions) -> Tensor:
        """The error of each member on `B` rows, `E`."""

    # life --------------------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Builds for the DataModule's task; a model that was built already must have been built for the same."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is not None and not hasattr(data, "transitions"):
            raise ConfigError(
                f"{type(self).__name__}: expected a data module with recorded rows (mbrl.envs.OfflineData), got "
                f"{type(data).__name__}; give one, or give the model to a planner, which collects its own."
            )
        if self.task is None and data is not None:
            self.build(data.task, data.seed)
        elif data is not None:
            check_same_task(self.built_task, data.task, type(self).__name__)

    def configure_optimizers(self) -> list[Optimizer]:
        """Hands the optimiser to Lightning, which steps, saves and restores it."""
        return self.make_optimizers()

    def on_fit_start(self) -> None:
        """Splits the rows; of a resumed fit, goes on with its kept weights and its order."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is None:
            raise ConfigError(
                f"{type(self).__name__}: expected a DataModule with task, seed and transitions, got none; pass "
                "datamodule=OfflineData(...) to fit."
            )
        generator = make_generator("cpu", data.seed, "dynamics", "fit")
        self._fit_run = self.begin_fit(data.transitions, generator)
        if self._pending is not None:
            self._fit_run.load_state_dict(self._pending)
            self._pending = None
        elif self._fit_run.holdout is not None and self._fit_run.best.needs_start:
            self._fit_run.best.begin(self.score(self._fit_run.holdout))

    # loaders -----------------------------------------------------------------------------------------------------------

    def train_dataloader(self) -> Batches:
        """One epoch of member batches, each process its share."""
        run, trainer = self._running(), self.trainer
        return Batches(lambda: run.epoch(trainer.global_rank, trainer.world_size), len(run.batches))

    def val_dataloader(self) -> Batches | list[Any]:
        """The held-out rows while fitting, all rows otherwise."""
        if self._fit_run is None:
            return self.test_dataloader()
        return [] if self._fit_run.holdout is None else _in_order(self._fit_run.holdout)

    def test_dataloader(self) -> Batches:
        """All rows."""
        rows: Transitions = self.trainer.datamodule.transitions  # type: ignore[attr-defined]
        return _in_order(rows)

    def predict_dataloader(self) -> Batches:
        """All rows."""
        return self.test_dataloader()

    # steps -------------------------------------------------------------------------------------------------------------

    def training_step(self, batch: Transitions, batch_idx: int) -> Tensor:
        """The loss that a planner's `update` descends."""
        loss, metrics = self.loss(batch)
        for name, value in {"loss": loss.detach(), **metrics}.items():
            self.log(f"model/{name}", value, batch_size=batch.batch_shape[-1])
        return loss

    def validation_step(self, batch: Transitions, batch_idx: int) -> None:
        """Adds the members' errors on a batch of held-out rows."""
        self._scores.append((self.score(batch), len(batch)))

    def test_step(self, batch: Transitions, batch_idx: int) -> None:
        """Adds the members' errors on a batch of rows."""
        self._scores.append((self.score(batch), len(batch)))

    def predict_step(self, batch: Transitions, batch_idx: int) -> dict[str, Tensor]:
        """The all-member prediction, `E x B x …` each, by the names of `Prediction`."""
        prediction = self.predict(batch.obs, batch.action)
        return {name: value for name, value in vars(prediction).items() if value is not None}

    def on_validation_epoch_end(self) -> None:
        """Logs the holdout error; stops the fit when the rule says so."""
        scores = self._mean_scores()
        self.log("model/holdout_mse", scores.mean().float())
        run = self._fit_run
        if run is None or self.trainer.sanity_checking:
            return
        refuse_divergence(self, scores, "holdout error")
        if run.best.update(scores):
            self.trainer.should_stop = True

    def on_test_epoch_end(self) -> None:
        """Logs the error over all rows, mean and best of the members."""
        scores = self._mean_scores()
        self.log("test/mse", scores.mean().float())
        self.log("test/best_member_mse", scores.min().float())

    def on_train_epoch_end(self) -> None:
        """Restores the best weights after the last epoch, before checkpoints of it are written."""
        trainer = self.trainer
        epochs, steps = trainer.max_epochs, trainer.max_steps
        last = epochs is not None and 0 <= epochs <= trainer.current_epoch + 1
        if last or trainer.should_stop or 0 <= steps <= trainer.global_step:
            self.on_train_end()

    def on_train_end(self) -> None:
        """Restores the best weights and chooses the elites, once."""
        run, self._fit_run = self._fit_run, None
        if run is not None:
            self.end_fit(run)

    def _running(self) -> FitRun:
        assert self._fit_run is not None, "Lightning calls on_fit_start before it asks for loaders"
        return self._fit_run

    def _mean_scores(self) -> Tensor:
        total = sum((score.double() * n for score, n in self._scores), torch.zeros(()))
        rows = sum(n for _, n in self._scores)
        self._scores = []
        return total / rows  # E

    # checkpoint --------------------------------------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Any]:
        """The state of an unfinished fit: kept weights, bests, the order's generator. Empty between fits."""
        if self._fit_run is not None:
            return {"fit": self._fit_run.state_dict()}
        return {} if self._pending is None else {"fit": self._pending}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Keeps the state of an unfinished fit until its rows are there."""
        self._pending = state.get("fit")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the spec, the task and the seed, as plain data."""
        checkpoint["mbrl"] = {
            "kind": "model",
            "spec": self.spec,
            "task": self.built_task.to_plain(),
            "seed": self.seed,
            "env_steps": 0,
            "threads": torch.get_num_threads(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continues with the seed of the checkpoint; all else is in the state dict."""
        self.seed = checkpoint["mbrl"]["seed"]


def refuse_divergence(model: DynamicsModel, value: Tensor, what: str) -> None:
    """Stops a fit whose numbers are no longer finite; reads one number back.

    Raises:
        DivergedError: saying what to do.
    """
    if not bool(torch.isfinite(value).all()):
        raise DivergedError(
            f"{type(model).__name__}: expected a finite {what}, got {value.tolist()}; the fit has diverged: lower lr, or "
            "look for outliers in the data."
        )


def _in_order(rows: Transitions) -> Batches:
    starts = range(0, len(rows), _SCORE_ROWS)
    return Batches(lambda: (rows.select(slice(i, i + _SCORE_ROWS)) for i in starts), len(starts))
