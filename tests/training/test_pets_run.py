"""PETS as a user runs it: every optimiser from YAML, its metrics, its presets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbrl.cli import main
from tests.test_metrics_doc import documented, written
from tests.training.small_planners import pets

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


def test_its_metrics_are_documented(whole_run: Callable[..., Path]) -> None:
    names = written(whole_run(pets))
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
