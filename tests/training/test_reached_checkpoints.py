"""`trainer.keep_at`: the first checkpoint whose evaluation reaches each of given returns, kept beside the newest."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

import mbrl
import mbrl.training.callbacks.checkpoint_callback as callback_module
from mbrl.cli import main
from mbrl.envs import OfflineData, OnlineData, collect, make_task
from mbrl.errors import CheckpointError, ConfigError
from mbrl.models import GaussianEnsemble
from mbrl.training import Trainer
from mbrl.training.checkpoint import read_checkpoint, read_manifest
from mbrl.training.reached_checkpoints import reached_checkpoints
from tests.training.toy import KillAt, ToyPlanner, data, evaluations_return, in_child, lines, trainer

RETURNS = {20: -9.0, 40: -4.0, 60: -6.0, 80: -2.5}
KEEP = {"return": [-8, -5, -2.5, 7.5]}  # the second evaluation reaches two, the last the third, none the fourth


@pytest.fixture(autouse=True)
def _returns(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluations_return(RETURNS, monkeypatch)


def fit(folder: Path, ckpt_path: str | None = None, steps: int = 80, **options: Any) -> None:
    options = {"checkpoint_every": 1000, "keep_at": KEEP, **options}
    trainer(folder, **options).fit(ToyPlanner(), data(steps), ckpt_path=ckpt_path)


def kept(folder: Path) -> dict[str, int]:
    """The checkpoints of a run and their clocks."""
    folders = (folder / "checkpoints").iterdir()
    return {path.name: read_manifest(path)["position"] for path in sorted(folders)}


WHOLE = {"ckpt-80": 80, "return--2.5": 80, "return--5": 40, "return--8": 40}


def test_the_first_that_reaches_each_is_kept_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path / "run", progress=True, keep_at={"return": [*KEEP["return"], 1234567]})
    assert kept(tmp_path / "run") == WHOLE
    assert "no evaluation reached a return of 7.5 or 1234567\n" in capsys.readouterr().err
    checkpoint = read_checkpoint(tmp_path / "run/checkpoints/return--5", buffers=True)
    assert checkpoint["mbrl"]["env_steps"] == 40 == checkpoint["mbrl_buffers"]["real"]["added"]
    assert [(path.name, value, at) for path, value, at in reached_checkpoints(tmp_path / "run")] == [
        ("return--5", -4.0, 40), ("return--8", -4.0, 40), ("return--2.5", -2.5, 80)
    ]  # fmt: skip
    fit(tmp_path / "plain", keep_at=None)
    assert lines(tmp_path / "plain") == lines(tmp_path / "run"), "keeping changes no number"


def test_both_kinds_are_kept_side_by_side(tmp_path: Path) -> None:
    fit(tmp_path, keep_best=True)
    assert kept(tmp_path) == {"best-80": 80, **WHOLE}


def test_config_repeats_it(tmp_path: Path) -> None:
    fit(tmp_path, steps=20)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["trainer"]["keep_at"] == KEEP


def test_a_kept_one_is_taken_by_path(tmp_path: Path) -> None:
    run, allow = tmp_path / "run", ["--allow", "tests"]
    fit(run)
    path = f"{run}/checkpoints/return--5"
    assert mbrl.load(path, allow=["tests"]).env_steps == 40  # type: ignore[union-attr]
    assert main([*allow, "test", "--ckpt_path", path, "--episodes", "1"]) == 0
    assert json.loads((run / "test.json").read_text())["checkpoint"]["path"] == "checkpoints/return--5"
    assert main([*allow, "collect", str(tmp_path / "rows.npz"), "--ckpt_path", path, "--steps", "10"]) == 0
    fit(tmp_path / "on", path)
    assert lines(tmp_path / "on") == lines(run), "it goes on in another folder as the run itself did"


@pytest.mark.parametrize("step", [30, 50, 70])
def test_kept_once_over_kills_and_resumes(tmp_path: Path, step: int) -> None:
    assert in_child(lambda: fit(tmp_path, checkpoint_every=10, callbacks=[KillAt(step)])) == -signal.SIGKILL
    assert ("return--5" in kept(tmp_path)) == (step > 40)
    fit(tmp_path, "last", steps=60, checkpoint_every=10)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints/return--5").iterdir()}
    fit(tmp_path, "last")
    assert kept(tmp_path) == WHOLE
    assert before == {path: path.stat().st_mtime_ns for path in before}, "a later evaluation overwrites nothing"


def test_a_kill_between_the_checkpoint_and_keeping_it_loses_none(tmp_path: Path) -> None:
    def dies() -> None:
        calls: list[Path] = []
        real = callback_module.keep_reached

        def keep(folder: Path, thresholds: Any) -> None:
            calls.append(folder)
            if len(calls) == 2:  # at the start, at 40
                os.kill(os.getpid(), signal.SIGKILL)
            real(folder, thresholds)

        callback_module.keep_reached = keep  # type: ignore[assignment]
        fit(tmp_path)

    assert in_child(dies) == -signal.SIGKILL
    assert kept(tmp_path) == {"ckpt-40": 40}
    fit(tmp_path, "last")
    assert kept(tmp_path) == WHOLE


def test_what_an_attempt_without_a_checkpoint_kept_goes_aside(tmp_path: Path) -> None:
    fit(tmp_path, keep_best=True, steps=40)
    for path in (tmp_path / "checkpoints/ckpt-40").iterdir():
        path.unlink()
    (tmp_path / "checkpoints/ckpt-40").rmdir()
    RETURNS[40], before = -7.0, RETURNS[40]
    try:
        fit(tmp_path, "last", keep_best=True)
    finally:
        RETURNS[40] = before
    assert kept(tmp_path) == {"best-80": 80, "ckpt-80": 80, "return--2.5": 80, "return--5": 80, "return--8": 40}
    assert (tmp_path / "earlier-1/return--5").is_dir()


@pytest.mark.parametrize(
    "given",
    [
        {"return": []}, {"return": [float("nan")]}, {"return": [2, 1]}, {"return": [1, 1]}, {"return": 3}, {"length": [1]},
        {"return": [1], "length": [2]}, {"return": [True]}, {"return": ["1"]}, {"return": [float("inf")]}, {},
    ],
)  # fmt: skip
def test_other_thresholds_are_refused(tmp_path: Path, given: Any) -> None:
    told = r"trainer\.keep_at: expected \{return: \[a, b, …\]\}.* got .*; give finite numbers"
    with pytest.raises(ConfigError, match=told):
        Trainer(tmp_path, keep_at=given)


def test_there_must_be_evaluations(tmp_path: Path) -> None:
    collect(make_task("Pendulum-v1"), str(tmp_path / "rows.npz"), steps=20)
    model = GaussianEnsemble(hidden=[4], members=1, elites=1)
    with pytest.raises(ConfigError, match=r"trainer\.keep_at: expected a planner"):
        trainer(tmp_path, keep_at=KEEP).fit(model, OfflineData(str(tmp_path / "rows.npz"), env_id="Pendulum-v1"))


def test_from_the_command_line(tmp_path: Path) -> None:
    """In YAML and as an argument; `return` is no keyword there."""
    config = tmp_path / "config.yaml"
    part = {
        "model": {"class_path": "tests.training.toy.ToyPlanner"},
        "data": {"class_path": "mbrl.envs.OnlineData", "init_args": OnlineData("Pendulum-v1", steps=40).spec["init_args"]},
        "trainer": {"folder": str(tmp_path / "run"), "eval_every": 20, "tensorboard": False, "progress": False},
    }
    part["data"]["init_args"] |= {"env_kwargs": {"max_episode_steps": 25}, "eval_episodes": 1}  # type: ignore[index]
    config.write_text(yaml.safe_dump(part))
    assert main(["fit", "--config", str(config), "--trainer.keep_at", "{return: [-5]}"]) == 0
    assert sorted(kept(tmp_path / "run")) == ["ckpt-40", "return--5"]
    assert main(["fit", "--config", str(config), "--trainer.keep_at", "{length: [-5]}"]) == 2


def test_a_link_is_named(tmp_path: Path) -> None:
    fit(tmp_path / "run")
    place = tmp_path / "run/checkpoints/return--5"
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"expected a checkpoint in .*return--5, got a link, which isn't followed"):
        reached_checkpoints(tmp_path / "run")
