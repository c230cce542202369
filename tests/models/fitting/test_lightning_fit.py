from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from mbrl.data import Transitions
from mbrl.errors import ConfigError, DataError, DivergedError, MbrlWarning, TaskError
from mbrl.models import GaussianEnsemble
from mbrl.spec import from_spec
from tests.models.linear_task import TASK, linear_rows


class Rows(pl.LightningDataModule):
    """All that a model needs of a DataModule."""

    task = TASK
    seed = 3

    def __init__(self, transitions: Transitions) -> None:
        super().__init__()
        self.transitions = transitions

    def train_dataloader(self) -> Any:
        return self.trainer.lightning_module.train_dataloader()  # type: ignore[union-attr]

    def val_dataloader(self) -> Any:
        return self.trainer.lightning_module.val_dataloader()  # type: ignore[union-attr]

    def test_dataloader(self) -> Any:
        return self.trainer.lightning_module.test_dataloader()  # type: ignore[union-attr]

    def predict_dataloader(self) -> Any:
        return self.trainer.lightning_module.predict_dataloader()  # type: ignore[union-attr]


def ensemble(**options: Any) -> GaussianEnsemble:
    return GaussianEnsemble(**{"members": 3, "elites": 2, "hidden": [16], "batch_size": 32, "lr": 1e-2, **options})


def trainer(folder: Path, **options: Any) -> pl.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "enable_checkpointing": False}
    return pl.Trainer(default_root_dir=folder, accelerator="cpu", log_every_n_steps=1, **{**quiet, **options})


def weights(model: GaussianEnsemble) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_fit_learns_stops_early_and_keeps_the_best_weights(tmp_path: Path) -> None:
    model, data = ensemble(patience=2, threshold=0.05), Rows(linear_rows(300))
    fit = trainer(tmp_path, max_epochs=300)
    fit.fit(model, datamodule=data)
    assert fit.should_stop
    assert fit.current_epoch < 300
    assert fit.global_step == 8 * fit.current_epoch
    scores = model.score(data.transitions)
    assert scores.mean() < 0.01
    assert set(model.drawn_members.tolist()) <= {0, 1, 2}
    assert {"model/loss", "model/mse", "model/holdout_mse"} <= fit.callback_metrics.keys()
    fit.test(model, datamodule=Rows(linear_rows(300, seed=1)), verbose=False)
    scores = model.score(linear_rows(300, seed=1))
    assert fit.callback_metrics["test/mse"].item() == pytest.approx(scores.mean().item(), rel=1e-4)
    (predicted,) = fit.predict(model, datamodule=data)  # type: ignore[misc]
    assert predicted["mean"].shape == (3, 300, 3)  # type: ignore[call-overload, index]


def test_fit_does_what_refit_does(tmp_path: Path) -> None:
    """Same rows, same generator, same number of epochs: the two paths give the same bits."""
    from mbrl.data import make_generator

    rows = linear_rows(100)
    alone, inside = ensemble(), ensemble(max_epochs=3)
    trainer(tmp_path, max_epochs=3, num_sanity_val_steps=0).fit(alone, datamodule=Rows(rows))
    inside.build(TASK, seed=3)
    inside.refit(rows, make_generator("cpu", 3, "dynamics", "fit"))
    assert torch.equal(weights(alone), weights(inside))
    assert torch.equal(alone.drawn_members, inside.drawn_members)


class Interrupt(pl.Callback):
    def __init__(self, epoch: int, path: Path) -> None:
        self.epoch = epoch
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            trainer.save_checkpoint(self.path)


def test_a_resumed_fit_equals_one_that_was_not_interrupted(tmp_path: Path) -> None:
    rows, path = linear_rows(100), tmp_path / "epoch.ckpt"
    whole = ensemble(threshold=0.99, patience=50)  # best after the first epoch, so what was kept matters to the end
    trainer(tmp_path, max_epochs=6, callbacks=[Interrupt(2, path)]).fit(whole, datamodule=Rows(rows))
    checkpoint = torch.load(path, weights_only=True)
    state = checkpoint["mbrl"]
    assert state["kind"] == "model"
    assert state["seed"] == 3
    resumed = from_spec(state["spec"])
    trainer(tmp_path, max_epochs=6).fit(resumed, datamodule=Rows(rows), ckpt_path=path, weights_only=True)
    assert torch.equal(weights(whole), weights(resumed))
    assert torch.equal(whole.drawn_members, resumed.drawn_members)
    with pytest.raises(DataError, match="expected the fit's 100 rows, got 90"):
        trainer(tmp_path, max_epochs=6).fit(
            from_spec(state["spec"]), datamodule=Rows(linear_rows(90)), ckpt_path=path, weights_only=True
        )


def test_an_unfinished_fits_state_is_needed_and_leaves_with_its_end(tmp_path: Path) -> None:
    path = tmp_path / "epoch.ckpt"
    model = ensemble()
    trainer(tmp_path, max_epochs=3, callbacks=[Interrupt(1, path)]).fit(model, datamodule=Rows(linear_rows(100)))
    saved = torch.load(path, weights_only=True)["state_dict"]["_extra_state"]
    assert saved["fit"]["best"]["weights"].keys() == model.own_parameters()
    assert model.state_dict()["_extra_state"] == {}
    other = ensemble()
    other.build(TASK)
    other.set_extra_state(saved)
    assert other.get_extra_state() == saved  # kept until its rows are there


def test_best_weights_are_back_before_the_last_checkpoint_is_written(tmp_path: Path) -> None:
    keep = pl.callbacks.ModelCheckpoint(dirpath=tmp_path, save_last=True, save_on_train_epoch_end=True)
    model = ensemble()
    trainer(tmp_path, max_epochs=4, enable_checkpointing=True, callbacks=[keep]).fit(
        model, datamodule=Rows(linear_rows(100))
    )
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert saved["_extra_state"] == {}
    for name, value in model.state_dict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(saved[name], value)


def test_lightnings_clipping_and_accumulation_hold(tmp_path: Path) -> None:
    fit = trainer(tmp_path, max_epochs=2, gradient_clip_val=1e-3, accumulate_grad_batches=3)
    fit.fit(ensemble(), datamodule=Rows(linear_rows(100)))  # 3 batches an epoch
    assert fit.global_step == 2
    assert not trainer(tmp_path, max_steps=4).global_step
    fit = trainer(tmp_path, max_steps=4)
    model = ensemble()
    fit.fit(model, datamodule=Rows(linear_rows(100)))
    assert fit.global_step == 4
    assert model.state_dict()["_extra_state"] == {}


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    model = ensemble()
    model.build(replace(TASK, action_high=(2.0,) * TASK.action_size))
    with pytest.raises(TaskError, match=r"GaussianEnsemble: expected the same task, got another: action_high"):
        trainer(tmp_path, max_epochs=1).fit(model, datamodule=Rows(linear_rows(50)))


def test_refusals(tmp_path: Path) -> None:
    model = ensemble(normalize_targets=False)
    model.build(TASK)
    with pytest.raises(ConfigError, match=r"expected a data module with recorded rows .*, got none; give one"):
        trainer(tmp_path, max_epochs=1).fit(model)
    rows = linear_rows(100)
    rows.next_obs *= 1e30
    with pytest.raises(DivergedError, match=r"expected a finite (loss|holdout error), got .*; .* lower lr"):
        trainer(tmp_path, max_epochs=1, num_sanity_val_steps=0).fit(ensemble(normalize_targets=False), datamodule=Rows(rows))


def test_two_processes_end_with_equal_weights(tmp_path: Path) -> None:
    """DDP on the CPU: the ranks agree with each other, and with one process on the same batches."""
    script = Path(__file__).parents[1] / "ddp_fit.py"
    done = subprocess.run(  # a fork must not inherit what this process has started
        [sys.executable, str(script), str(tmp_path)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("one", "two"))
    assert torch.equal(two["rank0"], two["rank1"])
    assert torch.equal(two["elites0"], two["elites1"])
    torch.testing.assert_close(two["rank0"], one["rank0"], rtol=1e-3, atol=1e-4)
    assert not torch.equal(two["rank0"], two["start"])


def test_the_models_own_caps_end_a_fit_too(tmp_path: Path) -> None:
    rows = linear_rows(200)  # 160 train, 5 updates an epoch
    fit = trainer(tmp_path / "epochs", max_epochs=30, num_sanity_val_steps=0)
    fit.fit(ensemble(max_epochs=3, patience=100), datamodule=Rows(rows))
    assert fit.current_epoch == 3
    fit = trainer(tmp_path / "updates", max_epochs=30, num_sanity_val_steps=0)
    fit.fit(ensemble(max_updates=7, patience=100), datamodule=Rows(rows))
    assert fit.global_step == 7


# a test of a model alone ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")  # pytest.warns puts the filters back
@pytest.mark.parametrize("by", ["row", "episode"])
def test_a_test_on_the_fits_own_rows_takes_those_that_it_held_out(by: str, tmp_path: Path) -> None:
    rows = linear_rows(200)
    model, fit = ensemble(holdout_by=by, holdout=0.3, holdout_max=50), trainer(tmp_path, max_epochs=2)
    held: list[Transitions] = []
    begin = model.begin_fit

    def watch(*given: Any) -> Any:
        run = begin(*given)
        held.append(run.holdout)  # type: ignore[arg-type]
        return run

    model.begin_fit = watch  # type: ignore[method-assign]
    fit.fit(model, datamodule=Rows(rows))
    n = len(held[0])
    with pytest.warns(
        MbrlWarning, match=rf"trained on {200 - n} of these 200 rows and is tested on the other {n}, .*give a"
    ):
        fit.test(model, datamodule=Rows(rows), verbose=False)
    assert fit.callback_metrics["test/rows"] == n
    assert fit.callback_metrics["test/mse"].item() == pytest.approx(model.score(held[0]).mean().item(), rel=1e-4)


@pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")  # pytest.warns puts the filters back
def test_rows_that_follow_the_fits_own_are_tested_alone(tmp_path: Path) -> None:
    rows = linear_rows(120)
    model, fit = ensemble(), trainer(tmp_path, max_epochs=1)
    fit.fit(model, datamodule=Rows(rows.select(slice(100))))
    with pytest.warns(MbrlWarning, match="tested on the other 20"):
        fit.test(model, datamodule=Rows(rows), verbose=False)
    expected = model.score(rows.select(slice(100, None))).mean().item()
    assert fit.callback_metrics["test/mse"].item() == pytest.approx(expected, rel=1e-4)


def test_training_rows_alone_are_refused(tmp_path: Path) -> None:
    rows = linear_rows(60)
    said = r"test of GaussianEnsemble: expected rows that it wasn't fitted to, got only rows of its fit; .*--dataset FILE"
    model, fit = ensemble(holdout=0.0, elites=None, best_weights="never"), trainer(tmp_path, max_epochs=1)
    fit.fit(model, datamodule=Rows(rows))
    with pytest.raises(ConfigError, match=said):
        fit.test(model, datamodule=Rows(rows), verbose=False)
    model, fit = ensemble(), trainer(tmp_path, max_epochs=1)
    fit.fit(model, datamodule=Rows(rows))
    with pytest.raises(ConfigError, match=said):  # a part, of which nobody knows what was held out
        fit.test(model, datamodule=Rows(rows.select(slice(40))), verbose=False)
