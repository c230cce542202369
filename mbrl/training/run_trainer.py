"""`RunTrainer`: Lightning's Trainer with one run folder, its own checkpoints, metric lines and clock."""

from __future__ import annotations

import math
import os
import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger

from mbrl.arguments import Count, NonNegative, checked
from mbrl.data import NormalizedScore
from mbrl.errors import ConfigError, shown
from mbrl.planners import Planner
from mbrl.policies import Learner
from mbrl.replacing import remove_unfinished
from mbrl.spec import Configurable, plain
from mbrl.training.callbacks.checkpoint_callback import CheckpointCallback
from mbrl.training.callbacks.epoch_lines import EpochLines
from mbrl.training.callbacks.lightning_callbacks import check_callbacks, tell_callbacks
from mbrl.training.callbacks.line_remarks import LineRemarks
from mbrl.training.callbacks.progress import ProgressCallback
from mbrl.training.callbacks.run_clock import RunClock
from mbrl.training.callbacks.run_start import RunStart
from mbrl.training.checkpoint import FolderCheckpointIO
from mbrl.training.flags import COMPUTING, check_flags, plainly, trainer_defaults
from mbrl.training.metrics_file import MetricsFile
from mbrl.training.output import quiet, say
from mbrl.training.reached_checkpoints import thresholds_of
from mbrl.training.run_folder import METRICS, check_name, folder_of_run, inside, make_folder, refuse_links, take_back
from mbrl.training.run_lock import held


class RunTrainer(pl.Trainer):
    """A Trainer with what every run has: a folder, a clock, metric lines, checkpoints, and flags that do what they say.

    Arguments and attributes are those of `Trainer`.
    """

    datamodule: Any  # Lightning sets it, and declares it nowhere
    writes_lines = True  # it tells loggers what a model logs, on the clock of `metrics_file`

    @checked
    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        name: str | None = None,
        variant: str | None = None,
        eval_every: Count = 1000,
        log_every: Count = 250,
        checkpoint_every: Count = 1000,
        checkpoint_min_ratio: NonNegative = 30.0,
        keep_best: bool = False,
        keep_at: Mapping[str, Any] | None = None,
        stop_at: float | None = None,
        stop_count: Count = 3,
        progress: bool = True,
        tensorboard: bool = True,
        value_from: str | os.PathLike[str] | None = None,
        threads: Count = 1,
        logger: Logger | list[Logger] | bool | None = None,
        callbacks: list[Callback] | Callback | None = None,
        **flags: Any,
    ) -> None:
        check_flags(flags, online=False)  # what no kind of run honours; a planner's own rules follow in `fit`
        if variant is not None and re.fullmatch(r"[\w.-]+", variant) is None:
            raise ConfigError(f"trainer.variant: expected letters, digits, dots and dashes, got {variant!r}.")
        for option, text in (("trainer.name", name), ("trainer.variant", variant)):
            if text is not None:
                check_name(option, text)
        if folder is not None and "\0" in os.fspath(folder):
            raise ConfigError(f"trainer.folder: expected a path, got {os.fspath(folder)!r}, which no system has; rename it.")
        if folder is not None and not os.fspath(folder).strip():  # an unset variable of a shell, say
            raise ConfigError(
                "trainer.folder: expected the path of a folder, got an empty one; leave it out, or give . for the current."
            )
        self.folder = None if folder is None else Path(folder)
        self.name = name
        self.variant = variant
        self.threads = threads
        self.tensorboard = tensorboard and logger is not False
        self.extra_loggers = list(logger) if isinstance(logger, Iterable) else [logger] if isinstance(logger, Logger) else []
        self.run_clock = RunClock(log_every, eval_every, stop_at, stop_count)
        self.checkpointing = CheckpointCallback(checkpoint_every, checkpoint_min_ratio, keep_best, thresholds_of(keep_at))
        self.progress = ProgressCallback() if progress else None
        self.checkpoint_io = FolderCheckpointIO()
        self.settings: dict[str, Any] = {
            "eval_every": eval_every,
            "log_every": log_every,
            "checkpoint_every": checkpoint_every,
            "checkpoint_min_ratio": checkpoint_min_ratio,
            "keep_best": keep_best,
            "keep_at": None if keep_at is None else {name: list(values) for name, values in keep_at.items()},
            "stop_at": stop_at,
            "stop_count": stop_count,
            "threads": threads,
            "tensorboard": tensorboard,
        }
        self.value_from = value_from
        self.value: Learner | None = None
        if value_from is not None:
            self.settings["value_from"] = os.fspath(value_from)
        self.given = {flag: value for flag, value in flags.items() if value != trainer_defaults()[flag]}
        self.computing = {flag: plain(flags.get(flag, trainer_defaults()[flag]), f"trainer.{flag}") for flag in COMPUTING}
        self.bf16 = flags.get("precision") == "bf16-mixed"
        self._run_folder: Path | None = None
        self.loaded_from: Path | None = None  # the checkpoint of a model that is handed over with its parameters
        self.tested: Path | None = None  # the checkpoint that the last evaluation was of
        self.references: NormalizedScore | None = None  # between which the last test was scored
        self._interrupted = False
        self._begin: Callable[[], None] | None = None
        self.hyperparameters: dict[str, Any] = {}  # what `config.yaml` says, for loggers
        self._remarks = LineRemarks()
        self.allow: Sequence[str] = ()
        own = [RunStart(), self.run_clock, EpochLines(), *([self.progress] if self.progress else []), self.checkpointing]
        user = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
        self.user_callbacks = user
        check_callbacks(user, online=False)
        # callbacks and loggers as plain data, for config.yaml; the command line, which made them from some, knows them all
        self.described: dict[str, Any] = {
            name: specs
            for name, parts in (("callbacks", user), ("logger", self.extra_loggers))
            if (specs := [part.spec for part in parts if isinstance(part, Configurable)])
        }
        flags["precision"] = "32-true"
        flags["enable_progress_bar"] = False
        flags["enable_model_summary"] = bool(flags.get("enable_model_summary"))  # off unless asked for
        flags["devices"] = 1 if flags.get("devices", "auto") == "auto" else flags["devices"]
        flags["plugins"] = [*_as_list(flags.get("plugins")), self.checkpoint_io]
        with quiet("pytorch_lightning"), plainly(flags):
            super().__init__(logger=False, callbacks=[*user, *own], **flags)
        profiler: Any = getattr(self, "profiler", None)
        if getattr(profiler, "filename", "") is None:  # Lightning would log its table, where nobody shows it
            profiler._write_stream = say

    # the run ---------------------------------------------------------------------------------------------------------

    @property
    def run_folder(self) -> Path:
        """The folder with the run's files.

        Raises:
            ConfigError: before `fit`, `validate` or `test` has chosen it.
        """
        if self._run_folder is None:
            raise ConfigError("Trainer.run_folder was used before fit, which chooses it; pass folder=… to know it earlier.")
        return self._run_folder

    @property
    def log_dir(self) -> str | None:
        """The run folder, for callbacks that write files."""
        return None if self._run_folder is None else str(self._run_folder)

    @property
    def stop_signal(self) -> int:
        """The signal that asked the run to end after this step, or 0."""
        if self._interrupted:
            return int(signal.SIGINT)
        return int(signal.SIGTERM) if self.received_sigterm else 0

    @property
    def goal(self) -> dict[str, Any]:
        """Settings that end a run before its last step."""
        return {"stop_at": self.run_clock.stop_at, "stop_count": self.run_clock.stop_count, "max_epochs": self.max_epochs}

    def begin(self) -> None:
        """Writes what a run's folder holds from its start on; called once all parts are made, so that none can fail."""
        if self._begin is not None and self.is_global_zero:
            self._begin()
            for logger in self.loggers:
                logger.log_hyperparams(self.hyperparameters)
        self._begin = None

    @property
    def evaluation(self) -> float | None:
        """The mean return of an evaluation at this very step of a planner's run; None if there was none."""
        planner, clock = self.lightning_module, self.run_clock
        there = isinstance(planner, Planner) and planner.clock == clock.evaluated_at
        return clock.last_return if there and math.isfinite(clock.last_return) else None

    @property
    def evaluation_episodes(self) -> int | None:
        """Real episodes of all evaluations so far, of a planner that learns from a dataset; None of others."""
        planner = self.lightning_module
        offline = isinstance(planner, Planner) and planner.learns_from == "dataset"
        return self.run_clock.evaluation_episodes if offline else None

    def evaluated(self) -> None:
        """Has the user's callbacks look at an evaluation, such as Lightning's `EarlyStopping`."""
        tell_callbacks(self, self.user_callbacks)

    def write_line(self, position: int, line: Mapping[str, float]) -> None:
        """Writes a metric line to `metrics.jsonl` and to every logger, and shows it."""
        if self.is_global_zero:
            self.metrics_file.append({self.metrics_file.clock: position, **line})
        for logger in self.loggers:
            logger.log_metrics(dict(line), step=position)
        if isinstance(self.lightning_module, Planner):  # what a model alone logs is there already
            self.callback_metrics.update(
                {name: torch.tensor(float(value), dtype=torch.float64) for name, value in line.items()}
            )
        if self.progress is not None and self.is_global_zero and self.lightning_module is not None:
            self.progress.show(self, self.lightning_module, line)
        for sentence in self._remarks.of(line, f"{self.metrics_file.clock} {position}"):
            self.say(sentence)

    def say(self, text: str) -> None:
        """One line for the user, if progress is shown."""
        if self.progress is not None and self.is_global_zero:
            console = self.progress.console
            console.print(shown(text), highlight=False, soft_wrap=not console.is_terminal, markup=False)

    def _set_clock(self, online: bool, at_once: bool) -> None:
        """Sets what Lightning counts: one epoch of ticks online or of a fit at once, its own clock for minibatches."""
        self.log_every_n_steps = 1
        if online:
            self.fit_loop.max_epochs = 1
            self.limit_val_batches = 0
            self.num_sanity_val_steps = 0
        elif at_once:
            if self.given.get("max_epochs", 1) != 1:
                self.say("the model is fitted to all rows in one epoch, whatever trainer.max_epochs is")
            self.fit_loop.max_epochs = 1
        elif self.fit_loop.max_epochs is None and self.fit_loop.max_steps == -1 and "max_time" not in self.given:
            self.fit_loop.max_epochs = 1000

    def _choose_folder(self, model: pl.LightningModule, datamodule: Any, found: Path | None = None) -> Path:
        """The run folder: as given, that of a checkpoint path, or by name and seed."""
        folder = self.folder
        if folder is None and found is not None:
            folder = inside(found)
        folder = folder_of_run(folder, self.name, self.variant, model, datamodule)
        self._run_folder = folder
        self._default_root_dir = str(folder)
        self.metrics_file = MetricsFile(folder / METRICS, model.clock_name if isinstance(model, Planner) else "epoch")
        return folder

    @contextmanager
    def own_folder(self, folder: Path) -> Iterator[None]:
        """Makes the run folder and keeps other processes from training in it; who fails before writing leaves none."""
        if not self.is_global_zero:
            yield
            return
        refuse_links(folder)
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        make_folder(folder)
        with held(folder):
            for part in (folder, folder / "checkpoints"):
                remove_unfinished(part)
            try:
                yield
            except BaseException:
                take_back(made)
                raise

    def _config(self, model: Any, datamodule: Any) -> dict[str, Any]:
        """The run as a file that `mbrl fit --config` takes."""
        given = {name: value for name, value in self.given.items() if isinstance(value, (bool, int, float, str, type(None)))}
        trainer = {"folder": str(self.run_folder), **self.settings, **given, **self.described}
        return {"model": model.spec, "data": datamodule.spec, "trainer": trainer}

    def _open_loggers(self, position: int) -> None:
        loggers = list(self.extra_loggers)
        if self.tensorboard:
            from pytorch_lightning.loggers import TensorBoardLogger

            # lines of the checkpoint's own env_steps stay; an epoch, counted from 0, is written once it ended
            purge: Any = {"purge_step": position + (self.metrics_file.clock == "env_steps")} if position else {}
            if not position and (self.run_folder / "tensorboard").exists():  # of an attempt that reached no checkpoint
                purge = {"purge_step": 0}
            loggers.append(
                TensorBoardLogger(self.run_folder, name="tensorboard", version="", default_hp_metric=False, **purge)
            )
        self.loggers = loggers

    @contextmanager
    def ctrl_c_passes(self) -> Iterator[None]:
        """Lets Ctrl-C through, which Lightning would turn into a failure (exit code 1), and then ignore from there on.

        Raises:
            KeyboardInterrupt: in place of Lightning's exit.
        """
        main = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGINT)
        try:
            yield
        except SystemExit as stop:
            if not isinstance(stop.__context__, KeyboardInterrupt):
                raise
            raise KeyboardInterrupt from stop
        finally:
            if main:
                signal.signal(signal.SIGINT, before)

    @contextmanager
    def _ctrl_c(self, online: bool) -> Iterator[None]:
        """Lets the first Ctrl-C end a planner's run after its step, with a checkpoint; the second stops at once."""
        self._interrupted = False
        if not online or threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(signum: int, frame: Any) -> None:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
            self.say("ending this step and writing a checkpoint; press Ctrl-C again to stop at once")

        before = signal.signal(signal.SIGINT, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]
