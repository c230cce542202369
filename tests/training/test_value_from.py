"""Value-aware and constrained models in runs: fitted alone with another run's values, and resumed to the same numbers."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml

import mbrl
from mbrl.cli import main
from mbrl.envs import OfflineData, collect, make_task
from mbrl.errors import CheckpointError, ConfigError, TaskError, UnsupportedError
from mbrl.models import GaussianEnsemble, IterVAML, ModelLoss, SquaredError, VaGraM
from mbrl.networks import JacobianPenalty, LipschitzConstraint, SpectralClip
from mbrl.planners import PETS, Dyna, RandomShooting
from mbrl.policies import SAC
from mbrl.training.checkpoint import checkpoint_folders
from tests.training.test_kill_and_resume import same_run
from tests.training.toy import KillAt, data, in_child, lines, trainer

PENDULUM = {"max_episode_steps": 25}


def ensemble(loss: ModelLoss | None, constraint: LipschitzConstraint | None = None, **options: Any) -> GaussianEnsemble:
    small: dict[str, Any] = {"members": 2, "elites": 1, "hidden": [8, 8], "max_epochs": 2, "batch_size": 16}
    return GaussianEnsemble(**{**small, "loss": loss, "constraint": constraint, **options})


def fit(folder: Path, model: GaussianEnsemble, ckpt_path: str | None = None, **options: Any) -> None:
    planner = Dyna(
        model, SAC(hidden=[8, 8]), warmup_steps=20, refit_every=10, rollouts_per_step=2, updates_per_step=1, batch_size=16
    )
    trainer(folder, **options).fit(planner, data(50), ckpt_path=ckpt_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    fit(folder, ensemble(None))
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> OfflineData:
    path = collect(make_task("Pendulum-v1", PENDULUM), str(tmp_path_factory.mktemp("rows") / "rows.npz"), steps=100)
    return OfflineData(str(path), env_id="Pendulum-v1", env_kwargs=PENDULUM)


def alone(folder: Path, rows: OfflineData, model: GaussianEnsemble, ckpt_path: str | None = None, **options: Any) -> None:
    trainer(folder, max_epochs=4, **options).fit(model, rows, ckpt_path=ckpt_path)


@pytest.mark.parametrize(
    ("loss", "constraint"),
    [(VaGraM(), SpectralClip()), (IterVAML(samples=2), JacobianPenalty())],
    ids=["vagram, clip", "calibrated, penalty"],
)
def test_a_planners_run_resumes_to_the_same_numbers(
    loss: ModelLoss, constraint: LipschitzConstraint, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    fit(tmp_path / "whole", ensemble(loss, constraint))
    assert in_child(lambda: fit(tmp_path / "parts", ensemble(loss, constraint), callbacks=[KillAt(36)])) == -signal.SIGKILL
    fit(tmp_path / "parts", ensemble(loss, constraint), "last")
    assert same_run(tmp_path / "whole", tmp_path / "parts") == []
    written = {name for line in lines(tmp_path / "whole") for name in line}
    assert {"model/budget", "model/holdout_loss", "model/holdout_mse"} <= written
    loaded = mbrl.load(tmp_path / "whole")
    assert isinstance(loaded, Dyna) and isinstance(loaded.dynamics, GaussianEnsemble)
    assert loaded.dynamics.model_loss is not None and loaded.dynamics.model_loss.fits == 4


def test_a_model_alone_takes_another_runs_values(run: Path, rows: OfflineData, tmp_path: Path) -> None:
    model = ensemble(VaGraM(), max_epochs=4)
    alone(tmp_path, rows, model, value_from=str(run))
    (first, *_) = written = lines(tmp_path, "epoch")
    assert {"model/holdout_loss", "model/holdout_mse", "model/explained"} <= first.keys() and len(written) == 4
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["trainer"]["value_from"] == str(run)
    manifest = json.loads((checkpoint_folders(tmp_path)[0] / "manifest.json").read_text())
    source = json.loads((checkpoint_folders(run)[0] / "manifest.json").read_text())
    assert manifest["trainer"]["value_from"] == {"sha256": source["files"]["model.pt"]["sha256"]}
    tested = trainer(tmp_path).validate(model, rows)
    assert "model/holdout_mse" in tested and "model/holdout_loss" not in tested
    assert isinstance(mbrl.load(tmp_path), GaussianEnsemble)


@pytest.mark.parametrize("loss", [VaGraM(), IterVAML(samples=2)], ids=["vagram", "calibrated"])
def test_such_a_fit_resumes_to_the_same_weights(loss: ModelLoss, run: Path, rows: OfflineData, tmp_path: Path) -> None:
    class Killed(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 2:
                raise RuntimeError("killed")

    whole, parts, resumed = (ensemble(loss, SpectralClip(), max_epochs=4) for _ in range(3))
    alone(tmp_path / "whole", rows, whole, value_from=str(run))
    options: dict[str, Any] = {"value_from": str(run), "checkpoint_every": 1}
    with pytest.raises(RuntimeError, match="killed"):
        alone(tmp_path / "parts", rows, parts, callbacks=[Killed()], **options)
    alone(tmp_path / "parts", rows, resumed, "last", **options)
    assert lines(tmp_path / "parts", "epoch") == lines(tmp_path / "whole", "epoch")
    for name, tensor in whole.state_dict().items():
        assert not isinstance(tensor, torch.Tensor) or torch.equal(resumed.state_dict()[name], tensor), name


def test_other_values_are_another_fit(run: Path, rows: OfflineData, tmp_path: Path) -> None:
    older = checkpoint_folders(run)[-1]
    alone(tmp_path / "run", rows, ensemble(VaGraM()), value_from=str(run))
    if older == checkpoint_folders(run)[0]:
        fit(tmp_path / "other", ensemble(None, lr=1e-2))
        older = tmp_path / "other"
    with pytest.raises(ConfigError, match=r"value_from\.sha256 was '\w+' and is '\w+' now"):
        alone(tmp_path / "run", rows, ensemble(VaGraM()), "last", value_from=str(older))


def test_what_says_no_values_is_refused(run: Path, rows: OfflineData, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"or name the run of one as trainer\.value_from"):
        alone(tmp_path, rows, ensemble(VaGraM()))
    with pytest.raises(CheckpointError, match=r"expected a checkpoint at .*nowhere, but there is nothing; check the path"):
        alone(tmp_path, rows, ensemble(VaGraM()), value_from=str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="empty"):
        alone(tmp_path, rows, ensemble(VaGraM()), value_from=str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match="value_from: expected a model alone whose fit asks for values, got Gaussian"):
        alone(tmp_path, rows, ensemble(SquaredError()), value_from=str(run))
    with pytest.raises(ConfigError, match="value_from: expected a model alone whose fit asks for values, got Dyna"):
        fit(tmp_path, ensemble(None), value_from=str(run))
    other = OfflineData(rows.path, env_id="Pendulum-v1", env_kwargs={"max_episode_steps": 30})
    with pytest.raises(TaskError, match=r"trainer\.value_from .*expected the same task, got another: env_kwargs"):
        alone(tmp_path, other, ensemble(VaGraM()), value_from=str(run))
    planner = PETS(ensemble(None), RandomShooting(candidates=4), horizon=2, warmup_steps=20, refit_every=20)
    trainer(tmp_path / "pets").fit(planner, data(30))
    with pytest.raises(CheckpointError, match=r"expected a planner's run with a learner in .*pets, got PETS without one"):
        alone(tmp_path, rows, ensemble(VaGraM()), value_from=str(tmp_path / "pets"))
    assert not (tmp_path / "config.yaml").exists()


def test_it_is_an_option_of_the_command_line(run: Path, rows: OfflineData, tmp_path: Path) -> None:
    model = {"class_path": "mbrl.models.GaussianEnsemble"}
    model["init_args"] = {  # type: ignore[assignment]
        "members": 2, "elites": 1, "hidden": [8], "loss": {"class_path": "mbrl.models.VaGraM", "init_args": {"floor": 0.1}}
    }  # fmt: skip
    path = tmp_path / "fit.yaml"
    options = {"folder": str(tmp_path / "run"), "max_epochs": 1, "tensorboard": False, "progress": False}
    path.write_text(yaml.safe_dump({"model": model, "data": rows.spec, "trainer": {**options, "value_from": str(run)}}))
    assert main(["fit", "--config", str(path)]) == 0
    again = tmp_path / "run/config.yaml"
    assert main(["fit", "--config", str(again), "--trainer.folder", str(tmp_path / "again")]) == 0
