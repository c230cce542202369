"""`ModelModule`: a dynamics model as the LightningModule of `mbrl fit`, `test` and `predict` of a model alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from mbrl.data import (
    Prediction,
    TaskBound,
    Transitions,
    ValueFunction,
    check_same_task,
    float32_by_default,
    make_generator,
)
from mbrl.errors import ConfigError, DivergedError, MbrlWarning
from mbrl.models.fitting.fitted_rows import FittedRows
from mbrl.parts import load_states_of_parts, states_of_parts
from mbrl.spec import Configurable

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


class ModelModule(TaskBound, Configurable, pl.LightningModule):
    """Hooks with which Lightning runs a dynamics model by itself on the rows of a DataModule.

    The DataModule has `task`, `seed` and `transitions`, and leaves its loaders to the model (`OfflineData` does so). A fit
    is one `refit` on all rows, in one epoch, after which nothing is left to do; `GradientModel` takes minibatches instead.
    The rows of that refit are `precise_transitions` where the DataModule has them.

    Attributes:
        seed: of the run, and of the parameters.
        fitted_to: the rows that Lightning fitted it to, None before.
    """

    seed: int = 0
    fitted_to: FittedRows | None = None
    _holdout: Mapping[str, Any] = {}
    _scores: list[tuple[Tensor, int]]
    _val_batches: int | float | None = None  # the Trainer's limit, where a fit does without validation
    score_name: str = "holdout_mse"  # of the metric of `score` on held-out rows, while it is fitted

    # what a dynamics model has, see there
    build: Callable[..., None]
    make_optimizers: Callable[[], list[Optimizer]]
    refit: Callable[..., dict[str, float | Tensor]]
    predict_rows: Callable[[Transitions], Prediction]
    score: Callable[..., Tensor]

    @property
    def _data(self) -> Any:
        return self.trainer.datamodule  # type: ignore[attr-defined]

    @property
    def fit_value(self) -> ValueFunction | None:
        """The value function of a fit that Lightning runs (`Trainer(value_from=…)`), or None."""
        return getattr(self.trainer, "value", None)

    # life ------------------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Builds for the DataModule's task; a model that was built already must have been built for the same."""
        data = self._data
        if data is None and stage != "fit":  # the caller brings loaders
            return
        if not hasattr(data, "transitions"):
            raise ConfigError(
                f"{type(self).__name__}: expected a data module with recorded rows (mbrl.envs.OfflineData), got "
                f"{'none' if data is None else type(data).__name__}; give one, or give the model to a planner."
            )
        if self.task is None:
            self.build(data.task, data.seed)
        else:
            check_same_task(self.task, data.task, type(self).__name__)

    def configure_optimizers(self) -> list[Optimizer]:
        """Hands the optimisers to Lightning, which saves and restores them."""
        return self.make_optimizers()

    def on_fit_start(self) -> None:
        """Tells Lightning that there is one epoch, no loss to descend, and no holdout."""
        self.automatic_optimization = False
        self.fitted_to = FittedRows.of(self._data.transitions, self._data.seed)
        self.trainer.fit_loop.max_epochs = 1
        self._skip_validation()

    def _skip_validation(self) -> None:
        """Spares this fit its validation: an empty loader would make Lightning warn."""
        self._val_batches, self.trainer.limit_val_batches = self.trainer.limit_val_batches, 0

    def on_fit_end(self) -> None:
        """Gives the Trainer its validation back."""
        if self._val_batches is not None:
            self.trainer.limit_val_batches, self._val_batches = self._val_batches, None

    # loaders ---------------------------------------------------------------------------------------------------------

    def train_dataloader(self) -> Batches:
        """All rows in one batch, with all the digits that the data have."""
        data = self._data
        return Batches(lambda: iter((getattr(data, "precise_transitions", data.transitions),)), 1)

    def val_dataloader(self) -> Batches:
        """All rows, in their order; a fit that holds none out doesn't ask."""
        return in_order(self._data.transitions)

    predict_dataloader = val_dataloader

    def test_dataloader(self) -> Batches:
        """All rows in their order, but for those that the model was fitted to.

        Raises:
            ConfigError: if no others are there.
        """
        rows = self._data.transitions
        unseen = rows if self.fitted_to is None else self.fitted_to.unseen(rows)
        who, advice = type(self).__name__, "give a dataset of its own (mbrl test --ckpt_path RUN --dataset FILE, or data)"
        if unseen is None:
            raise ConfigError(f"test of {who}: expected rows that it wasn't fitted to, got only rows of its fit; {advice}.")
        if len(unseen) < len(rows):
            warnings.warn(
                f"test of {who}: it trained on {len(rows) - len(unseen)} of these {len(rows)} rows and is tested on the "
                f"other {len(unseen)}, which flatters it where its fit held them out to choose its weights; {advice}.",
                MbrlWarning,
                2,
            )
        return in_order(unseen)

    # steps -----------------------------------------------------------------------------------------------------------

    def training_step(self, batch: Transitions, batch_idx: int) -> Tensor | None:
        """Fits to all rows, and logs what `refit` returns."""
        generator = make_generator("cpu", self._data.seed, "dynamics", "fit")
        for name, value in self.refit(batch, generator, self.fit_value).items():
            number = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float32)
            refuse_divergence(self, number, name)
            self.log_epoch(f"model/{name}", number)
        return None

    def log_epoch(self, name: str, value: float | Tensor, rows: int = 1) -> None:
        """Logs a number that counts once an epoch, as the mean over its batches.

        In a fit a Trainer that tells its loggers itself (`writes_lines`), on one clock, isn't told by Lightning a second
        time, which counts updates.

        Args:
            name: of the metric.
            value: of this batch.
            rows: weight of this batch in the mean.
        """
        tells = False if self.trainer.state.fn == "fit" and getattr(self.trainer, "writes_lines", False) else None
        with float32_by_default():  # the dtype of Lightning's sums
            self.log(name, value, on_step=False, on_epoch=True, logger=tells, batch_size=rows, sync_dist=True)

    def validation_step(self, batch: Transitions, batch_idx: int) -> None:
        """Adds the members' errors on a batch of rows."""
        if batch_idx == 0:
            self._scores = []
        self._scores.append((self.score(batch, self.fit_value), len(batch)))

    test_step = validation_step

    def predict_step(self, batch: Transitions, batch_idx: int = 0) -> dict[str, Tensor]:
        """The all-member prediction, `E x B x …` each, by the names of `Prediction`."""
        return {name: value for name, value in vars(self.predict_rows(batch)).items() if isinstance(value, Tensor)}

    def on_validation_epoch_end(self) -> None:
        """Logs the error over the rows, mean of the members."""
        name = "holdout_mse" if self.fit_value is None else self.score_name
        self.log_epoch(f"model/{name}", self.mean_scores().mean().float())

    def on_test_epoch_end(self) -> None:
        """Logs the error over the rows, mean and best of the members, and their number."""
        scores = self.mean_scores()
        self.log_epoch("test/mse", scores.mean().float())
        self.log_epoch("test/best_member_mse", scores.min().float())
        self.log_epoch("test/rows", float(sum(n for _, n in self._scores)))

    def mean_scores(self) -> Tensor:
        """The error of each member over the batches of an evaluation, `E` float64."""
        total = sum((score.double() * n for score, n in self._scores), torch.zeros((), dtype=torch.float64))
        return total / sum(n for _, n in self._scores)

    # checkpoint ------------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the spec, the task, the seed and the parts' states, as tensors and plain data."""
        checkpoint["mbrl"] = {
            "kind": "model",
            "spec": self.spec,
            "task": self.built_task.to_plain(),
            "seed": self.seed,
            "env_steps": 0,
            "threads": torch.get_num_threads(),
            "parts": states_of_parts(self),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continues with the seed and the parts of the checkpoint; all else is in the state dict."""
        self.seed = checkpoint["mbrl"]["seed"]
        fitted_to = checkpoint.get("mbrl_run", {}).get("fitted_to")  # of a run of our Trainer
        about = {"seed": self.seed, **self._holdout}  # of a checkpoint that doesn't say
        self.fitted_to = FittedRows(**{**about, **fitted_to}) if fitted_to else None
        load_states_of_parts(self, checkpoint["mbrl"].get("parts", {}))


def refuse_divergence(model: Any, value: Tensor, what: str) -> None:
    """Stops a fit whose numbers are no longer finite; reads one number back.

    Raises:
        DivergedError: saying what to do.
    """
    if not bool(torch.isfinite(value).all()):
        raise DivergedError(
            f"{type(model).__name__}: expected a finite {what}, got {value.tolist()}; the fit has diverged: "
            f"{'lower lr, or ' if model.fitting == 'gradient' else ''}look for outliers in the data."
        )


def in_order(rows: Transitions) -> Batches:
    """Rows in batches, in their order."""
    starts = range(0, len(rows), _SCORE_ROWS)
    return Batches(lambda: (rows.select(slice(i, i + _SCORE_ROWS)) for i in starts), len(starts))
