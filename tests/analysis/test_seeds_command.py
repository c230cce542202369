"""`mbrl fit --seeds`: from one command to the folders, the figure and the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbrl.analysis.commands import seeds
from mbrl.cli import main
from mbrl.training.processes.run_process import CHILD
from mbrl.training.processes.seed_runs import Ended, SeedRuns


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    settings = {
        "seed_everything": 5,
        "name": "toy",
        "model": {"class_path": "tests.training.toy.ToyPlanner", "init_args": {"lr": 0.01}},
        "data": {
            "class_path": "mbrl.envs.OnlineData",
            "init_args": {"env_id": "Pendulum-v1", "steps": 40, "eval_episodes": 1, "env_kwargs": {"max_episode_steps": 10}},
        },
        "trainer": {
            "eval_every": 20,
            "log_every": 20,
            "checkpoint_every": 20,
            "checkpoint_min_ratio": 0.0,
            "accelerator": "cpu",
        },
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path / "toy.yaml"


def values(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in lines]


@pytest.mark.skipif(CHILD[0] != "-P", reason="the real processes")
def test_seeds_in_processes_equal_single_runs(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    single = ["fit", "--config", str(config), "--trainer.progress", "false"]
    assert main([*single, "--seed_everything", "3", "--name", "single"]) == 0
    other = ["--seed_everything", "4", "--model.init_args.lr", "0.5"]  # an older run of other settings
    assert main([*single, *other]) == 0
    capsys.readouterr()
    assert main(["fit", "--config", str(config), "--seeds", "3..4", "--workers", "1"]) == 2
    found = capsys.readouterr()
    assert "2 seeds, 1 at a time, into runs/toy" in found.err
    assert "seed 3  done" in found.err and "seed 3  env_steps 20: eval/return -" in found.err
    assert (
        "seed 4  error: expected the checkpoint's settings, but init_args.lr was 0.5 and is 0.01 now"
        in found.err.replace("model.", "")
    )
    assert values(Path("runs/toy/seed3")) == values(Path("runs/single/seed3"))
    assert "toy" in found.out and Path("runs/toy/seeds.png").is_file() and Path("runs/toy/seeds.csv").is_file()
    assert "seed4" not in found.out


def test_what_every_seed_would_refuse_is_told_once(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, told in (
        (["--model.init_args.lr", "x"], "lr"),
        (["--trainer.max_steps", "3"], "trainer.max_steps"),
        (["--trainer", '{"folder": "x"}'], "--seeds: expected no trainer.folder beside it"),
    ):
        assert main(["fit", "--config", str(config), "--seeds", "0..1", *wrong]) == 2
        said = capsys.readouterr().err
        assert told in said and said.count("\n") == 1, said
    assert not Path("runs").exists() and not Path("x").exists()


def test_each_seed_goes_on_with_its_own(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, list[str]] = {}
    ends = {0: Ended("ok"), 2: Ended("diverged", "expected finite metrics")}

    def run(self: SeedRuns) -> dict[int, Ended]:
        seen.update({seed: list(self.arguments(seed, folder)) for seed, folder in self.folders.items()})
        return ends

    monkeypatch.setattr(SeedRuns, "run", run)
    drawn: list[list[str]] = []
    monkeypatch.setattr(seeds.plot, "run", lambda given, allow: drawn.append(given.runs) or 0)
    assert main(["--allow", "tests", "fit", "--config", str(config), "--seeds", "0,2", "--variant", "b"]) == 4
    assert seen[2][:3] == ["--allow", "tests", "fit"]
    assert seen[2][-3:] == ["--seed_everything=null", "--data.init_args.seed=2", "--ckpt_path=last"]
    assert drawn == [["runs/toy-b/seed0"]], "what came to its end"
    ends.pop(0)
    assert main(["fit", "--config", str(config), "--seeds", "0,2"]) == 4 and len(drawn) == 1
