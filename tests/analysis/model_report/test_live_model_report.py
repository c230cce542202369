"""The live view: what it shows, and that a run with it is the run without it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from mbrl.analysis import LiveModelReport, value_error
from mbrl.analysis.model_report.live_model_report import draw_returns, newest_episodes
from mbrl.cli import main
from mbrl.data import Transitions, make_generator
from mbrl.envs import OfflineData, collect, make_task
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.models import GaussianEnsemble
from mbrl.planners import Dyna, evaluating
from mbrl.policies import SAC
from mbrl.training import summary
from tests.training.test_kill_and_resume import dyna, fit, same_run
from tests.training.toy import ToyPlanner, data, trainer


@pytest.fixture(scope="module", autouse=True)
def _no_curves() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary, "draw_curve", lambda *arguments: False)
        yield


def live() -> LiveModelReport:
    return LiveModelReport(every=20, horizon=3, rows=40)


def test_a_run_with_it_is_the_run_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    look = LiveModelReport.looked_at

    def counted(self: LiveModelReport, planner: Any, lines: Any) -> Any:
        looked.append(planner.env_steps)
        return look(self, planner, lines)

    monkeypatch.setattr(LiveModelReport, "looked_at", counted)
    fit(tmp_path / "without")
    fit(tmp_path / "with", callbacks=[live()])
    assert same_run(tmp_path / "without", tmp_path / "with") == []
    assert looked == [20, 40, 60]  # from the warm-up's end on
    names = sorted(item.name for item in (tmp_path / "with/live").iterdir())
    assert names == ["disagreement.png", "model_error.png", "numbers.jsonl", "return.png"]
    for name in names:
        if name == "numbers.jsonl":
            continue
        with Image.open(tmp_path / "with/live" / name) as picture:
            assert min(picture.size) > 300
    assert not (tmp_path / "without/live").exists()


def test_figures_and_curves_in_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer(tmp_path, tensorboard=True, checkpoint_every=1000, callbacks=[live()]).fit(dyna(), data(40))
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    tags = events.Tags()
    assert {"live/model_error", "live/disagreement", "live/return"} <= set(tags["images"])
    assert [event.step for event in events.Images("live/model_error")] == [20, 40]
    numbers = {"live/one_step_error", "live/error_after_3_steps", "live/disagreement", "live/disagreement_rank_correlation"}
    assert numbers <= set(tags["scalars"])
    assert all(event.value > 0 for event in events.Scalars("live/one_step_error"))
    assert [item.name for item in (tmp_path / "live").iterdir()] == ["numbers.jsonl"]


def test_numbers_are_those_of_the_functions_that_a_report_calls(tmp_path: Path) -> None:
    planner = dyna()
    trainer(tmp_path, callbacks=[live()]).fit(planner, data(40))
    lines = [json.loads(line) for line in (tmp_path / "live/numbers.jsonl").read_text().splitlines()]
    assert [line["env_steps"] for line in lines] == [20, 40]
    rows = Transitions.cat(newest_episodes(planner, 40))
    generator = make_generator("cpu", planner.seed, "live view", 40, "value")
    with evaluating(planner):
        found = value_error(planner.dynamics, planner.learner, rows, generator=generator, discount=0.99, most=40)
    slopes = found.lipschitz["value"].rows()
    assert planner.learner.discount == 0.99
    expected = {
        "vame_sampled": found.vame_sampled,
        "vame_mean": found.vame_mean,
        "value_sd": float(found.real.std(correction=0)),
        "value_slope_mean": slopes["gradient"]["mean"],
        "value_slope_pgd": slopes["pgd"]["max"],
    }
    assert {name: lines[-1][name] for name in expected} == expected
    assert lines[-1]["vame_mean"] > 0


def test_lines_after_a_resumed_steps_are_made_anew(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    made = [{"env_steps": 10, "one_step_error": 1.0}, {"env_steps": 40, "one_step_error": 2.0}]
    (tmp_path / "live/numbers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in made) + '{"env_st')
    trainer(tmp_path, callbacks=[live()]).fit(dyna(), data(25))
    lines = [json.loads(line) for line in (tmp_path / "live/numbers.jsonl").read_text().splitlines()]
    assert [line["env_steps"] for line in lines] == [10, 20]


def test_a_model_of_one_member_has_no_disagreement(tmp_path: Path) -> None:
    single = GaussianEnsemble(members=1, elites=1, hidden=[8], max_epochs=1)
    planner = Dyna(single, SAC(hidden=[8, 8]), warmup_steps=20, rollouts_per_step=4, updates_per_step=1, batch_size=16)
    trainer(tmp_path, callbacks=[live()]).fit(planner, data(25))
    (line,) = [json.loads(line) for line in (tmp_path / "live/numbers.jsonl").read_text().splitlines()]
    assert "vame_sampled" in line and "disagreement" not in line
    assert not (tmp_path / "live/disagreement.png").exists()


def test_from_yaml(tmp_path: Path) -> None:
    small = {"members": 2, "elites": 2, "hidden": [8], "max_epochs": 1}
    config = {
        "model": {
            "class_path": "mbrl.planners.Dyna",
            "init_args": {
                "dynamics": {"class_path": "mbrl.models.GaussianEnsemble", "init_args": small},
                "learner": {"class_path": "mbrl.policies.SAC", "init_args": {"hidden": [8, 8]}},
                "warmup_steps": 20,
                "rollouts_per_step": 1,
                "updates_per_step": 1,
                "batch_size": 16,
            },
        },
        "data": {
            "class_path": "mbrl.envs.OnlineData",
            "init_args": {"env_id": "Pendulum-v1", "steps": 25, "eval_episodes": 1},
        },
        "trainer": {
            "folder": str(tmp_path / "run"),
            "tensorboard": False,
            "progress": False,
            "callbacks": [{"class_path": "mbrl.analysis.LiveModelReport", "init_args": {"every": 10}}],
            "logger": {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": {"save_dir": str(tmp_path)}},
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", str(tmp_path / "config.yaml")]) == 0
    assert (tmp_path / "run/live/model_error.png").exists()

    written = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["trainer"]
    (callback,) = written["callbacks"]
    assert callback["class_path"] == "mbrl.analysis.LiveModelReport"
    assert callback["init_args"] == {"every": 10, "horizon": 10, "rows": 1000}
    assert written["logger"]["init_args"]["save_dir"] == str(tmp_path)
    assert written["tensorboard"] is False
    again = ["fit", "--config", str(tmp_path / "run/config.yaml"), "--trainer.folder", str(tmp_path / "again")]
    assert main([*again, "--trainer.progress", "false"]) == 0
    assert same_run(tmp_path / "run", tmp_path / "again") == []
    assert (tmp_path / "again/live/model_error.png").exists()


def test_a_run_from_python_keeps_it_too(tmp_path: Path) -> None:
    trainer(tmp_path / "run", callbacks=[live()]).fit(dyna(), data(30))
    written = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["trainer"]
    assert written["callbacks"] == [live().spec]
    assert live().spec["init_args"] == {"every": 20, "horizon": 3, "rows": 40}
    trainer(tmp_path / "bare").fit(ToyPlanner(), data(20))
    assert "callbacks" not in yaml.safe_load((tmp_path / "bare/config.yaml").read_text())["trainer"]


def test_the_newest_steps_of_several_environments() -> None:
    planner = dyna()
    planner.build(make_task("Pendulum-v1"))
    rows = 12  # of two environments in turn, one episode each
    obs = torch.arange(rows)[:, None].expand(-1, 3).float()
    zeros = torch.zeros(rows)
    flags = torch.zeros(rows, dtype=torch.bool)
    episode = torch.arange(rows) % 2
    planner.real_buffer.add(Transitions(obs, zeros[:, None], zeros, obs + 2, flags, flags, extras={"episode": episode}))
    found = newest_episodes(planner, 6)
    assert [part.obs[:, 0].tolist() for part in found] == [[6, 8, 10], [7, 9, 11]]


def test_no_return_yet() -> None:
    assert draw_returns([{"env_steps": 5, "model/loss": 1.0}]) is None
    figure = draw_returns([{"env_steps": 5, "train/return": 1.0}, {"env_steps": 10, "eval/return": 2.0}])
    assert figure is not None
    assert [line.get_xydata().tolist() for line in figure.axes[0].lines] == [[[5, 1]], [[10, 2]]]


def test_what_it_cant_show(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="every"):
        LiveModelReport(every=0)
    with pytest.raises(UnsupportedError, match="expected an OnlinePlanner, got ToyPlanner"):
        trainer(tmp_path / "toy", callbacks=[live()]).fit(ToyPlanner(), data(20))
    dataset = collect(make_task("Pendulum-v1"), str(tmp_path / "data.npz"), steps=50)
    model = GaussianEnsemble(hidden=[8], members=2, elites=1)
    with pytest.raises(UnsupportedError, match="got GaussianEnsemble; use mbrl report"):
        trainer(tmp_path / "model", max_epochs=1, callbacks=[live()]).fit(model, OfflineData(str(dataset)))
