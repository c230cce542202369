"""PETS as a user runs it: every optimiser from YAML, killed and resumed, its metrics, its presets."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mbrl.cli import main
from mbrl.models import GaussianEnsemble
from mbrl.planners import ICEM, PETS
from mbrl.policies import SAC
from mbrl.uncertainty import MeanDisagreement
from tests.test_metrics_doc import documented, written
from tests.training.test_kill_and_resume import same_run
from tests.training.toy import KillAt, data, in_child, trainer

STEPS = 40
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "CEM": {"candidates": 8, "elites": 2, "iterations": 2},
    "ICEM": {"candidates": 8, "elites": 2, "iterations": 2},
    "MPPI": {"candidates": 8, "iterations": 2, "elites": 3, "sd_bounds": [0.05, 1.0], "execute": "elite"},
    "RandomShooting": {"candidates": 8},
    "GradientShooting": {"candidates": 2, "updates": 2},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_from_yaml(name: str, tmp_path: Path) -> None:
    config = {
        "seed_everything": 0,
        "model": {
            "class_path": "mbrl.planners.PETS",
            "init_args": {
                "dynamics": {"class_path": "mbrl.models.Pendulum"},
                "optimizer": {"class_path": f"mbrl.planners.{name}", "init_args": OPTIMIZERS[name]},
                "horizon": 4,
                "warmup_steps": 0,
            },
        },
        "data": {
            "class_path": "mbrl.envs.OnlineData",
            "init_args": {
                "env_id": "Pendulum-v1", "steps": 12, "env_kwargs": {"max_episode_steps": 10},
                "eval_episodes": 1, "test_episodes": 2,
            },
        },
        "trainer": {"folder": str(tmp_path / "run"), "tensorboard": False, "progress": False},
    }  # fmt: skip
    path = tmp_path / "pets.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main(["test", "--config", str(path)]) == 0  # nothing to learn, so no checkpoint is needed
    before = json.loads((tmp_path / "run" / "test.json").read_text())
    assert main(["fit", "--config", str(path)]) == 0
    assert main(["test", "--config", str(path)]) == 0
    after = json.loads((tmp_path / "run" / "test.json").read_text())
    assert after.pop("checkpoint")["path"] == "checkpoints/ckpt-12"
    assert before.pop("checkpoint") is None
    assert after == before


def pets() -> PETS:
    """Small and complete: fits, a learner by the side with its value and its plans, a penalty, warm starts."""
    ensemble = GaussianEnsemble(hidden=[8], members=3, elites=None, weight_decay=0.0, max_epochs=2, batch_size=16)
    return PETS(
        ensemble,
        ICEM(candidates=8, elites=2, policy_candidates=2),
        horizon=3,
        particles=3,
        warmup_steps=10,
        refit_every=10,
        learner=SAC(hidden=[8]),
        terminal_value="mean",
        uncertainty=MeanDisagreement(),
        uncertainty_rate=-0.5,
        batch_size=8,
    )


def fit(folder: Path, ckpt_path: str | None = None, **options: Any) -> None:
    trainer(folder, log_every=10, eval_every=20, checkpoint_every=10, **options).fit(
        pets(), data(STEPS, num_envs=2, eval_episodes=2), ckpt_path=ckpt_path
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    torch.set_num_threads(1)
    fit(folder)
    return folder


@pytest.mark.parametrize("tick", [16, 32])
def test_killed_and_resumed_equals_unbroken(unbroken: Path, tmp_path: Path, tick: int) -> None:
    assert in_child(lambda: fit(tmp_path, callbacks=[KillAt(tick)])) == -signal.SIGKILL
    fit(tmp_path, "last")
    assert same_run(unbroken, tmp_path) == []


def test_its_metrics_are_documented(unbroken: Path) -> None:
    names = written(unbroken)
    assert names <= documented("A planner's run")
    assert {"plan/value", "time/plan_s"} <= names
    assert not any(name.startswith("rollout/") for name in names)


PRESETS = sorted([*Path("configs/pets").glob("*.yaml"), *Path("configs/mpc").glob("*.yaml")])


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_presets_plan(preset: Path, tmp_path: Path) -> None:
    """Each preset builds, and takes a few planned steps at a small size."""
    base = Path("configs/base") / f"{preset.parent.name}.yaml"
    small = {
        "candidates": 8,
        "elites": 2,
        "iterations": 1,
    }
    overrides = [f"--model.init_args.optimizer.init_args.{name}={value}" for name, value in small.items()]
    overrides += ["--model.init_args.horizon=2", "--data.init_args.steps=8", "--data.init_args.eval_episodes=1"]
    overrides += ["--data.init_args.env_kwargs={max_episode_steps: 6}", "--trainer.progress=false"]
    if preset.parent.name == "pets":
        overrides += ["--model.init_args.warmup_steps=5", "--model.init_args.refit_every=5"]
        overrides += ["--model.init_args.dynamics.init_args.max_epochs=1"]
    folder = tmp_path / "run"
    code = main(["fit", "--config", str(base), "--config", str(preset), "--trainer.folder", str(folder), *overrides])
    assert code == 0
    assert "plan/value" in (folder / "metrics.jsonl").read_text()
