"""`Trainer`: trains, evaluates and resumes, from the command line and from Python alike."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException

from mbrl.data.offline_columns import write_arrays
from mbrl.errors import CheckpointError, ConfigError, RunFolderError, keeping
from mbrl.models import GradientModel
from mbrl.planners import Planner
from mbrl.training.callbacks.lightning_callbacks import check_callbacks
from mbrl.training.checkpoint import find_last, read_manifest
from mbrl.training.flags import check_flags
from mbrl.training.load import load_into
from mbrl.training.output import quiet
from mbrl.training.parts import check_can_fit, check_parts, tell_if_never_fitted
from mbrl.training.precision import use_bf16
from mbrl.training.products.predictions import check_output, in_short, predict_rows
from mbrl.training.resume import check_same, check_threads, find_checkpoint, own_parameters
from mbrl.training.run_folder import begin_files, inside, is_same, refuse_used
from mbrl.training.run_trainer import RunTrainer
from mbrl.training.summary import is_finished, with_scores, write_summary, write_test
from mbrl.training.value_from import value_from


class Trainer(RunTrainer):
    """Trains, evaluates and resumes; the command line and Python use the same one.

    A planner's run is counted on its clock (`data.init_args.steps`): real environment steps, or updates where it learns
    from a dataset. A dynamics model fitted alone keeps Lightning's epochs. Flags of Lightning that would not do what they
    say are refused with what to use instead.

    Args:
        folder: the run folder, whatever name and variant; by default `runs/<name>/seed<k>` or
            `runs/<name>-<variant>/seed<k>`.
        name: of the run; by default the planner's class and the environment.
        variant: of what goes by that name, such as an overlay's `coplanner`, so that it has a folder of its own.
        eval_every: steps of the planner's clock between evaluations.
        log_every: steps of the planner's clock between metric lines.
        checkpoint_every: steps of the planner's clock between checkpoints.
        checkpoint_min_ratio: a checkpoint waits until this many times the duration of the last write has passed.
        keep_best: whether to keep the best evaluation's checkpoint beside the newest; `--ckpt_path best` takes it.
        keep_at: `{"return": [a, b, …]}`, rising: the first checkpoint whose evaluation's mean return reaches each is kept
            beside the newest, buffers included, as `checkpoints/return-<a>`.
        stop_at: mean evaluation return at which to end; None uses all steps.
        stop_count: evaluations in a row that must reach it.
        progress: whether to show a progress bar, or lines where there is no terminal.
        tensorboard: whether to write TensorBoard files besides `metrics.jsonl`.
        value_from: a planner's run whose learner says the values that the fit of a model alone asks for, such as with
            `VaGraM`: its folder, a checkpoint, or its `model.pt`. The learner stays as it is.
        threads: intra-op threads of torch. On a shared machine two can be ten times slower than one; another number gives
            other last bits.
        logger: further Lightning loggers, such as `WandbLogger`; False for none, TensorBoard included.
        callbacks: further Lightning callbacks. A planner's evaluations call their `on_validation_end`, so that
            `EarlyStopping` works; those that a planner's run can't honour are refused.
        **flags: Lightning's Trainer flags; see `mbrl.training.flags` for those that a planner's run refuses.

    Attributes:
        run_folder: where everything is, from the first `fit` or `test` on.
        metrics_file: its `metrics.jsonl`.
        value: the learner of `value_from`, during a fit.
        allow: modules in which names in checkpoints may be looked up, besides `mbrl`.

    Raises:
        ConfigError: for a number out of range; from `fit`, for a flag that it can't honour.

    Example:
        >>> trainer = Trainer(name="mbpo-pendulum")
        >>> trainer.fit(planner, OnlineData("Pendulum-v1", steps=4000))  # doctest: +SKIP
    """

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

        A model alone that isn't fitted by minibatches is fitted to all rows in one epoch, whatever `max_epochs` is.

        Args:
            model: a `Planner`, or a dynamics model to fit alone.
            datamodule: `OnlineData`, or `OfflineData` for a model and for a planner that learns from a dataset.
            ckpt_path: None starts a run in an empty folder; `last` resumes the newest whole checkpoint of the run folder
                and starts at 0 if it holds none; `best` that of its best evaluation (`keep_best`); or the path of a run or
                checkpoint folder, which goes on in another `folder`.
            override: whether to resume although the settings differ from the checkpoint's.

        Raises:
            ConfigError: for a flag that this kind of run can't honour, or settings that differ from the checkpoint's.
            UnsupportedError: for a dynamics model alone that has nothing to fit.
            RunFolderError: if the folder holds a run and `ckpt_path` is None, or it can't be written.
            CheckpointError: if the checkpoint is missing or damaged.
        """
        check_parts(model, datamodule)
        assert datamodule is not None
        online = isinstance(model, Planner)
        check_can_fit(model, with_value=self.value_from is not None)
        at_once = not online and not isinstance(model, GradientModel)
        check_flags(self.given, online=online, at_once=at_once)
        check_callbacks(self.user_callbacks, online=online)
        if self.checkpointing.keeps and not online:
            raise ConfigError(
                f"trainer.{self.checkpointing.keeps}: expected a planner, whose evaluations have returns, got a model; "
                "leave it out, or give Lightning's ModelCheckpoint the metric to monitor."
            )
        self._set_clock(online, at_once)
        self.value = None
        if self.value_from is not None:
            self.value, self.computing["value_from"] = value_from(self.value_from, model, datamodule, self.allow)
        torch.set_num_threads(self.threads)
        if self.bf16:
            use_bf16(model)
        folder = self._choose_folder(model, datamodule)
        with self.own_folder(folder):
            if self.is_global_zero and ckpt_path is None:
                refuse_used(folder)
            self._fit(model, datamodule, ckpt_path, online=online, at_once=at_once, override=override)

    def _fit(self, model: Any, datamodule: Any, ckpt_path: Any, *, online: bool, at_once: bool, override: bool) -> None:
        """Trains in the run folder, which is this process's own."""
        folder = self.run_folder
        found = None if ckpt_path is None else find_checkpoint(ckpt_path, folder, clean=self.is_global_zero)
        position, changed = 0, False
        if found is not None:
            manifest = read_manifest(found, buffers=False)  # reading them checks them
            position = manifest["position"]
            current = {"model": _spec(model), "data": _spec(datamodule), "trainer": self.computing}
            length = self._length(datamodule, online)
            finished = is_same(inside(found), folder) and is_finished(folder, manifest, length, self.goal)
            changed = not (finished and override) and check_same(manifest, current, override=override)  # warns: "going on"
            if finished:
                longer = "" if at_once else f"; for a longer one raise {self._length_name(online)}"
                self.say(f"the run in {folder} is finished{longer}")
                self._finish()
                return
            check_threads(manifest)
            self._refuse_newer(found, position)
        elif ckpt_path is not None:
            self.say(f"{folder} holds no checkpoint: starting at 0")
        self.hyperparameters = self._config(model, datamodule)
        self._begin = partial(begin_files, folder, self.metrics_file, self.hyperparameters, found, position, changed)
        self._open_loggers(position)
        self.checkpoint_io.training = True
        with self.ctrl_c_passes(), self._ctrl_c(online), quiet("pytorch_lightning"), own_parameters(found):
            try:
                super().fit(model, datamodule=datamodule, ckpt_path=None if found is None else str(found))
            except SIGTERMException:
                raise SystemExit(128 + signal.SIGTERM) from None
            except BaseException:
                datamodule.teardown(
                    "fit"
                )  # Lightning does so only at a good end; a second try must not go on in mid-episode
                raise
            finally:
                self.value = None
                for logger in self.loggers:
                    logger.finalize("stopped")
        self._finish()

    def _refuse_newer(self, found: Path, position: int) -> None:
        there = find_last(self.run_folder)
        if there is None:
            return
        if read_manifest(there, buffers=False)["position"] > position:
            raise CheckpointError(
                f"expected {found} to be the newest, but {there.name} is newer and would be lost; give last, or another "
                "trainer.folder beside this checkpoint's path."
            )
        if not is_same(inside(found), self.run_folder):
            raise RunFolderError(
                f"expected an empty run folder, but {self.run_folder} holds {there.name} of another run; give another."
            )

    def _length(self, datamodule: Any, online: bool) -> int | None:
        return getattr(datamodule, "steps", None) if online else self.max_epochs

    @staticmethod
    def _length_name(online: bool) -> str:
        return "data.init_args.steps" if online else "trainer.max_epochs"

    def _finish(self) -> None:
        """Writes what a run leaves at its end, and says where it is."""
        if self.is_global_zero:
            for line in write_summary(self.run_folder, self.metrics_file, self.goal):
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
            ckpt_path: `last`, `best`, or the path of a run or checkpoint folder; None takes `model` as it is.
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
            model: built and trained, or described only, as in `validate`.
            datamodule: where to test.
            ckpt_path: as in `validate`.
            override: as in `validate`.
            video: whether to write one more episode to `test.gif`.

        Returns:
            Metrics by name: mean return, its 95 % interval, …

        Raises:
            MbrlError: if `test.json` or the video can't be written; its `results` are the metrics all the same.
        """
        if video and not isinstance(model, Planner):
            raise ConfigError("video: expected a planner, whose episodes can be drawn, got a model; leave it out.")
        self.references = getattr(datamodule, "references", None) if isinstance(model, Planner) else None
        metrics = with_scores(self._evaluated("test", model, datamodule, ckpt_path, override), self.references)
        if self.is_global_zero:
            with keeping(metrics):
                self.run_folder.mkdir(parents=True, exist_ok=True)
                write_test(self.run_folder, metrics, self.tested, self.references)
                if video:
                    from mbrl.training.products.video import record_episode

                    planner: Any = model
                    data: Any = datamodule
                    record_episode(planner, data.evaluation_task, int(data.seed), self.run_folder / "test.gif")
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
            model: built and trained, or described only, as in `validate`.
            datamodule: with `transitions` (`OfflineData`).
            ckpt_path: as in `validate`.
            output: a `.npz` file; by default `predictions.npz` in the run folder.
            override: as in `validate`.

        Returns:
            The file.

        Raises:
            DataError: if the file exists or can't be written; then its `results` are the predictions in short.
        """
        found = self._trained(model, datamodule, ckpt_path, override)
        module: Any = model
        data: Any = datamodule
        if not hasattr(data, "transitions"):
            raise ConfigError(f"predict: expected a dataset (mbrl.envs.OfflineData), got {type(data).__name__}; give one.")
        path = self.run_folder / "predictions.npz" if output is None else Path(output)
        check_output(path)
        if found is not None:
            load_into(module, found, self.allow)
        elif module.task is None:  # it has nothing to learn
            module.build(data.task, data.seed)
        arrays = predict_rows(module, data.transitions, data.task, int(data.seed))
        with keeping(in_short(arrays)):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_arrays(path, arrays, compressed=False)
        return path

    def _trained(self, model: Any, datamodule: Any, ckpt_path: Any, override: bool) -> Path | None:
        """The checkpoint to take parameters from, of a model with the same settings."""
        check_parts(model, datamodule)
        check_flags(self.given, online=isinstance(model, Planner))
        torch.set_num_threads(self.threads)
        if self.bf16:
            use_bf16(model)
        if ckpt_path is None:
            self._choose_folder(model, datamodule)
            if model.task is None and _learns(model):
                raise CheckpointError(
                    f"expected a trained {type(model).__name__}, got one without parameters; pass ckpt_path or mbrl.load it."
                )
            return None
        last = os.fspath(ckpt_path) == "last"
        run = self._choose_folder(model, datamodule, None if os.fspath(ckpt_path) in ("last", "best") else Path(ckpt_path))
        found = find_checkpoint(ckpt_path, run)
        if found is None and last and not _learns(model):  # nothing that a checkpoint could add
            return None
        if found is None:
            raise CheckpointError(f"expected a checkpoint in {run}, but there is none; train first, or check the folder.")
        check_same(read_manifest(found, buffers=False), {"model": _spec(model)}, override=override)
        return found

    def _evaluated(self, what: str, model: Any, datamodule: Any, ckpt_path: Any, override: bool) -> dict[str, float]:
        found = self._trained(model, datamodule, ckpt_path, override)
        self.tested = found or self.loaded_from
        self.loggers = []
        self.checkpoint_io.training = False
        self.limit_val_batches = self.given.get("limit_val_batches", 1.0)
        run = super().test if what == "test" else super().validate
        with self.ctrl_c_passes(), quiet("pytorch_lightning"), own_parameters(found):
            (results,) = run(model, datamodule=datamodule, ckpt_path=None if found is None else str(found), verbose=False)
        tell_if_never_fitted(model)
        return dict(results)


def _learns(model: Any) -> bool:
    return model.learns if isinstance(model, Planner) else model.fitting != "fixed"


def _spec(part: Any) -> dict[str, Any]:
    return part.spec  # `_check_parts` has made sure that it has one
