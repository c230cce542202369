"""Lightning's callbacks, loggers and flags in our runs: each works, or is refused by a sentence."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning import callbacks as lightning
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger

from mbrl.cli import main
from mbrl.errors import ConfigError
from mbrl.training import Trainer
from tests.training.test_kill_and_resume import dyna
from tests.training.toy import ToyPlanner, data, lines, trainer


class Looks(pl.Callback):
    """Keeps what the run has for callbacks at each evaluation."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.seen.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def test_metrics_reach_callbacks_at_each_evaluation(tmp_path: Path) -> None:
    looks = Looks()
    trainer(tmp_path, callbacks=[looks]).fit(dyna(), data(60, num_envs=2))
    written = [line for line in lines(tmp_path) if "eval/return" in line]
    assert len(written) == len(looks.seen) == 3
    for seen, line in zip(looks.seen, written, strict=True):
        expected = {name: value for name, value in line.items() if name != "env_steps"}
        assert {name: seen[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert any(name.startswith("model/") for name in looks.seen[-1])
    assert any(name.startswith("learner/") for name in looks.seen[-1])


def test_early_stopping_stops_at_an_evaluation(tmp_path: Path) -> None:
    stop = EarlyStopping("eval/return", mode="max", patience=1, min_delta=1e9)  # nothing ever improves
    trainer(tmp_path, callbacks=[stop]).fit(ToyPlanner(), data(200))
    assert [line["env_steps"] for line in lines(tmp_path)] == [10, 20, 30, 40]
    again = EarlyStopping("eval/return", mode="max", patience=1, min_delta=1e9)
    trainer(tmp_path, callbacks=[again]).fit(ToyPlanner(), data(200), ckpt_path="last")
    assert len(lines(tmp_path)) == 4, "it has ended"


def test_early_stopping_by_an_unknown_metric_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"EarlyStopping\.monitor: expected one of .*eval/return.*, got 'val_loss'"):
        trainer(tmp_path, callbacks=[EarlyStopping("val_loss")]).fit(ToyPlanner(), data(60))


@pytest.mark.parametrize(
    ("callback", "told"),
    [
        (ModelCheckpoint(monitor="eval/return"), r"got ModelCheckpoint; the run writes its own: trainer\.keep_best keeps"),
        (lightning.OnExceptionCheckpoint("."), r"got OnExceptionCheckpoint; the run writes its own"),
        (lightning.StochasticWeightAveraging(1e-3), "got StochasticWeightAveraging; its learner and model step their own"),
        (lightning.GradientAccumulationScheduler({0: 2}), "got GradientAccumulationScheduler"),
        (lightning.LearningRateFinder(), "got LearningRateFinder"),
        (EarlyStopping("eval/return", check_on_train_epoch_end=True), "got check_on_train_epoch_end: true"),
        (lightning.TQDMProgressBar(), r"got TQDMProgressBar; set trainer\.progress"),
    ],
)
def test_what_a_run_would_ignore_is_refused(callback: pl.Callback, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        trainer(tmp_path / "run", callbacks=[callback]).fit(ToyPlanner(), data(20))
    assert not (tmp_path / "run").exists()


class Keeps(Logger):
    """A logger of a service, which keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.hyperparameters: dict[str, Any] = {}
        self.metrics: list[dict[str, float]] = []

    name = "keeps"
    version = 0

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.hyperparameters = dict(params)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.metrics.append(metrics)


def test_hyperparameters_reach_every_logger(tmp_path: Path) -> None:
    keeps = Keeps()
    made = trainer(tmp_path / "run", logger=[keeps, CSVLogger(tmp_path, "csv")], tensorboard=True)
    made.fit(ToyPlanner(lr=0.5), data(20, seed=3))
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert keeps.hyperparameters == config and config["model"]["init_args"]["lr"] == 0.5
    assert keeps.metrics
    for path in (tmp_path / "csv/version_0/hparams.yaml", tmp_path / "run/tensorboard/hparams.yaml"):
        written = path.read_text()
        assert "lr: 0.5" in written and "seed: 3" in written, path


@pytest.mark.parametrize("profiler", ["simple", "advanced"])
def test_a_profile_is_printed(profiler: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path, profiler=profiler).fit(ToyPlanner(), data(10))
    assert "training_step" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("name", ["gpu", "cuda", "tpu", "mps", "abacus"])
def test_a_device_that_is_not_there(name: str, tmp_path: Path) -> None:
    told = rf"^trainer\.accelerator: expected a device that this machine has, got '{name}', .*; leave it out, give cpu"
    with pytest.raises(ConfigError, match=told):
        Trainer(tmp_path, accelerator=name)


def test_other_flags_that_lightning_refuses(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^Trainer: expected flags that Lightning takes, .*profiler"):
        Trainer(tmp_path, profiler="stopwatch")


# Ctrl-C ------------------------------------------------------------------------------------------------------------------


class Interrupted(ToyPlanner):
    """Ctrl-C comes while it acts."""

    def act(self, *arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return super().act(*arguments, **options)


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is heard, also where the tests run in the background of a shell, which has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("command", ["test", "validate", "predict", "collect"])
def test_ctrl_c_in_a_command_that_acts(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, rows = tmp_path / "run", str(tmp_path / "rows.npz")
    trainer(run).fit(ToyPlanner(), data(10))
    assert main(["collect", rows, "--env_id", "Pendulum-v1", "--steps", "10"]) == 0
    monkeypatch.setattr(ToyPlanner, "act", Interrupted.act)
    handler = signal.getsignal(signal.SIGINT)
    given = {
        "predict": ["--ckpt_path", str(run), "--dataset", rows],
        "collect": [str(tmp_path / "more.npz"), "--ckpt_path", str(run), "--steps", "10"],
    }
    assert main(["--allow", "tests", command, *given.get(command, ["--ckpt_path", str(run)])]) == 130
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_twice_in_a_fit(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path).fit(Twice(), data(40))


class Twice(ToyPlanner):
    """Ctrl-C comes twice within a step."""

    def tick(self, experience: Any) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        super().tick(experience)


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["plot", "RUN"], "mbrl.analysis.commands.plot.read_curves"),
        (["report", "--ckpt", "RUN", "--data", "x.npz"], "mbrl.analysis.commands.report.read_checkpoint"),
        (["check", "--dataset", "x.npz"], "mbrl.training.commands.check.OfflineData"),
        (["search", "run", "x.yaml"], "mbrl.search.commands.run.read_search_file"),
        (["search", "confirm", "x"], "mbrl.search.commands.confirm.join_study"),
    ],
)
def test_ctrl_c_in_other_commands(arguments: list[str], where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    trainer(run).fit(ToyPlanner(), data(10))

    def interrupted(*given: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupted)
    assert main([argument.replace("RUN", str(run)) for argument in arguments]) == 130
