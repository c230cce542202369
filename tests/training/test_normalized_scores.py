"""What a test of a planner says between a dataset's reference returns, and how many real episodes its run had seen."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbrl.cli import main
from mbrl.data import NormalizedScore, write_minari
from mbrl.envs import OfflineData, make_task
from mbrl.envs.collect import record
from mbrl.training import Trainer
from mbrl.training.checkpoint import read_checkpoint
from mbrl.training.commands import fit
from mbrl.training.output import show_metrics
from tests.planners.offline import ENV, offline
from tests.training.toy import in_child, lines, trainer

WHOSE = "our own references"


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    rows, _ = record(make_task(**ENV), 100, "toy/random-v0")
    rows.references = NormalizedScore(-200.0, -100.0, WHOSE)
    write_minari("toy/random-v0", rows.with_cuts(), algorithm="random", description="Toy.")
    return "toy/random-v0"


def data(dataset: str, steps: int = 40, **options: int) -> OfflineData:
    return OfflineData(dataset, steps=steps, **{"eval_episodes": 2, "test_episodes": 3, **options})


def run(folder: Path, dataset: str, ckpt_path: str | None = None, **options: int) -> Trainer:
    made = trainer(folder, log_every=20, eval_every=10)
    made.fit(offline(), data(dataset, **options), ckpt_path=ckpt_path)
    return made


def test_scores_and_whose_they_are(dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    run(folder, dataset)
    capsys.readouterr()
    assert main(["--allow", "tests", "test", "--ckpt_path", str(folder)]) == 0
    told = capsys.readouterr().out
    test = json.loads((folder / "test.json").read_text())
    assert test["test/normalized_score"] == pytest.approx(test["test/return"] + 200)
    assert test["test/normalized_score_low"] == pytest.approx(test["test/return_low"] + 200)
    assert test["test/normalized_score_std"] == pytest.approx(test["test/return_std"]), "scaled, and not moved"
    assert test["references"] == {"low": -200.0, "high": -100.0, "source": WHOSE}
    assert f"normalised score {test['test/normalized_score']:.1f} (sd" in told and WHOSE in told
    assert "0 at -200 and 100 at -100\n" in told
    assert main(["--allow", "tests", "test", "--ckpt_path", str(folder), "--dataset", dataset]) == 2
    assert "--dataset: expected a model fitted alone, got" in capsys.readouterr().err, "another's references would count"


def test_without_references_that_is_said(dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = next((tmp_path / "datasets").rglob("metadata.json"))
    notes = json.loads(path.read_text())
    for low in (None, float("nan"), "x", -50.0):
        path.write_text(json.dumps({**notes, "ref_min_score": low}))
        if low is None:
            assert OfflineData(dataset).references is None
        else:
            with pytest.warns(match=r"expected its ref_min_score below its ref_max_score, got .*; correct them"):
                assert OfflineData(dataset).references is None
    path.write_text(json.dumps({**notes, "ref_min_score": None}))
    run(tmp_path / "run", dataset, steps=10)
    capsys.readouterr()
    assert main(["--allow", "tests", "test", "--ckpt_path", str(tmp_path / "run"), "--episodes", "1"]) == 0
    assert "no normalised score: toy/random-v0 has no reference scores" in capsys.readouterr().err
    assert "references" not in json.loads((tmp_path / "run/test.json").read_text())


def test_the_longest_references_fit_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    source = (
        "our own references of MountainCarContinuous-v0: -33.2034 of uniform actions, 93.7261 of a trained policy's "
        "deterministic ones, means of 100 episodes, seed 0"
    )
    metrics = {"test/return": -1.0, "test/episodes": 3.0, "test/normalized_score": 1.25, "test/normalized_score_std": 0.5}
    show_metrics("test", metrics, None, NormalizedScore(-33.2034, 93.7261, source))
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 80 and source in " ".join(told.split())


@pytest.mark.parametrize("command", ["test", "validate"])
def test_a_run_is_evaluated_without_its_dataset(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """It may have moved, or lie on another machine: scores are by the references that the run noted."""
    run(tmp_path / "run", dataset)
    asked = ["--allow", "tests", command, "--ckpt_path", str(tmp_path / "run")]
    assert main(asked) == 0
    before = capsys.readouterr().out
    shutil.rmtree(tmp_path / "datasets")
    assert main(asked) == 0
    assert capsys.readouterr().out == before and (command == "validate" or "normalised score" in before)


def test_an_older_run_reads_its_dataset_for_the_references(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "run", dataset)

    def older(path: Path, **options: bool) -> dict[str, Any]:
        checkpoint = read_checkpoint(path, **options)
        del checkpoint["mbrl_run"]["references"]
        return checkpoint

    monkeypatch.setattr(fit, "read_checkpoint", older)
    asked = ["--allow", "tests", "test", "--ckpt_path", str(tmp_path / "run")]
    assert main(asked) == 0
    assert "normalised score" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "datasets")
    assert main(asked) == 2
    assert "toy/random-v0" in capsys.readouterr().err


@pytest.mark.parametrize("noted", [{"low": 1.0}, "text", {"low": 2.0, "high": 1.0, "source": "x"}, 3])
def test_references_that_are_none_are_refused(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, noted: Any
) -> None:
    run(tmp_path / "run", dataset, steps=10)

    def hostile(path: Path, **options: bool) -> dict[str, Any]:
        checkpoint = read_checkpoint(path, **options)
        checkpoint["mbrl_run"]["references"] = noted
        return checkpoint

    monkeypatch.setattr(fit, "read_checkpoint", hostile)
    assert main(["--allow", "tests", "test", "--ckpt_path", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.startswith("mbrl: ")


def test_real_episodes_are_counted_over_kills(dataset: str, tmp_path: Path) -> None:
    run(tmp_path / "whole", dataset)
    counted = [line["eval/total_episodes"] for line in lines(tmp_path / "whole", "updates") if "eval/return" in line]
    assert counted == [2, 4, 6, 8]

    def dies() -> None:
        real = Trainer.write_line

        def write(self: Trainer, position: int, line: dict[str, float]) -> None:
            real(self, position, line)
            if position == 20:
                os.kill(os.getpid(), signal.SIGKILL)

        Trainer.write_line = write  # type: ignore[method-assign, assignment]
        run(tmp_path / "killed", dataset)

    assert in_child(dies) == -signal.SIGKILL
    made = run(tmp_path / "killed", dataset, "last")
    assert lines(tmp_path / "killed", "updates") == lines(tmp_path / "whole", "updates")
    made.test(offline(), data(dataset), ckpt_path="last")
    assert json.loads((tmp_path / "killed/test.json").read_text())["eval/total_episodes"] == 8


def test_a_run_without_evaluations_has_seen_none(dataset: str, tmp_path: Path) -> None:
    made = run(tmp_path, dataset, steps=10, eval_episodes=0)
    made.test(offline(), data(dataset), ckpt_path="last")
    assert json.loads((tmp_path / "test.json").read_text())["eval/total_episodes"] == 0


def test_a_minari_dataset_is_learned_from_by_one_command(dataset: str, tmp_path: Path) -> None:
    """By id, from the shipped files, and tested in the environment that it names."""
    small = {
        "model": {
            "init_args": {
                "batch_size": 16, "rollout_batch": 16, "rollout_every": 6, "rollout_length": 2,
                "learner": {"init_args": {"hidden": [8]}},
                "dynamics": {"init_args": {"hidden": [8], "members": 2, "elites": 1, "max_epochs": 1, "weight_decay": 0.0}},
            }
        },
        "data": {"init_args": {"steps": 12, "eval_episodes": 1, "test_episodes": 2}},
        "trainer": {"folder": str(tmp_path / "run"), "eval_every": 6, "progress": False, "tensorboard": False},
    }  # fmt: skip
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small))
    files = ["configs/base/offline.yaml", "configs/offline/mopo.yaml", str(tmp_path / "small.yaml")]
    configs = [part for file in files for part in ("--config", file)]
    assert main(["fit", *configs, "--data.init_args.path", dataset]) == 0
    assert main(["test", *configs, "--data.init_args.path", dataset]) == 0
    test = json.loads((tmp_path / "run/test.json").read_text())
    assert test["references"]["source"] == WHOSE and test["eval/total_episodes"] == 2
    assert test["checkpoint"]["updates"] == 12 and "test/normalized_score" in test
