"""Dyna without a model is its learner alone: batches are real, and whatever needs a model is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

import mbrl
from mbrl.analysis import (
    LiveModelReport,
    Skipped,
    calibration,
    one_step_error,
    open_loop_error,
    plan_outcome,
    report,
    reward_and_termination,
    split_episodes,
)
from mbrl.cli import main
from mbrl.data import Task, Transitions, make_generator
from mbrl.envs import VectorExperience, make_task
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.models import ModelEnv
from mbrl.planners import (
    CEM,
    PETS,
    UPMPC,
    BatchContext,
    BatchHook,
    BatchPenalty,
    Dyna,
    HasDynamics,
    ImaginedLearning,
    PolicyMode,
    PolicySample,
    UncertaintyPenalty,
    dynamics_of,
)
from mbrl.policies import SAC, CriticContext, CriticTerm
from mbrl.testing import check_planner
from mbrl.uncertainty import MeanDisagreement, ValueSpread
from tests.training.test_kill_and_resume import same_state
from tests.training.toy import data, lines, trainer


def alone(**options: Any) -> Dyna:
    """SAC by itself."""
    settings: dict[str, Any] = {"warmup_steps": 20, "updates_per_step": 1, "batch_size": 16, **options}
    return Dyna(None, SAC(hidden=[8, 8]), **settings)


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task("Pendulum-v1", {"max_episode_steps": 25})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "sac" / "seed0"
    torch.set_num_threads(1)
    trainer(folder).fit(alone(), data(60))
    return folder


def test_it_learns_from_real_rows_alone(run: Path) -> None:
    found = lines(run)
    assert [line["env_steps"] for line in found] == [10, 20, 30, 40, 50, 60]
    names = {name for line in found for name in line}
    assert {"learner/critic_loss", "learner/temperature", "eval/return", "train/return"} <= names
    assert not any(name.startswith(("model/", "rollout/")) for name in names)
    assert not any(
        "rollout" in name or "refit" in name for name in (run / "metrics.csv").read_text().splitlines()[0].split(",")
    )
    assert not (run / "checkpoints/ckpt-60/buffer-model.pt").exists()


def test_a_batch_is_real_throughout(task: Task) -> None:
    planner = alone()
    planner.build(task, 0)
    planner.make_optimizers()
    experience = VectorExperience(task, 2, seed=0)
    for _ in range(12):
        planner.tick(experience)
    rows = {tuple(row) for row in planner.real_buffer.all().obs.tolist()}
    batch, model_rows = planner.learning.batch()
    assert len(batch) == 16 and len(range(*model_rows.indices(16))) == 0
    assert {tuple(row) for row in batch.obs.tolist()} <= rows
    assert len(planner.model_buffer) == 0
    experience.close()


def test_it_equals_a_model_that_nobody_asks(task: Task) -> None:
    """With real batches a model changes nothing: the learner's parameters are the same bit for bit without it."""
    states = []
    for dynamics in (None, "mbrl.models.Pendulum"):
        planner = alone(real_ratio=1) if dynamics is None else Dyna(
            mbrl.models.Pendulum(), SAC(hidden=[8, 8]), warmup_steps=20, updates_per_step=1, batch_size=16, real_ratio=1
        )  # fmt: skip
        planner.build(task, 0)
        planner.make_optimizers()
        experience = VectorExperience(task, 1, seed=0)
        for _ in range(30):
            planner.tick(experience)
        states.append(planner.learner.state_dict())
        experience.close()
    assert same_state(*states) == []


def test_it_keeps_the_planners_contract(task: Task) -> None:
    check_planner(lambda: alone(warmup_steps=2), task)
    check_planner(lambda: alone(warmup_steps=2, explore_selector=PolicyMode()), task)


def test_it_has_no_model_and_says_so() -> None:
    planner = alone()
    assert isinstance(planner, HasDynamics) and planner.dynamics is None and dynamics_of(planner) is None
    assert dynamics_of(object()) is None


# using it ----------------------------------------------------------------------------------------------------------------


def test_it_is_loaded_tested_and_collected_with(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planner = mbrl.load(run)
    assert isinstance(planner, Dyna) and planner.dynamics is None and planner.env_steps == 60
    action = mbrl.load_policy(run).predict(np.zeros(3, np.float32), deterministic=False)
    assert action.shape == (1,) and abs(float(action[0])) <= 2
    assert main(["test", "--ckpt_path", str(run), "--folder", str(tmp_path / "test")]) == 0
    assert json.loads((tmp_path / "test/test.json").read_text())["test/episodes"] == 2
    output = tmp_path / "rows.npz"
    assert main(["collect", str(output), "--ckpt_path", str(run), "--steps", "30", "--explore"]) == 0
    assert output.exists()
    assert main(["predict", "--ckpt_path", str(run), "--dataset", str(output), "--output", str(tmp_path / "p.npz")]) == 0
    assert main(["plot", str(run), "--out", str(tmp_path / "plot.png")]) == 0


def test_the_overlay_makes_any_mbpo_configuration_sac(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for task in ("configs/mbpo/hopper.yaml", "configs/mbpo/pendulum.yaml"):
        files = ["configs/base/mbpo.yaml", task, "configs/debug.yaml", "configs/sac.yaml"]
        given = [item for path in files for item in ("--config", path)]
        assert main(["fit", *given, "--print_config"]) == 0
        config = yaml.safe_load(capsys.readouterr().out)
        assert config["model"]["init_args"]["dynamics"] is None
        assert config["model"]["init_args"]["learner"]["class_path"] == "mbrl.policies.SAC"


def test_the_overlay_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["configs/base/mbpo.yaml", "configs/mbpo/pendulum.yaml", "configs/debug.yaml", "configs/sac.yaml"]
    given = [item for path in files for item in ("--config", path)]
    small = ["--data.init_args.steps", "120", "--data.init_args.eval_episodes", "1", "--trainer.tensorboard", "false"]
    assert main(["fit", *given, *small, "--trainer.folder", str(tmp_path / "run")]) == 0
    found = lines(tmp_path / "run")
    assert found[-1]["env_steps"] == 120 and "learner/critic_loss" in found[-1]


# what needs a model ------------------------------------------------------------------------------------------------------


class Doubles(BatchHook):
    """Doubles rewards, which asks no model and says so."""

    needs_dynamics = False

    def __call__(self, batch: Transitions, context: BatchContext) -> Transitions:
        assert context.dynamics is None
        batch.reward = 2 * batch.reward
        return batch


class Silent(BatchHook):
    """Says nothing of models."""

    def __call__(self, batch: Transitions, context: BatchContext) -> Transitions:
        return batch


class Sees(CriticTerm):
    """Remembers what it was asked to check."""

    def check(self, dynamics: Any, learner: Any) -> None:
        self.checked = dynamics

    def __call__(self, batch: Transitions, context: CriticContext) -> Tensor:
        self.rows = context.model_rows
        return batch.reward.new_zeros(())


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"explore_selector": UPMPC(rate=1.0, candidates=2)}, "UPMPC"),
        ({"batch_hooks": [BatchPenalty(ValueSpread(samples=1), 1.0)]}, "BatchPenalty"),
        ({"batch_hooks": [Doubles(), Silent()]}, "Silent"),
    ],
)
def test_parts_that_ask_a_model_are_refused(options: dict[str, Any], name: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"Dyna\(dynamics=None\): expected parts that need no model, got {name}"):
        alone(**options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rollout_hooks", [UncertaintyPenalty(MeanDisagreement(), 1.0)]),
        ("rollout_selector", PolicySample()),
        ("real_ratio", 0.5),
        ("rollouts_per_step", 10),
        ("rollout_length", [0, 3, 1, 3]),
        ("epoch_steps", 10),
        ("retain_epochs", 2),
        ("rollout_chunk", 100),
        ("finished_rollouts", "drop"),
    ],
)
def test_settings_without_effect_are_refused(name: str, value: Any) -> None:
    with pytest.raises(
        ConfigError, match=rf"since without a model there are none, got {name} .* \(default .*leave them out"
    ):
        alone(**{name: value})


def test_what_needs_no_model_stays(task: Task) -> None:
    term = Sees()
    planner = alone(batch_hooks=[Doubles()], critic_terms=[term], real_ratio=1.0, explore_selector=PolicyMode())
    planner.build(task, 0)
    assert term.checked is None
    planner.make_optimizers()
    experience = VectorExperience(task, 1, seed=0)
    for _ in range(22):
        planner.tick(experience)
    assert term.rows == slice(16, 16)
    experience.close()


def test_planners_that_plan_need_one() -> None:
    with pytest.raises(ConfigError, match=r"PETS\(dynamics=…\): expected a DynamicsModel, got None"):
        PETS(None, CEM())  # type: ignore[arg-type]


def test_analyses_refuse_or_leave_out(run: Path, tmp_path: Path, task: Task, capsys: pytest.CaptureFixture[str]) -> None:
    planner = mbrl.load(run)
    assert isinstance(planner, Dyna)
    output = tmp_path / "rows.npz"
    main(["collect", str(output), "--ckpt_path", str(run), "--steps", "30"])
    rows = mbrl.envs.OfflineData(str(output)).transitions
    with pytest.raises(UnsupportedError, match=r"report: expected a planner with a dynamics model .* got Dyna without one"):
        report(planner, rows, horizon=2)
    assert main(["report", "--ckpt", str(run), "--data", str(output), "--out", str(tmp_path / "page")]) == 2
    assert "Dyna without one (dynamics: null)" in capsys.readouterr().err
    experience = VectorExperience(task, 1, seed=0)
    found = plan_outcome(planner, experience, generator=make_generator("cpu", 0), decisions=1)
    assert isinstance(found, Skipped) and "made without a model" in found.reason
    experience.close()
    with pytest.raises(ConfigError, match=r"ModelEnv.*expected a DynamicsModel, got None"):
        ModelEnv(planner.dynamics, rows)  # type: ignore[arg-type]
    episodes, noise = split_episodes(rows), make_generator("cpu", 0)
    for look in (open_loop_error, one_step_error, calibration, reward_and_termination):
        with pytest.raises(ConfigError, match=rf"{look.__name__}\(model=…\): expected a DynamicsModel, got None"):
            look(planner.dynamics, episodes, generator=noise)  # type: ignore[arg-type, operator]
    with pytest.raises(
        UnsupportedError, match="LiveModelReport: expected a planner with a model to look at, got Dyna without"
    ):
        trainer(tmp_path / "live", callbacks=[LiveModelReport()]).fit(alone(), data(60))
    planner.build(task, 0)
    learning = ImaginedLearning(
        None, planner.learner, planner.real_buffer, planner.streams, planner.metrics, batch_size=2, real_rows=2
    )
    with pytest.raises(UnsupportedError, match="expected a model to roll out, got none"):
        learning.imagine(1, 1, 1, 0)


class Seen(CriticTerm):
    """Counts the rows that it was shown."""

    def reset(self) -> None:
        self.rows: list[int] = []

    def fitted(self, model: Any, rows: Any) -> None:
        assert model is None
        self.rows.append(len(rows))

    def __call__(self, batch: Transitions, context: CriticContext) -> Tensor:
        return batch.reward.new_zeros(())


def test_learner_and_parts_see_the_real_rows_as_often_as_a_model_would() -> None:
    term = Seen()
    task = make_task("Pendulum-v1")
    planner = Dyna(
        None, SAC(hidden=[8, 8], normalize_obs=True), warmup_steps=20, refit_every=15, updates_per_step=1, batch_size=16,
        critic_terms=[term],
    )  # fmt: skip
    planner.build(task, 0)
    planner.make_optimizers()
    experience = VectorExperience(task, 1, seed=0)
    experience.reset(0)
    for _ in range(55):
        planner.tick(experience)
    experience.close()
    assert term.rows == [20, 35, 50]
    rows = planner.real_buffer.all().obs[:50].double()
    torch.testing.assert_close(planner.learner.policy.normalizer.sd.double(), rows.std(0, correction=0))  # type: ignore[union-attr, operator]


def test_a_learner_alone_that_never_learns_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected updates_per_step above 0, or nothing learns, got 0; set 1"):
        Dyna(None, SAC(), updates_per_step=0)
