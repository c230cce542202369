"""`Run`: everything that a callback may ask of a run, so that callbacks needn't know the Trainer that makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pytorch_lightning.loggers import Logger

from mbrl.training.metrics_file import MetricsFile


class Run(Protocol):
    """A run in its folder; `RunTrainer` is one.

    Attributes:
        datamodule: what it trains on.
        metrics_file: its `metrics.jsonl`.
        checkpointing: what writes its checkpoints.
        computing: the Trainer's flags that change numbers.
        should_stop: whether it ends after this step; a callback may ask for that.
        ckpt_path: the checkpoint that it goes on from, None for a run from the start.
        fit_loop: Lightning's loop, which counts the epochs of a model fitted alone.
    """

    datamodule: Any
    metrics_file: MetricsFile
    checkpointing: Any
    computing: dict[str, Any]
    should_stop: bool
    ckpt_path: Any
    fit_loop: Any

    @property
    def strategy(self) -> Any:
        """Lightning's strategy, which removes checkpoints."""

    @property
    def run_folder(self) -> Path:
        """The folder with its files."""

    @property
    def goal(self) -> dict[str, Any]:
        """The settings that may end it before its last step."""

    @property
    def evaluation(self) -> float | None:
        """The mean return of an evaluation at this very step; None if there was none."""

    @property
    def evaluation_episodes(self) -> int | None:
        """Real episodes of all evaluations so far, of a planner that learns from a dataset; None of others."""

    @property
    def lightning_module(self) -> Any:
        """The planner or model that it trains."""

    @property
    def stop_signal(self) -> int:
        """The signal that asked it to end after this step, or 0."""

    @property
    def is_global_zero(self) -> bool:
        """True in the process that writes."""

    @property
    def is_last_batch(self) -> bool:
        """True at the last step."""

    @property
    def current_epoch(self) -> int:
        """The epoch, from 0."""

    @property
    def max_epochs(self) -> int | None:
        """Epochs of a model fitted alone; None or -1 for no limit."""

    @property
    def callback_metrics(self) -> Any:
        """Metrics that the module logged (`self.log`)."""

    @property
    def loggers(self) -> Sequence[Logger]:
        """Loggers beside `metrics_file`."""

    def begin(self) -> None:
        """Writes the first files."""

    def save_checkpoint(self, filepath: Path, weights_only: bool) -> None:
        """Writes a checkpoint."""

    def write_line(self, position: int, line: Mapping[str, float]) -> None:
        """Writes a metric line."""

    def evaluated(self) -> None:
        """Has callbacks look at an evaluation, whose line is written."""

    def say(self, text: str) -> None:
        """Writes one line for the user."""
