"""A run that ended stays ended, and one that lost something says so before anything is written over it."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import mbrl.training.trainer as trainer_module
from mbrl.cli import main
from mbrl.errors import CheckpointError, MbrlWarning, RunFolderError
from mbrl.training.checkpoint import checkpoint_folders
from tests.training.toy import KillAt, ToyPlanner, data, in_child, lines, trainer

GOAL = {"stop_at": -1e9, "stop_count": 2}  # each evaluation reaches it: ended at 40 of 60


def fit(folder: Path, ckpt_path: str | None = None, steps: int = 60, **options: Any) -> None:
    trainer(folder, **options).fit(ToyPlanner(), data(steps), ckpt_path=ckpt_path)


def killed_before_the_summary(folder: Path, **options: Any) -> None:
    def dies() -> None:
        trainer_module.write_summary = lambda *rest: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        fit(folder, **options)

    assert in_child(dies) == -signal.SIGKILL
    assert not (folder / "summary.json").exists()


def test_a_run_that_met_its_goal_is_finished_without_its_summary(tmp_path: Path) -> None:
    killed_before_the_summary(tmp_path, **GOAL)
    fit(tmp_path, "last", **GOAL)
    assert [line["env_steps"] for line in lines(tmp_path)] == [10, 20, 30, 40]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["env_steps"] == 40 and summary["ended_early"] is True
    fit(tmp_path, "last", stop_at=1e9, stop_count=2)  # another goal goes on
    assert [line["env_steps"] for line in lines(tmp_path)] == [10, 20, 30, 40, 50, 60]
    assert json.loads((tmp_path / "summary.json").read_text())["ended_early"] is False


def test_a_run_at_its_last_step_is_finished_without_its_summary(tmp_path: Path) -> None:
    killed_before_the_summary(tmp_path)
    fit(tmp_path, "last")
    assert json.loads((tmp_path / "summary.json").read_text())["env_steps"] == 60
    assert not (tmp_path / "config.resume-1.yaml").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"ended_early": true}'])
def test_a_damaged_summary_of_an_older_run(tmp_path: Path, text: str) -> None:
    fit(tmp_path, **GOAL)
    manifest = checkpoint_folders(tmp_path)[0] / "manifest.json"
    told = json.loads(manifest.read_text())
    del told["ended"]
    manifest.write_text(json.dumps(told))
    fit(tmp_path, "last", **GOAL)
    assert len(lines(tmp_path)) == 4, "the summary says it"
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"expected .*summary\.json to say .* ended, but it is damaged"):
        fit(tmp_path, "last", **GOAL)


def test_a_run_without_a_checkpoint_begins_anew_and_keeps_what_was_written(tmp_path: Path) -> None:
    kill = [KillAt(20)]
    assert in_child(lambda: fit(tmp_path, checkpoint_every=50, callbacks=kill)) == -signal.SIGKILL
    before = {name: (tmp_path / name).read_bytes() for name in ("config.yaml", "metrics.jsonl")}
    assert before["metrics.jsonl"]
    fit(tmp_path, "last", steps=30)
    assert [line["env_steps"] for line in lines(tmp_path)] == [10, 20, 30]
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["data"]["init_args"]["steps"] == 30
    assert not (tmp_path / "config.resume-1.yaml").exists()
    assert {name: (tmp_path / "earlier-1" / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("lost", ["manifest.json", "model.pt"])
def test_a_run_whose_only_checkpoint_is_damaged_is_refused(tmp_path: Path, lost: str) -> None:
    fit(tmp_path, steps=20)
    (checkpoint_folders(tmp_path)[0] / lost).unlink()
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match=rf"ckpt-20.*{lost}"):
        fit(tmp_path, "last")
    assert (tmp_path / "metrics.jsonl").read_bytes() == before and checkpoint_folders(tmp_path)


@pytest.mark.filterwarnings("ignore:.*treespec:FutureWarning")
@pytest.mark.parametrize("left", [None, ""])
def test_lost_metrics_are_told(left: str | None, tmp_path: Path) -> None:
    fit(tmp_path, steps=20)
    (tmp_path / "metrics.jsonl").unlink()
    if left is not None:
        (tmp_path / "metrics.jsonl").write_text(left)
    with pytest.warns(MbrlWarning, match=r"metrics\.jsonl is lost, so the curves begin at the checkpoint, env_steps 20"):
        fit(tmp_path, "last", steps=30)
    assert [line["env_steps"] for line in lines(tmp_path)] == [30]


def test_the_test_says_which_checkpoint_it_is_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    fit(run, steps=20)
    manifest = json.loads((run / "checkpoints/ckpt-20/manifest.json").read_text())
    about = {"path": "checkpoints/ckpt-20", "env_steps": 20, "sha256": manifest["files"]["model.pt"]["sha256"]}

    def told(folder: Path) -> Any:
        return json.loads((folder / "test.json").read_text())["checkpoint"]

    trainer(run).test(ToyPlanner(), data(), ckpt_path="last")
    assert told(run) == about
    made = trainer(tmp_path / "memory")
    planner = ToyPlanner()
    made.fit(planner, data(10))
    made.test(planner, data())
    assert told(tmp_path / "memory") is None, "the planner as it was in memory"
    (run / "test.json").unlink()
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert main(["--allow", "tests", "test", "--ckpt_path", str(run), "--episodes", "1"]) == 0
    assert told(run) == about
    assert (
        main(["--allow", "tests", "test", "--ckpt_path", str(run), "--folder", str(tmp_path / "x"), "--episodes", "1"]) == 0
    )
    assert told(tmp_path / "x")["path"] == str(run / "checkpoints/ckpt-20")
