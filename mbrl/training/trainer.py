"""`Trainer`: Lightning's Trainer with one run folder, whole checkpoints, and the clock in real environment steps."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import SIGTERMException

from mbrl.errors import CheckpointError, ConfigError
from mbrl.planners import Planner
from mbrl.spec import Configurable
from mbrl.training.checkpoint import FolderCheckpointIO, find_last, read_manifest
from mbrl.training.checkpoint_callback import CheckpointCallback, remove_all
from mbrl.training.epoch_lines import EpochLines
from mbrl.training.files import write_whole
from mbrl.training.flags import check_flags, trainer_defaults
from mbrl.training.load import load_into
from mbrl.training.metrics_file import MetricsFile
from mbrl.training.precision import use_bf16
from mbrl.training.predictions import check_output, predict_rows
from mbrl.training.progress import ProgressCallback
from mbrl.training.resume import check_same, check_threads, find_checkpoint
from mbrl.training.run_clock import RunClock
from mbrl.training.run_folder import METRICS, SUMMARY, default_folder, inside, open_folder, write_config
from mbrl.training.summary import is_finished, write_summary


class Trainer(pl.Trainer):
    """Trains, evaluates and resumes; the command line and Python use the same one.

    A planner's run is counted in real environment steps (`data.init_args.steps`); a dynamics model fitted alone keeps
    Lightning's epochs. Flags of Lightning that would not do what they say are refused with what to use instead.

    Args:
        folder: the run folder; by default `runs/<name>/seed<k>`.
        name: of the run; by default the planner's class and the environment.
        eval_every: real steps between evaluations.
        log_every: real steps between metric lines.
        checkpoint_every: real steps between checkpoints.
        checkpoint_min_ratio: a checkpoint waits until this many times the duration of the last write has passed.
        stop_at: mean evaluation return at which to end; None uses all steps.
        stop_count: evaluations in a row that must reach it.
        progress: whether to show a progress bar, or lines where there is no terminal.
        tensorboard: whether to write TensorBoard files besides `metrics.jsonl`.
        threads: intra-op threads of torch. On a shared machine two can be ten times slower than one; another number gives
            other last bits.
        logger: further Lightning loggers, such as `WandbLogger`; False for none, TensorBoard included.
        callbacks: further Lightning callbacks.
        **flags: Lightning's Trainer flags; see `mbrl.training.flags` for those that a planner's run refuses.

    Attributes:
        run_folder: where everything is, from the first `fit` or `test` on.
        metrics_file: its `metrics.jsonl`.
        allow: modules in which names in checkpoints may be looked up, besides `mbrl`.

    Raises:
        ConfigError: for a number out of range; from `fit`, for a flag that it can't honour.

    Example:
        >>> trainer = Trainer(name="mbpo-pendulum")
        >>> trainer.fit(planner, OnlineData("Pendulum-v1", steps=4000))  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        name: str | None = None,
        eval_every: int = 1000,
        log_every: int = 250,
        checkpoint_every: int = 1000,
        checkpoint_min_ratio: float = 30.0,
        stop_at: float | None = None,
        stop_count: int = 3,
        progress: bool = True,
        tensorboard: bool = True,
        threads: int = 1,
        logger: Logger | list[Logger] | bool | None = None,
        callbacks: list[Callback] | Callback | None = None,
        **flags: Any,
    ) -> None:
        check_flags(flags, online=False)  # what no kind of run honours; a planner's own rules follow in `fit`
        if threads < 1:
            raise ConfigError(f"trainer.threads: expected at least 1, got {threads}.")
        self.folder = None if folder is None else Path(folder)
        self.name = name
        self.threads = threads
        self.tensorboard = tensorboard and logger is not False
        self.extra_loggers = list(logger) if isinstance(logger, Iterable) else [logger] if isinstance(logger, Logger) else []
        self.run_clock = RunClock(log_every, eval_every, stop_at, stop_count)
        self.checkpointing = CheckpointCallback(checkpoint_every, checkpoint_min_ratio)
        self.progress = ProgressCallback() if progress else None
        self.checkpoint_io = FolderCheckpointIO()
        self.settings = {
            "eval_every": eval_every,
            "log_every": log_every,
            "checkpoint_every": checkpoint_every,
            "checkpoint_min_ratio": checkpoint_min_ratio,
            "stop_at": stop_at,
            "stop_count": stop_count,
            "threads": threads,
        }
        self.given = {flag: value for flag, value in flags.items() if value != trainer_defaults()[flag]}
        self.bf16 = flags.get("precision") == "bf16-mixed"
        self._run_folder: Path | None = None
        self._interrupted = False
        self.allow: Sequence[str] = ()
        own = [self.run_clock, EpochLines(), *([self.progress] if self.progress else []), self.checkpointing]
        user = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
        flags["precision"] = "32-true"
        flags["enable_progress_bar"] = False
        flags["enable_model_summary"] = bool(flags.get("enable_model_summary"))  # off unless asked for
        flags["devices"] = 1 if flags.get("devices", "auto") == "auto" else flags["devices"]
        flags["plugins"] = [*_as_list(flags.get("plugins")), self.checkpoint_io]
        super().__init__(logger=False, callbacks=[*user, *own], **flags)

    # the run ---------------------------------------------------------------------------------------------------------

    @property
    def run_folder(self) -> Path:
        """Where the run's files are.

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

    def write_line(self, position: int, line: Mapping[str, float]) -> None:
        """Writes a metric line to `metrics.jsonl` and to every logger, and shows it."""
        if self.is_global_zero:
            self.metrics_file.append({self.metrics_file.clock: position, **line})
        for logger in self.loggers:
            logger.log_metrics(dict(line), step=position)
        if self.progress is not None and self.lightning_module is not None:
            self.progress.show(self, self.lightning_module, line)

    def say(self, text: str) -> None:
        """One line for the user, if progress is shown."""
        if self.progress is not None and self.is_global_zero:
            self.progress.console.print(text, highlight=False, soft_wrap=True, markup=False)

    # fit -------------------------------------------------------------------------------------------------------------

    def fit(  # type: ignore[override]
        self,
        model: pl.LightningModule,
        datamodule: pl.LightningDataModule | None = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        *,
        override: bool = False,
    ) -> None:
        """Trains `model` on `datamodule`, from the start or from a checkpoint.

        Args:
            model: a `Planner`, or a dynamics model to fit alone.
            datamodule: `OnlineData` for a planner, `OfflineData` for a model.
            ckpt_path: None starts a run in an empty folder; `last` resumes the newest whole checkpoint of the run folder
                and starts at 0 if it holds none; or the path of a run or checkpoint folder.
            override: whether to resume although the settings differ from the checkpoint's.

        Raises:
            ConfigError: for a flag that this kind of run can't honour, or settings that differ from the checkpoint's.
            RunFolderError: if the folder holds a run and `ckpt_path` is None, or it can't be written.
            CheckpointError: if the checkpoint is missing or damaged.
        """
        _check_parts(model, datamodule)
        assert datamodule is not None
        online = isinstance(model, Planner)
        check_flags(self.given, online=online)
        self._set_clock(online)
        torch.set_num_threads(self.threads)
        if self.bf16:
            use_bf16(model)
        folder = self._choose_folder(model, datamodule)
        found = None if ckpt_path is None else find_checkpoint(ckpt_path, folder, clean=self.is_global_zero)
        if self.is_global_zero:
            open_folder(folder, resume=ckpt_path is not None)
        if found is None:
            if ckpt_path is not None:
                self.say(f"{folder} holds no checkpoint: starting at 0")
            if self.is_global_zero:
                remove_all(folder)
                self.metrics_file.cut(-1)
        else:
            manifest = read_manifest(found)
            check_same(manifest, {"model": _spec(model), "data": _spec(datamodule)}, override=override)
            if inside(found) == folder and is_finished(folder, manifest, getattr(datamodule, "steps", None), self.run_clock):
                self.say(f"the run in {folder} is finished; for a longer one raise data.init_args.steps")
                self._finish()
                return
            check_threads(manifest)
            if self.is_global_zero:
                self._continue_from(found, manifest["position"])
        if self.is_global_zero:
            (folder / SUMMARY).unlink(missing_ok=True)
            write_config(folder, self._config(model, datamodule), resume=ckpt_path is not None)
        self._open_loggers(0 if found is None else read_manifest(found)["position"])
        self.checkpoint_io.training = True
        with self._ctrl_c(online), quiet_lightning():
            try:
                super().fit(model, datamodule=datamodule, ckpt_path=None if found is None else str(found))
            except SIGTERMException:
                raise SystemExit(128 + signal.SIGTERM) from None
            finally:
                for logger in self.loggers:
                    logger.finalize("stopped")
        self._finish()

    def _set_clock(self, online: bool) -> None:
        """Sets what Lightning counts: one epoch of ticks online, its own clock for a model alone."""
        if online:
            self.fit_loop.max_epochs = 1
            self.limit_val_batches = 0
            self.num_sanity_val_steps = 0
            self.log_every_n_steps = 1
        else:
            self.log_every_n_steps = self.given.get("log_every_n_steps", 1)
            if self.fit_loop.max_epochs is None and self.fit_loop.max_steps == -1 and "max_time" not in self.given:
                self.fit_loop.max_epochs = 1000

    def _choose_folder(self, model: pl.LightningModule, datamodule: Any, found: Path | None = None) -> Path:
        """The run folder: as given, that of a checkpoint path, or by name and seed."""
        folder = self.folder
        if folder is None and found is not None:
            folder = inside(found)
        if folder is None:
            env_id = getattr(datamodule, "env_id", None) or type(datamodule).__name__
            name = self.name or f"{type(model).__name__.lower()}-{str(env_id).replace('/', '-').replace(':', '-')}"
            folder = default_folder(name, int(datamodule.seed))
        self._run_folder = folder
        self._default_root_dir = str(folder)
        self.metrics_file = MetricsFile(folder / METRICS, "env_steps" if isinstance(model, Planner) else "epoch")
        return folder

    def _continue_from(self, found: Path, position: int) -> None:
        """Cuts the metrics at the checkpoint; a run continued in another folder takes its lines along."""
        folder = self.run_folder
        newer = find_last(folder)
        if newer is not None and read_manifest(newer)["position"] > position:
            raise CheckpointError(
                f"expected {found} to be the newest checkpoint of {folder}, but {newer.name} is newer and would be lost; "
                "resume with --ckpt_path last, or give the run another folder."
            )
        source = inside(found) / METRICS
        if source.exists() and not self.metrics_file.path.exists():
            write_whole(self.metrics_file.path, source.read_bytes())
        if self.metrics_file.path.exists():
            self.metrics_file.cut(position if self.metrics_file.clock == "env_steps" else position - 1)

    def _config(self, model: pl.LightningModule, datamodule: pl.LightningDataModule) -> dict[str, Any]:
        """The run as a file that `mbrl fit --config` takes."""
        trainer = {"folder": str(self.run_folder), **self.settings, **self.given}
        plain = {name: value for name, value in trainer.items() if isinstance(value, (bool, int, float, str, type(None)))}
        return {"model": _spec(model), "data": _spec(datamodule), "trainer": plain}

    def _open_loggers(self, position: int) -> None:
        loggers = list(self.extra_loggers)
        if self.tensorboard:
            from pytorch_lightning.loggers import TensorBoardLogger

            purge: Any = {"purge_step": position + 1} if position else {}
            loggers.append(TensorBoardLogger(self.run_folder, name="tensorboard", version="", **purge))
        self.loggers = loggers

    def _finish(self) -> None:
        """Writes what a run leaves at its end, and says where it is."""
        if self.is_global_zero:
            for line in write_summary(self.run_folder, self.metrics_file, self.run_clock):
                self.say(line)

    # evaluation and prediction ---------------------------------------------------------------------------------------

    def validate(  # type: ignore[override]
        self,
        model: pl.LightningModule,
        datamodule: pl.LightningDataModule | None = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        *,
        override: bool = False,
    ) -> dict[str, float]:
        """The evaluation of training once more: a planner's episodes, or a model's error on the dataset.

        Args:
            model: built and trained, or described only, with its parameters in `ckpt_path`.
            datamodule: where to evaluate.
            ckpt_path: `last`, or the path of a run or checkpoint folder; None takes `model` as it is.
            override: whether to go on although the model's settings differ from the checkpoint's.

        Returns:
            Metrics by name.

        Raises:
            CheckpointError: if there is no such checkpoint, or `model` has no parameters and `ckpt_path` is None.
        """
        return self._evaluated("validate", model, datamodule, ckpt_path, override)

    def test(  # type: ignore[override]
        self,
        model: pl.LightningModule,
        datamodule: pl.LightningDataModule | None = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        *,
        override: bool = False,
        video: bool = False,
    ) -> dict[str, float]:
        """Tests in environments of their own, on episodes that training never saw; writes `test.json`.

        Args:
            model, datamodule, ckpt_path, override: as in `validate`.
            video: whether to write one more episode to `test.gif`.

        Returns:
            Metrics by name: mean return, its 95 % interval, …
        """
        metrics = self._evaluated("test", model, datamodule, ckpt_path, override)
        if self.is_global_zero:
            self.run_folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps({name: value if math.isfinite(value) else None for name, value in metrics.items()}, indent=1)
            write_whole(self.run_folder / "test.json", f"{text}\n".encode())
            if video:
                if not isinstance(model, Planner):
                    raise ConfigError("video: expected a planner, whose episodes can be drawn, got a model; leave it out.")
                from mbrl.training.video import record_episode

                record_episode(model, model.built_task, int(datamodule.seed), self.run_folder / "test.gif")  # type: ignore[union-attr]
        return metrics

    def predict(  # type: ignore[override]
        self,
        model: pl.LightningModule,
        datamodule: pl.LightningDataModule | None = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        *,
        output: str | os.PathLike[str] | None = None,
        override: bool = False,
    ) -> Path:
        """Writes a planner's actions, or a model's predictions, for the rows of a dataset.

        Args:
            model, ckpt_path, override: as in `validate`.
            datamodule: with `transitions` (`OfflineData`).
            output: a `.npz` file; by default `predictions.npz` in the run folder.

        Returns:
            The file.

        Raises:
            DataError: if the file exists.
        """
        found = self._trained(model, datamodule, ckpt_path, override)
        data: Any = datamodule
        if not hasattr(data, "transitions"):
            raise ConfigError(f"predict: expected a dataset (mbrl.envs.OfflineData), got {type(data).__name__}; give one.")
        path = self.run_folder / "predictions.npz" if output is None else Path(output)
        check_output(path)
        if found is not None:
            load_into(model, found, self.allow)
        arrays = predict_rows(model, data.transitions, data.task, int(data.seed))
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **arrays)  # type: ignore[arg-type]
        return path

    def _trained(self, model: Any, datamodule: Any, ckpt_path: Any, override: bool) -> Path | None:
        """The checkpoint to take parameters from, of a model with the same settings."""
        _check_parts(model, datamodule)
        check_flags(self.given, online=isinstance(model, Planner))
        torch.set_num_threads(self.threads)
        if self.bf16:
            use_bf16(model)
        if ckpt_path is None:
            self._choose_folder(model, datamodule)
            if model.task is None:
                raise CheckpointError(
                    f"expected a trained {type(model).__name__}, got one without parameters; give its checkpoint "
                    "(ckpt_path='last', or a folder), or mbrl.load it."
                )
            return None
        last = os.fspath(ckpt_path) == "last"
        run = self._choose_folder(model, datamodule, None if last else Path(ckpt_path))
        found = find_checkpoint(ckpt_path, run)
        if found is None:
            raise CheckpointError(f"expected a checkpoint in {run}, but there is none; train first, or check the folder.")
        check_same(read_manifest(found), {"model": _spec(model)}, override=override)
        return found

    def _evaluated(self, what: str, model: Any, datamodule: Any, ckpt_path: Any, override: bool) -> dict[str, float]:
        found = self._trained(model, datamodule, ckpt_path, override)
        self.loggers = []
        self.checkpoint_io.training = False
        self.limit_val_batches = self.given.get("limit_val_batches", 1.0)
        run = super().test if what == "test" else super().validate
        with quiet_lightning():
            (results,) = run(model, datamodule=datamodule, ckpt_path=None if found is None else str(found), verbose=False)
        return dict(results)

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


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keeps Lightning's remarks on its own loops from the user, to whom they would say the wrong thing."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)


def _spec(part: Any) -> dict[str, Any]:
    return part.spec  # `_check_parts` has made sure that it has one


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def _check_parts(model: Any, datamodule: Any) -> None:
    if not (isinstance(model, Configurable) and isinstance(model, pl.LightningModule)):
        raise ConfigError(
            f"Trainer: expected a planner or a dynamics model of this library's kind, got {type(model).__name__}."
        )
    if not (isinstance(datamodule, Configurable) and isinstance(datamodule, pl.LightningDataModule)):
        raise ConfigError(
            f"Trainer: expected a data module of this library's kind, got {type(datamodule).__name__}; pass "
            "trainer.fit(planner, OnlineData(…)) or trainer.fit(model, OfflineData(…))."
        )
