"""Lightning's own callbacks in our runs: honoured, or refused with what to use instead."""

from __future__ import annotations

from collections.abc import Iterable

from pytorch_lightning import callbacks as lightning
from pytorch_lightning.callbacks import Callback, EarlyStopping

from mbrl.errors import ConfigError
from mbrl.training.callbacks.run import Run

_CHECKPOINTS = "the run writes its own: trainer.keep_best keeps the best evaluation's, trainer.checkpoint_every the newest"
_UPDATES = "its learner and model step their own optimisers: set it on them (init_args)"
_PROGRESS = "set trainer.progress"
# what a planner's run would ignore: its one epoch has neither validation batches nor steps of Lightning's optimisers
_REFUSED: tuple[tuple[type[Callback], str], ...] = (
    (lightning.Checkpoint, _CHECKPOINTS),
    (lightning.GradientAccumulationScheduler, _UPDATES),
    (lightning.StochasticWeightAveraging, _UPDATES),
    (lightning.WeightAveraging, _UPDATES),
    (lightning.BatchSizeFinder, _UPDATES),
    (lightning.LearningRateFinder, _UPDATES),
    (lightning.LearningRateMonitor, _UPDATES),
    (lightning.ModelPruning, _UPDATES),
    (lightning.BaseFinetuning, _UPDATES),
)


def check_callbacks(callbacks: Iterable[Callback], *, online: bool) -> None:
    """Refuses callbacks that this kind of run would not honour.

    Args:
        callbacks: the user's.
        online: whether a planner trains (else a dynamics model alone, by Lightning's epochs).

    Raises:
        ConfigError: naming what to use instead.
    """
    for callback in callbacks:
        name = type(callback).__name__
        if isinstance(callback, lightning.ProgressBar):
            raise ConfigError(f"trainer.callbacks: expected no other progress than the run's, got {name}; {_PROGRESS}.")
        if not online:
            continue
        for refused, replacement in _REFUSED:
            if isinstance(callback, refused):
                raise ConfigError(f"trainer.callbacks: expected what a planner's run can honour, got {name}; {replacement}.")
        if isinstance(callback, EarlyStopping):
            if callback._check_on_train_epoch_end:
                raise ConfigError(
                    "trainer.callbacks: expected EarlyStopping to look at evaluations, got check_on_train_epoch_end: true, "
                    "whose one epoch is the whole run; leave it out."
                )
            callback._check_on_train_epoch_end = False  # or it would decide for the epoch's end by itself


def tell_callbacks(run: Run, callbacks: Iterable[Callback]) -> None:
    """Has the user's callbacks look at an evaluation, as after a validation of Lightning's.

    Raises:
        ConfigError: if one stops early by a metric that no evaluation has.
    """
    for callback in callbacks:
        if isinstance(callback, EarlyStopping) and callback.strict and callback.monitor not in run.callback_metrics:
            names = ", ".join(sorted(name for name in run.callback_metrics if not name.startswith("time/")))
            raise ConfigError(f"EarlyStopping.monitor: expected one of {names}, got {callback.monitor!r}; choose one.")
        callback.on_validation_end(run, run.lightning_module)  # type: ignore[arg-type]
