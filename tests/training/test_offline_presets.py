"""Each method of configs/offline learns from a dataset by the real command, at small sizes, and its policy acts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

import mbrl
from mbrl.cli import main
from mbrl.envs import collect, make_task
from mbrl.planners import OfflineDyna
from mbrl.policies import SAC

METHODS = sorted(path.stem for path in Path("configs/offline").glob("*.yaml"))
WITHOUT_MODEL = {"bc", "edac", "sac_n"}
LIKE_RAVL = {"edac", "ravl", "sac_n"}  # first weights, bounds of log σ, and a constant step size


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "reacher.npz"
    collect(make_task("Reacher-v5"), str(path), steps=120)
    return path


@pytest.mark.parametrize("method", METHODS)
def test_a_preset_learns_and_acts(method: str, dataset: Path, tmp_path: Path) -> None:
    small = {
        "model": {"init_args": {"batch_size": 16, "learner": {"init_args": {"hidden": [8]}}}},
        "data": {"init_args": {"path": str(dataset), "steps": 12, "eval_episodes": 1}},
        "trainer": {"folder": str(tmp_path / "run"), "eval_every": 6, "progress": False, "tensorboard": False},
    }
    if method not in WITHOUT_MODEL:
        rollouts = {"rollout_batch": 16, "rollout_every": 6, "rollout_length": 2}
        model = {"hidden": [8], "members": 3, "elites": 2, "max_epochs": 1, "weight_decay": 0.0}
        small["model"]["init_args"] |= {**rollouts, "dynamics": {"init_args": model}}
    if method == "sac_n":
        small["model"]["init_args"]["learner"]["init_args"]["critics"] = 4
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small))
    files = ["configs/base/offline.yaml", f"configs/offline/{method}.yaml", str(tmp_path / "small.yaml")]
    assert main(["fit", *(part for file in files for part in ("--config", file))]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["updates"] for line in lines if "eval/return" in line] == [6, 12]
    policy = mbrl.load_policy(tmp_path / "run")
    learner = policy.learner
    if isinstance(learner, SAC):
        theirs = ("ravl", (-5.0, 2.0), None) if method in LIKE_RAVL else ("mbpo", (-20.0, 2.0), "auto")
        assert (learner.initial, tuple(learner.log_sigma_range), learner.actor_lr_cosine) == theirs
    assert isinstance(policy, OfflineDyna) and (policy.dynamics is None) == (method in WITHOUT_MODEL)
    action = torch.as_tensor(policy.predict(torch.zeros(10).numpy()))
    assert action.shape == (2,) and bool((action.abs() <= 1).all())
