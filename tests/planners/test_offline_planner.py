"""A planner that learns from a dataset alone is trained, evaluated, resumed and loaded like any other, on its own clock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import mbrl
from mbrl.analysis.runs.run_curves import own_clock, read_curves
from mbrl.cli import main
from mbrl.envs import OfflineData
from mbrl.envs.dataset_identity import dataset_identity
from mbrl.errors import CheckpointError, ConfigError, DataError, MbrlWarning, NotBuiltError
from mbrl.models import GaussianEnsemble
from mbrl.networks import Normalizer
from mbrl.planners import Dyna
from mbrl.policies import SAC
from mbrl.search.work.command_runner import _Lines
from mbrl.training.checkpoint import checkpoint_folders, read_checkpoint
from tests.planners.offline import Offline, offline, offline_data, record
from tests.training.toy import ToyPlanner, data, lines, trainer

ALLOW = ["tests"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("data") / "pendulum.npz")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "offline" / "seed0"
    torch.set_num_threads(1)
    trainer(folder).fit(offline(), offline_data(dataset))
    return folder


def test_lines_are_counted_in_updates(run: Path) -> None:
    found = lines(run, "updates")
    assert [line["updates"] for line in found] == [10, 20, 30, 40, 50, 60]
    assert [line["updates"] for line in found if "eval/return" in line] == [20, 40, 60]
    assert not any("env_steps" in line for line in found)
    assert "learner/critic_loss" in found[-1] and "rollout/stored" in found[-1]
    assert ["model/loss" in line for line in found] == [True, False, False, False, False, False], "it fits once"
    header = (run / "metrics.csv").read_text().splitlines()[0].split(",")
    assert header[0] == "updates" and "time/updates_per_second" in header and "time/steps_per_second" not in header


def test_real_steps_of_evaluations_are_counted(run: Path) -> None:
    found = [line["eval/env_steps"] for line in lines(run, "updates") if "eval/return" in line]
    assert found == [50, 100, 150], "two episodes of 25 steps each"


def test_checkpoint_and_summary_stand_on_its_clock(run: Path) -> None:
    (folder,) = checkpoint_folders(run)
    assert folder.name == "ckpt-60"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["clock"], manifest["position"]) == ("updates", 60)
    about = read_checkpoint(folder, buffers=False)["mbrl"]
    assert about["updates"] == 60 and "env_steps" not in about
    summary = json.loads((run / "summary.json").read_text())
    assert summary["updates"] == 60 and "env_steps" not in summary


def test_a_learner_sees_the_dataset(dataset: Path) -> None:
    data = offline_data(dataset)
    planner = Offline(offline().dynamics, SAC(hidden=[8], normalize_obs=True))
    planner.build(data.task)
    planner.take(data.transitions)
    normalizer = planner.learner.policy.normalizer
    expected = Normalizer(3)
    expected.fit(data.transitions.obs)
    assert all(torch.equal(value, normalizer.state_dict()[name]) for name, value in expected.state_dict().items())
    assert not torch.equal(normalizer.sd, torch.ones(3))


def test_the_dataset_stays_out_of_checkpoints(run: Path, dataset: Path) -> None:
    (folder,) = checkpoint_folders(run)
    assert sorted(path.name for path in folder.glob("buffer-*")) == ["buffer-model.pt"]
    obs = offline_data(dataset).transitions.obs
    state = read_checkpoint(folder, buffers=True)

    def tensors(value: Any) -> list[torch.Tensor]:
        if isinstance(value, torch.Tensor):
            return [value]
        items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
        return [found for item in items for found in tensors(item)]

    wide = [item for item in tensors(state) if item.ndim == 2 and item.shape[1] >= 3 and len(item) >= len(obs)]
    assert not any(torch.equal(item[: len(obs), :3].float(), obs) for item in wide)
    assert state["OfflineData"]["dataset"]["rows"] == 100


def test_the_planner_that_is_loaded_acts_as_it_did(run: Path, dataset: Path) -> None:
    planner = mbrl.load(run, ALLOW)
    assert isinstance(planner, Offline) and (planner.updates, planner.clock, planner.env_steps) == (60, 60, 0)
    action = mbrl.load_policy(run, ALLOW).predict(np.zeros(3, np.float32))
    assert action.shape == (1,) and np.isfinite(action).all()
    with pytest.raises(NotBuiltError, match=r"without a dataset, which fit gives it; call take\(rows\)"):
        _ = planner.real_buffer


def test_the_test_runs_episodes_that_evaluations_never_saw(
    run: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", "--ckpt_path", str(run), "--allow", "tests", "--episodes", "2"]) == 0
    assert json.loads((run / "test.json").read_text())["test/episodes"] == 2
    found = trainer(run).validate(mbrl.load(run, ALLOW), offline_data(dataset))
    assert found["eval/return"] == pytest.approx(lines(run, "updates")[-1]["eval/return"])


def test_a_finished_run_says_so_and_goes_on_for_more(tmp_path: Path, dataset: Path) -> None:
    trainer(tmp_path / "whole").fit(offline(), offline_data(dataset, 30))
    trainer(tmp_path / "part").fit(offline(), offline_data(dataset, 15))
    trainer(tmp_path / "part").fit(offline(), offline_data(dataset, 30), ckpt_path="last")
    whole, part = (lines(tmp_path / name, "updates") for name in ("whole", "part"))
    assert whole[-1].pop("eval/env_steps") == 100 and part[-1].pop("eval/env_steps") == 150  # one at its first end too
    assert whole[-1].pop("eval/total_episodes") == 4 and part[-1].pop("eval/total_episodes") == 6
    assert part[-1] == whole[-1]


def test_the_command_line_trains_it(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {
        "model": offline().spec,
        "data": {
            "class_path": "mbrl.envs.OfflineData",
            "init_args": {"path": str(dataset), "steps": 20, "eval_episodes": 1},
        },
        "trainer": {"folder": str(tmp_path / "run"), "tensorboard": False, "log_every": 5, "eval_every": 10},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main(["--allow", "tests", "fit", "--config", str(path)]) == 0
    assert lines(tmp_path / "run", "updates")[-1]["updates"] == 20
    said = capsys.readouterr().err
    assert "update 20/20" in said, "progress counts updates"


def test_curves_and_searches_ask_its_clock(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert own_clock([str(run)]) == "updates"
    (curves,) = read_curves([str(run)], x_name="updates").groups.values()
    assert curves[0].x.tolist() == [20, 40, 60]
    with pytest.raises(DataError, match="draw them over updates or time/wall_s instead"):
        read_curves([str(run)])
    monkeypatch.chdir(run.parent)
    assert main(["plot", str(run)]) == 0
    assert "updates" in capsys.readouterr().out.splitlines()[0]
    read = _Lines(run / "metrics.jsonl", lambda: 0.0)
    assert [step for step, _ in read.series("eval/return")] == [20, 40, 60], "what a pruner is told"


def test_the_goal_is_met_on_its_clock(tmp_path: Path, dataset: Path) -> None:
    trainer(tmp_path, stop_at=-1e9, stop_count=2).fit(offline(), offline_data(dataset))
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["ckpt-40"]
    assert json.loads((tmp_path / "summary.json").read_text())["ended_early"]


# which data a planner takes -----------------------------------------------------------------------------------------------


def small_dyna(**options: Any) -> Dyna:
    return Dyna(GaussianEnsemble(hidden=[8], members=2, elites=1), SAC(hidden=[8]), warmup_steps=10, **options)


def test_the_other_kind_of_data_is_refused(tmp_path: Path, dataset: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"Offline: expected a dataset to learn from \(mbrl\.envs\.OfflineData\), got OnlineData"
    ):
        trainer(tmp_path / "a").fit(offline(), data(20))
    with pytest.raises(ConfigError, match=r"Dyna: expected a data module with environments.*OfflineData"):
        trainer(tmp_path / "b").fit(small_dyna(), offline_data(dataset))
    assert not (tmp_path / "a" / "config.yaml").exists() and not (tmp_path / "b" / "config.yaml").exists()


def test_lengths_go_where_they_count(tmp_path: Path, dataset: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected the length of the run \(in updates\), got none; set data"):
        trainer(tmp_path / "a").fit(offline(), offline_data(dataset, None))
    with pytest.raises(
        ConfigError, match=r"steps=60.*expected a planner.*got GaussianEnsemble alone; set trainer\.max_epochs"
    ):
        trainer(tmp_path / "b").fit(GaussianEnsemble(hidden=[8], members=2, elites=1), offline_data(dataset))


def test_episodes_are_of_planners_alone(tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = GaussianEnsemble(hidden=[8], members=2, elites=1)
    trainer(tmp_path / "model", max_epochs=1).fit(model, offline_data(dataset, None))
    assert main(["test", "--ckpt_path", str(tmp_path / "model"), "--episodes", "2"]) == 2
    assert "--episodes: expected a planner's checkpoint, got GaussianEnsemble's" in capsys.readouterr().err


# evaluation, where there is an environment -------------------------------------------------------------------------------


@pytest.fixture
def unnamed(tmp_path: Path, dataset: Path) -> dict[str, Any]:
    """A dataset that names no environment."""
    path = tmp_path / "unnamed.npz"
    with np.load(dataset) as file:
        np.savez(path, **{name: file[name] for name in file.files if file[name].dtype.kind in "fib"})
    return {"path": path, "action_low": [-2.0], "action_high": [2.0]}


def test_without_an_environment_there_is_no_evaluation_and_it_says_so(
    tmp_path: Path, unnamed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer(tmp_path / "run", progress=True).fit(offline(), offline_data(**unnamed, steps=20))
    assert "no evaluation: " in capsys.readouterr().err
    found = lines(tmp_path / "run", "updates")
    assert found[-1]["updates"] == 20 and not any(name.startswith("eval/") for line in found for name in line)
    with pytest.raises(ConfigError, match=r"stop_at: expected evaluations to reach it, got none \(.*names no environment"):
        trainer(tmp_path / "goal", stop_at=1.0).fit(offline(), offline_data(**unnamed, steps=20))
    with pytest.raises(ConfigError, match=r"expected an environment to act in, got .* names no environment; set data"):
        trainer(tmp_path / "run").test(mbrl.load(tmp_path / "run", ALLOW), offline_data(**unnamed))


def test_an_evaluation_can_be_declined(tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path, progress=True).fit(offline(), offline_data(dataset, 20, eval_episodes=0))
    assert "no evaluation: eval_episodes is 0" in capsys.readouterr().err
    assert not any("eval/return" in line for line in lines(tmp_path, "updates"))


def test_how_often_it_is_evaluated_changes_nothing_else(tmp_path: Path, dataset: Path) -> None:
    for name, options in (("often", {"eval_every": 10}), ("never", {})):
        episodes = {"eval_episodes": 0} if name == "never" else {}
        trainer(tmp_path / name, **options).fit(offline(), offline_data(dataset, 30, **episodes))
    often, never = (
        [
            {key: value for key, value in line.items() if not key.startswith("eval/")}
            for line in lines(tmp_path / name, "updates")
        ]
        for name in ("often", "never")
    )
    assert often == never


# the dataset is read again -----------------------------------------------------------------------------------------------


def test_another_dataset_is_refused_on_resume(tmp_path: Path, dataset: Path) -> None:
    path = record(tmp_path / "mine.npz", seed=0)
    trainer(tmp_path / "run").fit(offline(), offline_data(path, 20))
    path.unlink()
    record(path, seed=1)
    with pytest.raises(CheckpointError, match=r"expected the dataset that the run began with, 100 rows .* got 100 rows"):
        trainer(tmp_path / "run").fit(offline(), offline_data(path, 40), ckpt_path="last")


def model() -> GaussianEnsemble:
    return GaussianEnsemble(hidden=[8], members=2, elites=1)


@pytest.mark.parametrize("alone", [False, True])
def test_a_dataset_that_was_moved_is_the_same(tmp_path: Path, alone: bool) -> None:
    """A planner's, and that of a model fitted alone; at the new place other rows are refused all the same."""
    path = record(tmp_path / "mine.npz", seed=0)

    def go_on(path: Path, length: int) -> None:
        made, options = (model(), {"max_epochs": length}) if alone else (offline(), {})
        rows = offline_data(path, None if alone else 20 * length)
        trainer(tmp_path / "run", **options).fit(made, rows, ckpt_path="last" if length > 1 else None)

    go_on(path, 1)
    moved = path.rename(tmp_path / "elsewhere.npz")
    go_on(moved, 2)
    record(path, seed=1)
    with pytest.raises(CheckpointError, match=r"expected the dataset that the run began with, 100 rows .* in mine\.npz"):
        go_on(path, 3)


@pytest.mark.parametrize("column", ["obs", "action", "reward", "next_obs", "terminated", "episode"])
def test_a_dataset_is_known_by_every_column(dataset: Path, column: str) -> None:
    rows, other = (offline_data(dataset).transitions for _ in range(2))
    assert dataset_identity(rows) == dataset_identity(other)
    changed = other.extras[column] if column == "episode" else getattr(other, column)
    changed[7] = ~changed[7] if changed.dtype == torch.bool else changed[7] + 1
    assert dataset_identity(rows) != dataset_identity(other)


def test_never_fitted_is_told(tmp_path: Path, dataset: Path) -> None:
    planner, rows = offline(), offline_data(dataset)
    planner.build(rows.task, 0)
    assert planner.never_fitted
    with pytest.raises(MbrlWarning, match="was never fitted: it has made no update, so it acts as an untrained one"):
        trainer(tmp_path).test(planner, rows)
    planner.take(rows.transitions)
    planner.make_optimizers()
    planner.tick()
    assert not planner.never_fitted and planner.clock == 1
    planner.build(rows.task, 0)
    assert planner.clock == planner.updates == 0


def test_online_planners_count_real_steps() -> None:
    planner = ToyPlanner()
    assert planner.clock_name == "env_steps" and planner.learns_from == "environments"
    planner.env_steps = 7
    assert planner.clock == 7
    assert isinstance(OfflineData("nowhere.npz").steps, type(None))
