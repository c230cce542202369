from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger

from mbrl.errors import ConfigError
from mbrl.training import Trainer
from mbrl.training.flags import FLAGS, check_flags, trainer_defaults

# One value for each flag that means something else than the default does.
VALUES: dict[str, Any] = {
    "accelerator": "cpu", "strategy": "ddp", "devices": 2, "num_nodes": 2, "precision": "16-mixed", "logger": False,
    "callbacks": [], "fast_dev_run": True, "max_epochs": 5, "min_epochs": 2, "max_steps": 100, "min_steps": 10,
    "max_time": "00:01:00:00", "limit_train_batches": 10, "limit_val_batches": 2, "limit_test_batches": 2,
    "limit_predict_batches": 2, "overfit_batches": 4, "val_check_interval": 10, "check_val_every_n_epoch": 2,
    "num_sanity_val_steps": 2, "log_every_n_steps": 5, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": True, "accumulate_grad_batches": 2, "gradient_clip_val": 1.0, "gradient_clip_algorithm": "norm",
    "deterministic": True, "benchmark": True, "inference_mode": False, "use_distributed_sampler": False,
    "profiler": "simple", "detect_anomaly": True, "barebones": True, "plugins": [], "sync_batchnorm": True,
    "reload_dataloaders_every_n_epochs": 1, "default_root_dir": "elsewhere", "enable_autolog_hparams": False,
    "model_registry": "registry",
}  # fmt: skip


def test_the_table_is_lightnings_signature() -> None:
    """A flag that a new Lightning adds is honoured or refused by decision, never by accident."""
    assert list(FLAGS) == list(trainer_defaults())
    assert set(VALUES) == set(FLAGS)


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("online", [True, False])
def test_each_flag_is_honoured_or_refused_with_its_replacement(name: str, online: bool) -> None:
    replacement = FLAGS[name].online if online else FLAGS[name].alone
    if replacement is None:
        check_flags({name: VALUES[name]}, online=online)
        return
    with pytest.raises(ConfigError, match=rf"^trainer\.{name}: expected it to be left out") as error:
        check_flags({name: VALUES[name]}, online=online)
    assert replacement in str(error.value)


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("online", [True, False])
def test_defaults_and_harmless_values_pass(name: str, online: bool) -> None:
    for value in (trainer_defaults()[name], *FLAGS[name].allowed):
        check_flags({name: value}, online=online)


def test_a_planner_refuses_what_no_callback_could_honour() -> None:
    refused = {name for name, flag in FLAGS.items() if flag.online is not None}
    assert {
        "max_steps", "max_epochs", "accumulate_grad_batches", "gradient_clip_val", "limit_train_batches", "overfit_batches",
        "precision", "devices", "strategy", "num_nodes", "fast_dev_run", "barebones", "enable_checkpointing",
    } <= refused  # fmt: skip


def test_an_unknown_flag_is_named() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.gpus: expected one of accelerator"):
        check_flags({"gpus": 1}, online=True)


def test_what_nobody_honours_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.default_root_dir: .*trainer\.folder"):
        Trainer(tmp_path, default_root_dir="elsewhere")


def test_honoured_flags_reach_lightning(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, accelerator="cpu", max_epochs=7, gradient_clip_val=0.5, detect_anomaly=True, progress=False)
    assert trainer.max_epochs == 7
    assert trainer.gradient_clip_val == 0.5
    assert trainer._detect_anomaly
    assert trainer.num_devices == 1


def test_loggers_are_added_and_false_switches_tensorboard_off(tmp_path: Path) -> None:
    assert Trainer(tmp_path, logger=CSVLogger(tmp_path), accelerator="cpu").tensorboard
    assert len(Trainer(tmp_path, logger=CSVLogger(tmp_path), accelerator="cpu").extra_loggers) == 1
    assert not Trainer(tmp_path, logger=False, accelerator="cpu").tensorboard
