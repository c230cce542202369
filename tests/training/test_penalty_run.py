"""Penalties as a user runs them: Dyna with every uncertainty measure, from YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import mbrl
import mbrl.uncertainty
from mbrl.cli import main
from mbrl.planners import Dyna
from mbrl.uncertainty import OutputMeasure

MEASURES: dict[str, dict[str, Any]] = {
    "MaxAleatoric": {"of": "variance", "reward": True},
    "MaxPairwiseDistance": {"reduce": "rms"},
    "DistanceToMean": {"over": "mean"},
    "MeanDisagreement": {"of": "sd", "reduce": "rms", "members": "elites"},
    "TotalSpread": {"reduce": "norm", "ddof": 1, "scale": [1.0, 1.0, 8.0]},
    "SampleSpread": {"reward": True},
    "LeaveOneOutKL": {},
    "LikelihoodSpread": {"of": "sd", "reward": True},
    "ValueSpread": {"samples": 2, "mask_terminations": True},
}


def config(folder: Path, hooks: list[dict[str, Any]]) -> str:
    made = {
        "seed_everything": 0,
        "model": {
            "class_path": "mbrl.planners.Dyna",
            "init_args": {
                "dynamics": {
                    "class_path": "mbrl.models.GaussianEnsemble",
                    "init_args": {"members": 4, "elites": 3, "hidden": [8], "max_epochs": 1, "weight_decay": 0.0},
                },
                "learner": {"class_path": "mbrl.policies.SAC", "init_args": {"hidden": [8, 8]}},
                "rollout_hooks": hooks,
                "warmup_steps": 10, "refit_every": 5, "rollouts_per_step": 4, "updates_per_step": 1, "batch_size": 16,
            },
        },
        "data": {
            "class_path": "mbrl.envs.OnlineData",
            "init_args": {
                "env_id": "Pendulum-v1", "steps": 15, "env_kwargs": {"max_episode_steps": 8}, "reward": "learned",
                "eval_episodes": 1, "test_episodes": 1,
            },
        },
        "trainer": {"folder": str(folder), "tensorboard": False, "progress": False},
    }  # fmt: skip
    path = folder.parent / f"{folder.name}.yaml"
    path.write_text(yaml.safe_dump(made))
    return str(path)


def test_every_measure_from_yaml(tmp_path: Path) -> None:
    exported = (getattr(mbrl.uncertainty, name) for name in mbrl.uncertainty.__all__)
    made = {item.__name__ for item in exported if isinstance(item, type) and issubclass(item, OutputMeasure)}
    assert set(MEASURES) == made - {"OutputMeasure", "MemberSpread"}
    hooks = [
        {
            "class_path": "mbrl.planners.UncertaintyPenalty",
            "init_args": {"measure": {"class_path": f"mbrl.uncertainty.{name}", "init_args": options}, "weight": 1e-3},
        }
        for name, options in reversed(MEASURES.items())  # the likelihood needs the reward as it was drawn
    ]
    path = config(tmp_path / "run", hooks)
    assert main(["fit", "--config", path]) == 0
    assert main(["test", "--config", path]) == 0
    planner = mbrl.load(tmp_path / "run")
    assert isinstance(planner, Dyna)
    specs = [hook.spec["init_args"]["measure"] for hook in planner.rollout_hooks]
    for spec, (name, options) in zip(specs, reversed(MEASURES.items()), strict=True):
        assert spec["class_path"].endswith(f".{name}") and options.items() <= spec["init_args"].items()


def test_a_wrong_measure_is_refused_before_the_first_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hook = {
        "class_path": "mbrl.planners.UncertaintyPenalty",
        "init_args": {
            "measure": {"class_path": "mbrl.uncertainty.TotalSpread", "init_args": {"scale": [1.0, 2.0]}},
            "weight": 1.0,
        },
    }
    assert main(["fit", "--config", config(tmp_path / "run", [hook])]) == 2
    assert "TotalSpread(scale=…): expected shape 3, got 2; give one number per dim" in capsys.readouterr().err
