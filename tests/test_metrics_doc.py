"""Every metric that a run writes is in docs/metrics.md, and every one in there is written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mbrl.envs import OfflineData, collect, make_task
from mbrl.models import GaussianEnsemble
from tests.planners.offline import offline, offline_data, record
from tests.training.test_kill_and_resume import dyna
from tests.training.toy import data, trainer

DOC = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text()


def documented(heading: str) -> set[str]:
    section = DOC.split(f"## {heading}")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def written(folder: Path) -> set[str]:
    return {name for line in (folder / "metrics.jsonl").read_text().splitlines() for name in json.loads(line)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    trainer(folder, log_every=20, eval_every=30, checkpoint_every=1000).fit(dyna(), data(60, eval_episodes=2))
    return folder


def test_a_planners_run(run: Path) -> None:
    """Of Dyna; tests/training/test_pets_run.py has those of PETS, tests/planners/rollouts/test_up_mpc.py those of UP-MPC.

    `model/ends` is of tasks whose termination is learned (tests/planners/test_ends.py).
    """
    others = {"plan/value", "plan/halted", "time/plan_s", "rollout/bonus_weight", "rollout/clamped", "model/ends"}
    others |= {"rollout/halted", "rollout/halt_threshold"}  # see tests/planners/rollouts/test_halt_unfamiliar.py
    others |= {name for name in documented("A planner's run") if name.startswith(("batch/edge_", "batch/inner_"))}
    others |= {
        "model/mse",
        "learner/entropy_first",
        "learner/entropy_last",
        "learner/recalled",
    }  # tests/training/test_srl_run.py
    others |= {"batch/patched"}  # see tests/analysis/edge_of_reach
    others |= {"model/holdout_loss", "model/budget"}  # see tests/training/test_value_from.py
    others |= {"model/holdout_nll", "rollout/trusted_steps"}  # tests/models/test_judged_by.py, tests/planners/rollouts
    others |= {f"{where}/{what}_spread" for where in ("rollout", "explore") for what in ("reward", "uncertainty")}
    assert written(run) == documented("A planner's run") - others


def test_a_planner_that_learns_from_a_dataset(tmp_path: Path) -> None:
    dataset = record(tmp_path / "data.npz")
    trainer(tmp_path / "run", log_every=20, eval_every=30).fit(offline(), offline_data(dataset))
    scores = {"score/fitted_q", "score/fitted_q_disagreement"}  # see tests/search/test_offline_search.py
    own, shared = documented("A planner that learns from a dataset") - scores, documented("A planner's run")
    found = written(tmp_path / "run")
    assert own <= found and found - own <= shared - {"env_steps", "time/steps_per_second"}
    assert not any(name.startswith("train/") for name in found)


def test_a_model_alone(tmp_path: Path) -> None:
    dataset = collect(make_task("Pendulum-v1"), str(tmp_path / "data.npz"), steps=100)
    model = GaussianEnsemble(hidden=[8], members=2, elites=1, weight_decay=0.0, learn_terminated=True)
    offline = OfflineData(str(dataset), env_id="Pendulum-v1", terminated="learned")
    trainer(tmp_path / "run", max_epochs=1).fit(model, offline)
    others = {"model/holdout_loss", "model/budget"}  # see tests/training/test_value_from.py
    assert written(tmp_path / "run") == documented("A dynamics model fitted alone") - others
    other = collect(make_task("Pendulum-v1"), str(tmp_path / "other.npz"), steps=20, seed=1)
    unseen = OfflineData(str(other), env_id="Pendulum-v1", terminated="learned")
    tested = trainer(tmp_path / "run").test(model, unseen)
    assert all(f"`{name}`" in DOC for name in tested)


def test_test(run: Path) -> None:
    tested = trainer(run).test(dyna(), data(60), ckpt_path="last")
    assert all(f"`{name}`" in DOC for name in tested)
