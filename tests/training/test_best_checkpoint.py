"""`trainer.keep_best`: the best evaluation's checkpoint beside the newest, wherever a checkpoint is taken."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mbrl
import mbrl.training.callbacks.checkpoint_callback as callback_module
from mbrl.cli import main
from mbrl.envs import OfflineData, collect, make_task
from mbrl.errors import CheckpointError, ConfigError
from mbrl.models import GaussianEnsemble
from mbrl.training.best_checkpoint import find_best
from mbrl.training.checkpoint import read_checkpoint
from tests.training.toy import ToyPlanner, data, evaluations_return, in_child, lines, trainer

RETURNS = {20: -5.0, 40: -1.0, 60: -3.0}  # the second of three evaluations is the best


@pytest.fixture(autouse=True)
def _returns(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluations_return(RETURNS, monkeypatch)


def fit(folder: Path, ckpt_path: str | None = None, steps: int = 60, **options: Any) -> None:
    options = {"checkpoint_every": 1000, "keep_best": True, **options}
    trainer(folder, **options).fit(ToyPlanner(), data(steps), ckpt_path=ckpt_path)


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_the_best_evaluation_is_kept_whole_beside_the_newest(tmp_path: Path) -> None:
    fit(tmp_path)
    assert kept(tmp_path) == ["best-40", "ckpt-60"]
    checkpoint = read_checkpoint(find_best(tmp_path), buffers=True)
    assert checkpoint["mbrl"]["env_steps"] == 40 and checkpoint["mbrl_buffers"]
    plain = tmp_path / "plain"
    fit(plain, keep_best=False)
    assert kept(plain) == ["ckpt-60"]
    assert lines(plain) == lines(tmp_path), "keeping changes no number"


def test_best_is_taken_wherever_last_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, allow = tmp_path / "run", ["--allow", "tests"]
    fit(run)

    def weights(planner: Any) -> Any:
        return planner.policy.weight.tolist()

    best, last = (weights(mbrl.load(run / name, allow=["tests"])) for name in ("best", "last"))
    assert best == weights(mbrl.load(run / "checkpoints/best-40", allow=["tests"])) != last
    assert last == weights(mbrl.load(run, allow=["tests"]))
    assert weights(mbrl.load_policy(run / "best", allow=["tests"])) == best
    for path in ("best", str(run / "best")):
        trainer(run).test(ToyPlanner(), data(), ckpt_path=path)
        assert json.loads((run / "test.json").read_text())["checkpoint"]["path"] == "checkpoints/best-40"
        trainer(run).validate(ToyPlanner(), data(), ckpt_path=path)
    assert main([*allow, "test", "--ckpt_path", f"{run}/best", "--episodes", "1"]) == 0
    rows = str(tmp_path / "rows.npz")
    assert main([*allow, "collect", rows, "--ckpt_path", f"{run}/best", "--steps", "10"]) == 0
    assert main([*allow, "predict", "--dataset", rows, "--ckpt_path", f"{run}/best"]) == 0
    with np.load(run / "predictions.npz") as file:
        assert len(file["action"]) == 10
    capsys.readouterr()
    assert main([*allow, "report", "--ckpt", f"{run}/best", "--data", rows]) in (0, 2)  # a toy has no model to report
    assert "best-40" in capsys.readouterr().err


def test_a_run_goes_on_from_its_best_in_another_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(run)
    with pytest.raises(CheckpointError, match=r"ckpt-60 is newer and would be lost; give last, or another trainer\.folder"):
        fit(run, "best")
    fit(tmp_path / "on", str(run / "best"))
    assert lines(tmp_path / "on") == lines(run)
    fit(tmp_path / "short", steps=40)
    fit(tmp_path / "short", "best")  # the newest is the best
    assert lines(tmp_path / "short") == lines(run)
    assert kept(tmp_path / "short") == ["best-40", "ckpt-60"]


def test_a_kill_between_the_checkpoint_and_the_best_loses_none(tmp_path: Path) -> None:
    def dies() -> None:
        real, calls = callback_module.keep_if_best, []

        def keep(folder: Path) -> None:
            calls.append(folder)
            if len(calls) == 3:  # at the start, at 20, at 40
                os.kill(os.getpid(), signal.SIGKILL)
            real(folder)

        callback_module.keep_if_best = keep  # type: ignore[assignment]
        fit(tmp_path)

    assert in_child(dies) == -signal.SIGKILL
    assert kept(tmp_path) == ["best-20", "ckpt-20", "ckpt-40"]
    fit(tmp_path, "last")
    assert kept(tmp_path) == ["best-40", "ckpt-60"]


def test_without_a_best(tmp_path: Path) -> None:
    fit(tmp_path, keep_best=False, steps=20)
    told = r"expected the best evaluation's checkpoint in .*, but it has kept none; give last, or train with"
    with pytest.raises(CheckpointError, match=told):
        trainer(tmp_path).test(ToyPlanner(), data(), ckpt_path="best")
    for name in ("best", "last"):
        with pytest.raises(CheckpointError, match=rf"got {name} of no run; give RUN/{name}"):
            mbrl.load(name)


def test_a_model_alone_has_no_returns(tmp_path: Path) -> None:
    collect(make_task("Pendulum-v1"), str(tmp_path / "rows.npz"), steps=20)
    model = GaussianEnsemble(hidden=[4], members=1, elites=1)
    with pytest.raises(ConfigError, match=r"trainer\.keep_best: expected a planner, .*ModelCheckpoint"):
        trainer(tmp_path, keep_best=True).fit(model, OfflineData(str(tmp_path / "rows.npz"), env_id="Pendulum-v1"))
