"""What stands in a configuration file is what the run gets: quoted text stays text, a key stands once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import yaml

from mbrl.cli import main
from mbrl.training.commands.parsed import parsed
from mbrl.training.yaml_text import read_mapping

GOT: list[dict[str, Any]] = []
KWARGS = {
    "version": "1.10", "serial": "007", "mode": "off", "label": "x: y", "time": "12:30", "none": "null", "rate": "1e5",
    "day": "2026-01-02", "octal": "0o17", "empty": "", "brackets": "[1, 2]", "list": ["1", "no", 2],
    "deep": {"a": "true", "b": [{"c": "~"}]}, "number": 1.5, "flag": True, "nothing": None,
}  # fmt: skip


class Quoted(gym.Env[Any, Any]):
    """Remembers its keyword arguments."""

    def __init__(self, **kwargs: Any) -> None:
        GOT.append(kwargs)
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(**options)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.zeros(1, np.float32), 0.0, False, False, {}


gym.register("TestQuoted-v0", entry_point=Quoted, max_episode_steps=10)


def write(path: Path, kwargs: Mapping[str, Any] = KWARGS) -> str:
    config = {
        "model": {
            "class_path": "mbrl.planners.Dyna",
            "init_args": {
                "dynamics": {
                    "class_path": "mbrl.models.GaussianEnsemble",
                    "init_args": {"members": 2, "elites": 2, "hidden": [8], "weight_decay": 0.0, "max_epochs": 1},
                },
                "learner": {"class_path": "mbrl.policies.SAC", "init_args": {"hidden": [8]}},
                "warmup_steps": 20, "refit_every": 10, "rollouts_per_step": 2, "updates_per_step": 0,
            },
        },
        "data": {
            "class_path": "mbrl.envs.OnlineData",
            "init_args": {"env_id": "TestQuoted-v0", "env_kwargs": dict(kwargs), "steps": 30, "eval_episodes": 1},
        },
        "trainer": {"folder": str(path.parent / "run"), "tensorboard": False, "progress": False},
    }  # fmt: skip
    path.write_text(yaml.dump(config, default_style=None, sort_keys=False).replace("rate: 1e5", "rate: '1e5'"))
    return str(path)


def test_texts_in_free_mappings_reach_the_environment_and_what_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "quoted.yaml")
    GOT.clear()
    assert main(["fit", "--config", path]) == 0
    assert all(got == KWARGS for got in GOT)
    written = tmp_path / "run/config.yaml"
    assert read_mapping(written.read_text(), "config.yaml")["data"]["init_args"]["env_kwargs"] == KWARGS
    assert yaml.safe_load(written.read_text())["data"]["init_args"]["env_kwargs"] == KWARGS  # to other readers too
    capsys.readouterr()
    assert main(["fit", "--config", path, "--print_config"]) == 0
    printed = tmp_path / "printed.yaml"
    printed.write_text(capsys.readouterr().out)
    assert parsed(["fit", "--config", str(printed)])["data"]["init_args"]["env_kwargs"] == KWARGS


def test_texts_on_the_command_line_are_texts_where_quotes_say_so(tmp_path: Path) -> None:
    path = write(tmp_path / "quoted.yaml", {})

    def kwargs(text: str) -> Any:
        return parsed(["fit", "--config", path, "--data.init_args.env_kwargs", text])["data"]["init_args"]["env_kwargs"]

    assert kwargs('{"version": "1.10", "mode": "off", "x": 1.10, "y": off}') == {
        "version": "1.10", "mode": "off", "x": 1.1, "y": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("model:\n  class_path: mbrl.planners.Dyna\nmodel:\n  class_path: mbrl.planners.PETS\n", "model", 3),
        ("data:\n  class_path: mbrl.envs.OnlineData\n  init_args: {env_id: a, steps: 3,\n    env_id: b}\n", "env_id", 4),
        ("trainer:\n  eval_every: 10\n  log_every: 1\n  eval_every: 20\n", "eval_every", 4),
    ],
)
def test_a_key_that_stands_twice_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, key: str, line: int
) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(text)
    assert main(["fit", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert said == f"mbrl: {key}: expected each key once, got it again in line {line} of {path}; leave one out.\n"
