"""Whole runs of a small planner, and of a model alone."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml

import mbrl
from mbrl.envs import OfflineData, collect, make_task
from mbrl.errors import CheckpointError, ConfigError, DivergedError, MbrlWarning, RunFolderError, TaskError
from mbrl.models import GaussianEnsemble
from mbrl.training import checkpoint, summary
from mbrl.training.checkpoint import checkpoint_folders, read_checkpoint, read_manifest
from mbrl.training.products.curve import draw_curve
from tests.models.test_model_module import Nearest
from tests.training.toy import ToyPlanner, data, lines, trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary, "draw_curve", draw_curve)
        trainer(folder, tensorboard=True).fit(ToyPlanner(), data())
    return folder


def test_everything_is_in_the_run_folder(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names == {
        ".fitting",
        "checkpoints",
        "config.yaml",
        "curve.png",
        "metrics.csv",
        "metrics.jsonl",
        "summary.json",
        "tensorboard",
    }
    assert [folder.name for folder in checkpoint_folders(run)] == ["ckpt-60"]
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert list((run / "tensorboard").glob("events.*"))
    summary = json.loads((run / "summary.json").read_text())
    assert summary["env_steps"] == 60
    assert not summary["ended_early"]


def test_lines_and_evaluations_come_at_their_steps(run: Path) -> None:
    found = lines(run)
    assert [line["env_steps"] for line in found] == [10, 20, 30, 40, 50, 60]
    assert [line["env_steps"] for line in found if "eval/return" in line] == [20, 40, 60]
    assert all("learner/loss" in line for line in found)


def test_the_config_starts_the_same_run_again(run: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"] == ToyPlanner().spec
    assert config["data"] == data().spec
    assert config["trainer"]["folder"] == str(run)
    assert config["trainer"]["log_every"] == 10


def test_same_seed_same_numbers_another_seed_others(run: Path, tmp_path: Path) -> None:
    trainer(tmp_path / "same").fit(ToyPlanner(), data())
    trainer(tmp_path / "other").fit(ToyPlanner(), data(seed=1))
    assert lines(tmp_path / "same") == lines(run)
    assert lines(tmp_path / "other") != lines(run)


def test_logging_and_evaluation_change_nothing_else(run: Path, tmp_path: Path) -> None:
    trainer(tmp_path, log_every=60, eval_every=60, checkpoint_every=60).fit(ToyPlanner(), data(eval_episodes=2))
    a, b = (read_checkpoint(checkpoint_folders(folder)[0], buffers=False)["state_dict"] for folder in (run, tmp_path))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_reseeding_global_generators_in_mid_run_changes_nothing(run: Path, tmp_path: Path) -> None:
    class Reseed(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            torch.manual_seed(pl_module.env_steps)
            np.random.seed(pl_module.env_steps)  # noqa: NPY002
            random.seed(pl_module.env_steps)

    trainer(tmp_path, callbacks=[Reseed()]).fit(ToyPlanner(), data())
    assert lines(tmp_path) == lines(run)


def test_a_used_folder_is_refused_and_left_alone(run: Path) -> None:
    before = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(RunFolderError, match="holds a run"):
        trainer(run).fit(ToyPlanner(), data())
    assert (run / "metrics.jsonl").read_bytes() == before


def test_a_run_that_fails_to_start_leaves_its_folder_free(tmp_path: Path) -> None:
    with pytest.raises(TaskError):
        trainer(tmp_path).fit(ToyPlanner(), mbrl_data("NoSuchEnv-v0"))
    trainer(tmp_path).fit(ToyPlanner(), data(20))


def mbrl_data(env_id: str) -> Any:
    from mbrl.envs import OnlineData

    return OnlineData(env_id, steps=20)


def test_last_in_an_empty_folder_says_so_and_starts_at_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path, progress=True).fit(ToyPlanner(), data(20), ckpt_path="last")
    assert "holds no checkpoint: starting at 0" in capsys.readouterr().err
    assert lines(tmp_path)[-1]["env_steps"] == 20


def test_a_finished_run_says_where_it_is_and_trains_no_more(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_manifest(checkpoint_folders(run)[0])
    trainer(run, progress=True).fit(ToyPlanner(), data(), ckpt_path="last")
    said = capsys.readouterr().err
    assert re.search(r"the run in .* is finished; for a longer one raise data\.init_args\.steps", said)
    assert "metrics.csv" in said
    assert read_manifest(checkpoint_folders(run)[0]) == before


def test_more_steps_go_on_as_if_they_had_been_asked_for_at_once(tmp_path: Path) -> None:
    trainer(tmp_path / "whole").fit(ToyPlanner(), data(80))
    trainer(tmp_path / "parts").fit(ToyPlanner(), data(40))
    trainer(tmp_path / "parts").fit(ToyPlanner(), data(80), ckpt_path="last")
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")
    assert (tmp_path / "parts" / "config.resume-1.yaml").exists()
    assert json.loads((tmp_path / "parts" / "summary.json").read_text())["env_steps"] == 80


def test_a_checkpoint_goes_on_in_another_folder_with_its_lines(tmp_path: Path) -> None:
    trainer(tmp_path / "whole").fit(ToyPlanner(), data(60))
    trainer(tmp_path / "a").fit(ToyPlanner(), data(40))
    trainer(tmp_path / "b").fit(ToyPlanner(), data(60), ckpt_path=tmp_path / "a")
    assert lines(tmp_path / "b") == lines(tmp_path / "whole")


def test_an_older_checkpoint_never_replaces_a_newer_run(tmp_path: Path, run: Path) -> None:
    trainer(tmp_path / "a").fit(ToyPlanner(), data(40))
    trainer(tmp_path / "b").fit(ToyPlanner(), data(50))
    with pytest.raises(CheckpointError, match=r"ckpt-50 is newer and would be lost"):
        trainer(tmp_path / "b").fit(ToyPlanner(), data(60), ckpt_path=tmp_path / "a")


def test_a_checkpoint_goes_on_in_no_folder_of_another_run(tmp_path: Path, run: Path) -> None:
    trainer(tmp_path / "b").fit(ToyPlanner(), data(20))
    before = (tmp_path / "b" / "metrics.jsonl").read_bytes()
    with pytest.raises(RunFolderError, match=r"holds ckpt-20 of another run; give another"):
        trainer(tmp_path / "b").fit(ToyPlanner(), data(60), ckpt_path=run)
    assert (tmp_path / "b" / "metrics.jsonl").read_bytes() == before


@pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")  # pytest.warns puts the filters back
def test_other_settings_are_refused_on_resume(run: Path, tmp_path: Path) -> None:
    trainer(tmp_path).fit(ToyPlanner(), data(20))
    with pytest.raises(ConfigError, match=r"model\.init_args\.lr was 0\.01 and is 0\.5 now"):
        trainer(tmp_path).fit(ToyPlanner(lr=0.5), data(40), ckpt_path="last")
    with pytest.warns(MbrlWarning, match=r"model\.init_args\.lr"):
        trainer(tmp_path).fit(ToyPlanner(lr=0.5), data(40), ckpt_path="last", override=True)


@pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")
def test_another_thread_count_warns_on_resume(tmp_path: Path) -> None:
    trainer(tmp_path).fit(ToyPlanner(), data(20))
    with pytest.warns(MbrlWarning, match="written with 1 threads and this run has 2"):
        trainer(tmp_path, threads=2).fit(ToyPlanner(), data(30), ckpt_path="last")


def test_the_goal_ends_a_run(tmp_path: Path) -> None:
    trainer(tmp_path, stop_at=-1e9, stop_count=2).fit(ToyPlanner(), data(80))
    assert lines(tmp_path)[-1]["env_steps"] == 40
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["ckpt-40"]
    assert json.loads((tmp_path / "summary.json").read_text())["ended_early"]
    trainer(tmp_path, stop_at=-1e9, stop_count=2).fit(ToyPlanner(), data(80), ckpt_path="last")
    assert lines(tmp_path)[-1]["env_steps"] == 40  # finished: the goal is the same
    trainer(tmp_path, stop_at=None).fit(ToyPlanner(), data(80), ckpt_path="last")
    assert lines(tmp_path)[-1]["env_steps"] == 80


def test_an_evaluation_below_the_goal_starts_the_count_again(tmp_path: Path) -> None:
    chosen = trainer(tmp_path, stop_at=1e9, stop_count=1)
    chosen.fit(ToyPlanner(), data(40))
    assert chosen.run_clock.streak == 0
    assert lines(tmp_path)[-1]["env_steps"] == 40


def test_a_diverging_run_stops_and_keeps_what_it_wrote(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"at step 30, but learner/loss isn't"):
        trainer(tmp_path).fit(ToyPlanner(nan_at=25), data())
    assert lines(tmp_path)[-1]["learner/loss"] is None
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["ckpt-20"]


def test_a_crash_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="crash"):
        trainer(tmp_path).fit(ToyPlanner(crash_at=25), data())
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["ckpt-20"]


def test_a_second_try_after_a_crash_starts_afresh(tmp_path: Path) -> None:
    module = data(30)
    with pytest.raises(RuntimeError, match="crash"):
        trainer(tmp_path / "crashed").fit(ToyPlanner(crash_at=12), module)
    trainer(tmp_path / "again").fit(ToyPlanner(), module)
    trainer(tmp_path / "fresh").fit(ToyPlanner(), data(30))
    assert lines(tmp_path / "again") == lines(tmp_path / "fresh")


def test_a_planner_that_has_trained_is_not_fitted_again(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a fresh ToyPlanner, got one after 60 steps"):
        trainer(tmp_path).fit(mbrl.load(run, allow=["tests"]), data(80))


def test_a_checkpoint_waits_for_its_share_of_the_time(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    class Look(pl.Callback):
        def on_train_batch_start(self, *rest: Any) -> None:
            seen.append([folder.name for folder in checkpoint_folders(tmp_path)])

    trainer(tmp_path, checkpoint_min_ratio=1e6, callbacks=[Look()]).fit(ToyPlanner(), data(50))
    assert {name for names in seen for name in names} == {"ckpt-10"}
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["ckpt-50"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eval_every": 0}, r"Trainer\(eval_every=…\): expected a whole number of at least 1, got 0"),
        ({"log_every": 0}, r"Trainer\(log_every=…\)"),
        ({"stop_count": 0}, r"Trainer\(stop_count=…\)"),
        ({"checkpoint_every": 0}, r"Trainer\(checkpoint_every=…\)"),
        ({"checkpoint_min_ratio": -1}, r"Trainer\(checkpoint_min_ratio=…\)"),
        ({"threads": 0}, r"Trainer\(threads=…\)"),
    ],
)
def test_numbers_out_of_range(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trainer(tmp_path, **options)


def test_refused_flags_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.max_steps: .*data\.init_args\.steps"):
        trainer(tmp_path / "run", max_steps=10).fit(ToyPlanner(), data())
    assert not (tmp_path / "run").exists()


def test_bf16_needs_a_part_that_offers_it(tmp_path: Path) -> None:
    from mbrl.errors import UnsupportedError

    with pytest.raises(UnsupportedError, match=r"trainer\.precision: expected a part with a precision setting"):
        trainer(tmp_path, precision="bf16-mixed").fit(ToyPlanner(), data())


@pytest.mark.parametrize(
    ("model", "module", "message"),
    [
        (torch.nn.Linear(1, 1), data(), "expected a Planner or DynamicsModel of mbrl, got Linear"),
        (ToyPlanner(), None, "expected a data module of mbrl, got NoneType"),
    ],
)
def test_other_parts_are_refused(tmp_path: Path, model: Any, module: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trainer(tmp_path).fit(model, module)


def test_the_folder_has_a_default_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trainer(None).fit(ToyPlanner(), data(10, seed=3))  # type: ignore[arg-type]
    assert (tmp_path / "runs/toyplanner-Pendulum-v1/seed3/metrics.jsonl").exists()
    with pytest.raises(ConfigError, match="run_folder was used before fit"):
        _ = trainer(None).run_folder  # type: ignore[arg-type]


# evaluation and prediction -----------------------------------------------------------------------------------------------


def test_test_reads_the_checkpoint_and_writes_its_result(run: Path) -> None:
    metrics = trainer(run).test(ToyPlanner(), data(), ckpt_path="last")
    assert metrics["test/episodes"] == 2
    written = json.loads((run / "test.json").read_text())
    assert written.pop("checkpoint")["path"].startswith("checkpoints/ckpt-")
    assert written == metrics
    again = trainer(run).test(mbrl.load(run, allow=["tests"]), data())
    assert again == metrics
    assert trainer(run).validate(ToyPlanner(), data(), ckpt_path=run)["eval/return"] != metrics["test/return"]


def test_test_never_reads_the_buffers(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyPlanner, "load_buffers_state", lambda self, state: pytest.fail("read") if state else None)
    hashed: list[str] = []
    sha256 = checkpoint._sha256
    monkeypatch.setattr(checkpoint, "_sha256", lambda path: (hashed.append(path.name), sha256(path))[1])
    trainer(run).test(ToyPlanner(), data(), ckpt_path="last")
    mbrl.load(run, allow=["tests"])
    assert set(hashed) == {"model.pt"}


def test_an_untrained_planner_is_not_tested(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a trained ToyPlanner, got one without parameters"):
        trainer(tmp_path).test(ToyPlanner(), data())
    with pytest.raises(CheckpointError, match=r"expected a checkpoint in .*, but there is none; train first"):
        trainer(tmp_path).test(ToyPlanner(), data(), ckpt_path="last")


def test_another_planner_than_the_checkpoints_is_refused(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.init_args\.lr"):
        trainer(run).test(ToyPlanner(lr=1.0), data(), ckpt_path="last")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collect(make_task("Pendulum-v1"), str(tmp_path_factory.mktemp("data") / "random.npz"), steps=220)


def test_predict_writes_actions_in_environment_units(run: Path, dataset: Path, tmp_path: Path) -> None:
    offline = OfflineData(str(dataset), env_id="Pendulum-v1")
    path = trainer(run).predict(ToyPlanner(), offline, ckpt_path="last", output=tmp_path / "actions.npz")
    with np.load(path) as arrays:
        assert arrays["obs"].shape == (220, 3)
        planner = mbrl.load(run, allow=["tests"])
        expected = 2 * torch.tanh(planner.policy(torch.as_tensor(arrays["obs"])))
        np.testing.assert_allclose(arrays["action"], expected.detach(), rtol=1e-6)


def test_predict_wants_a_dataset(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"predict: expected a dataset \(mbrl\.envs\.OfflineData\), got OnlineData"):
        trainer(run).predict(ToyPlanner(), data(), ckpt_path="last")


# a model alone -----------------------------------------------------------------------------------------------------------


def ensemble() -> GaussianEnsemble:
    return GaussianEnsemble(hidden=[8], members=2, elites=1, weight_decay=0.0, batch_size=64)


def fit_model(folder: Path, dataset: Path, epochs: int, ckpt_path: str | None = None, **flags: Any) -> GaussianEnsemble:
    model = ensemble()
    offline = OfflineData(str(dataset), env_id="Pendulum-v1")
    trainer(folder, max_epochs=epochs, **flags).fit(model, offline, ckpt_path=ckpt_path)
    return model


def test_a_model_alone_keeps_lightnings_clock(dataset: Path, tmp_path: Path) -> None:
    model = fit_model(tmp_path, dataset, 3, gradient_clip_val=1.0)
    assert [line["epoch"] for line in lines(tmp_path, "epoch")] == [0, 1, 2]
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["ckpt-3"]
    assert all("model/holdout_mse" in line for line in lines(tmp_path, "epoch"))
    loaded = mbrl.load(tmp_path)
    rows = OfflineData(str(dataset), env_id="Pendulum-v1").transitions
    assert torch.equal(loaded.predict(rows.obs, rows.action).mean, model.predict(rows.obs, rows.action).mean)


def test_a_model_alone_resumes(dataset: Path, tmp_path: Path) -> None:
    class Stop(pl.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 2:
                raise RuntimeError("killed")

    fit_model(tmp_path / "whole", dataset, 4)
    with pytest.raises(RuntimeError, match="killed"):
        fit_model(tmp_path / "parts", dataset, 4, callbacks=[Stop()])
    fit_model(tmp_path / "parts", dataset, 4, ckpt_path="last")
    assert lines(tmp_path / "parts", "epoch") == lines(tmp_path / "whole", "epoch")


def test_a_model_alone_resumes_with_the_same_clipping(dataset: Path, tmp_path: Path) -> None:
    fit_model(tmp_path, dataset, 1, gradient_clip_val=1.0)
    with pytest.raises(ConfigError, match=r"settings, but trainer\.gradient_clip_val was 1\.0 and is None now"):
        fit_model(tmp_path, dataset, 2, ckpt_path="last")


@pytest.mark.filterwarnings("ignore::mbrl.errors.MbrlWarning")
def test_no_override_changes_sizes(dataset: Path, tmp_path: Path) -> None:
    fit_model(tmp_path, dataset, 1)
    wider = GaussianEnsemble(hidden=[16], members=2, elites=1, weight_decay=0.0, batch_size=64)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match=r"don't fit .*size mismatch.* set them back, which no override can change"):
        trainer(tmp_path, max_epochs=2).fit(
            wider, OfflineData(str(dataset), env_id="Pendulum-v1"), ckpt_path="last", override=True
        )
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_model_alone_has_no_video(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="video: expected a planner, whose episodes can be drawn, got a model"):
        trainer(tmp_path).test(ensemble(), OfflineData(str(dataset), env_id="Pendulum-v1"), video=True)


@pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")  # pytest.warns puts the filters back
def test_a_models_predictions(dataset: Path, tmp_path: Path) -> None:
    fit_model(tmp_path, dataset, 1)
    offline = OfflineData(str(dataset), env_id="Pendulum-v1")
    path = trainer(tmp_path).predict(ensemble(), offline, ckpt_path="last")
    assert path == tmp_path / "predictions.npz"
    with np.load(path) as arrays:
        assert arrays["mean"].shape == arrays["var"].shape == (2, 220, 3)
        assert np.abs(arrays["action"]).max() > 1  # environment units, not [−1, 1]
    with pytest.warns(MbrlWarning, match="trained on 176 of these 220 rows and is tested on the other 44"):
        assert trainer(tmp_path).test(ensemble(), offline, ckpt_path="last")["test/rows"] == 44


def test_a_model_alone_logs_on_the_clock_of_epochs(dataset: Path, tmp_path: Path) -> None:
    """TensorBoard and the metric lines agree, each metric once an epoch."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Steps(pl.Callback):
        losses: list[list[tuple[float, int]]] = []

        def on_train_epoch_start(self, *_: Any) -> None:
            self.losses.append([])

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
            self.losses[-1].append((outputs["loss"].item(), batch.batch_shape[-1]))

    fit_model(tmp_path, dataset, 2, tensorboard=True, callbacks=[Steps()])
    fit_model(tmp_path, dataset, 4, tensorboard=True, callbacks=[Steps()], ckpt_path="last")
    written = lines(tmp_path, "epoch")
    assert [line["epoch"] for line in written] == [0, 1, 2, 3]
    for line, pairs in zip(written, Steps.losses, strict=True):
        mean = sum(loss * rows for loss, rows in pairs) / sum(rows for _, rows in pairs)
        assert line["model/loss"] == pytest.approx(mean, rel=1e-5)
    found: dict[str, dict[int, float]] = {}
    for file in (tmp_path / "tensorboard").iterdir():
        events = EventAccumulator(str(file))
        events.Reload()
        for name in events.Tags()["scalars"]:
            for event in events.Scalars(name):
                assert event.step not in found.setdefault(name, {}), name
                found[name][event.step] = event.value
    assert {"model/loss", "model/mse", "model/holdout_mse", "model/explained"} <= found.keys()
    for name in written[0].keys() - {"epoch"}:
        assert sorted(found[name]) == [0, 1, 2, 3], name
    for line in written:
        assert found["model/loss"][line["epoch"]] == pytest.approx(line["model/loss"])


def fit_nearest(folder: Path, dataset: Path, ckpt_path: str | None = None, **options: Any) -> Nearest:
    model = Nearest()
    trainer(folder, **options).fit(model, OfflineData(str(dataset), env_id="Pendulum-v1"), ckpt_path=ckpt_path)
    return model


def test_a_model_in_closed_form_has_one_epoch(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = fit_nearest(tmp_path, dataset, max_epochs=5, progress=True)
    assert "fitted to all rows in one epoch, whatever trainer.max_epochs is" in capsys.readouterr().err
    (line,) = lines(tmp_path, "epoch")
    assert line == {"epoch": 0, "model/loss": pytest.approx(model.change.square().mean().item()), "model/rows": 110}
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["ckpt-1"]
    assert not json.loads((tmp_path / "summary.json").read_text())["ended_early"]
    offline = OfflineData(str(dataset), env_id="Pendulum-v1")
    rows = offline.transitions
    expected = model.predict(rows.obs, rows.action).mean
    assert torch.equal(mbrl.load(tmp_path, allow=["tests"]).predict(rows.obs, rows.action).mean, expected)
    fresh = Nearest()
    with pytest.raises(ConfigError, match="expected rows that it wasn't fitted to"):
        trainer(tmp_path).test(fresh, offline, ckpt_path="last")
    other = collect(make_task("Pendulum-v1"), str(tmp_path / "other.npz"), steps=60, seed=7)
    unseen = OfflineData(str(other), env_id="Pendulum-v1")
    tested = trainer(tmp_path).test(fresh, unseen, ckpt_path="last")
    assert torch.equal(fresh.predict(rows.obs, rows.action).mean, expected)
    new = unseen.transitions
    said = fresh.predict(new.obs, new.action).mean
    assert tested["test/mse"] == pytest.approx((said - new.next_obs).square().mean().item())
    fit_nearest(tmp_path, dataset, ckpt_path="last", progress=True)
    assert capsys.readouterr().err.startswith(f"the run in {tmp_path} is finished\n")


@pytest.mark.parametrize("hook", ["on_train_epoch_start", "on_train_batch_end"])
def test_a_model_in_closed_form_resumes(hook: str, dataset: Path, tmp_path: Path) -> None:
    class Stop(pl.Callback):
        pass

    def killed(*_: Any) -> None:
        raise RuntimeError("killed")

    setattr(Stop, hook, killed)
    whole = fit_nearest(tmp_path / "whole", dataset)
    with pytest.raises(RuntimeError, match="killed"):
        fit_nearest(tmp_path / "parts", dataset, callbacks=[Stop()])
    resumed = fit_nearest(tmp_path / "parts", dataset, ckpt_path="last")
    assert lines(tmp_path / "parts", "epoch") == lines(tmp_path / "whole", "epoch")
    assert torch.equal(resumed.seen, whole.seen)
