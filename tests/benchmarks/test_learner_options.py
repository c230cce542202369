"""The comparison of the learner's options: every arm is its preset but for the options that it names."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from mbrl.policies import SAC
from mbrl.training.commands.parsed import parsed
from tests.benchmarks.test_learning import load


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", list(sys.path))  # the script adds its folder
    return load("learner_options")


def test_arms_are_presets_with_options_that_there_are(made: ModuleType) -> None:
    for task in made.TASKS:
        arms = made.arms_of(task)
        assert len({tuple(arm.configs) for arm in arms.values()}) == 1
        assert all(Path(config).is_file() for config in arms["default"].configs)
    for chosen in made.SETTINGS.values():
        options = {key: yaml.safe_load(value) for key, value in chosen.items()}
        assert {key: SAC(**options).spec["init_args"][key] for key in options} == options
    assert made.SETTINGS["default"] == {}


def test_a_run_takes_the_options_of_its_arm(made: ModuleType, tmp_path: Path) -> None:
    arm = made.arms_of("pendulum")["layer-dropout"]
    _, options = made.arms.learning.options_of("x", 0, arm.configs, arm.overrides, tmp_path)
    settings: Any = parsed(["fit", *options])
    learner = settings["model"]["init_args"]["learner"]["init_args"]
    assert (learner["critic_norm"], learner["critic_dropout"], learner["target_subset"]) == ("layer", 0.01, 2)
    assert learner["hidden"] == [128, 128] and settings["data"]["init_args"]["env_id"] == "Pendulum-v1"
