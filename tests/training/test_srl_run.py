"""SRL as a user runs it: presets by the real command, its metrics, the policy loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import mbrl
from mbrl.cli import main
from mbrl.planners import ModelRolled
from tests.test_metrics_doc import documented, written
from tests.training.small_planners import srl


def test_its_metrics_are_documented(whole_run: Callable[..., Path]) -> None:
    names = written(whole_run(srl))
    assert names <= documented("A planner's run")
    own = {"learner/recalled", "learner/entropy_first", "learner/entropy_last", "model/mse", "train/decisions_per_step"}
    assert own <= names


def test_its_policy_is_loaded_and_acts_an_action_at_a_time(whole_run: Callable[..., Path]) -> None:
    planner = mbrl.load_policy(whole_run(srl))
    obs = np.array([1.0, 0.0, 0.1], dtype=np.float32)
    said = np.stack([planner.predict(obs) for _ in range(4)])
    planner.reset()
    again = np.stack([planner.predict(obs) for _ in range(4)])
    assert said.shape == (4, 1) and np.array_equal(said, again) and (np.abs(said) <= 2).all()
    whole = planner.decide(torch.tensor(obs)[None], planner.memory(1, torch.Generator()), 3)
    np.testing.assert_allclose(said[:3] / 2, whole[0].numpy(), rtol=1e-6)
    rolled = ModelRolled(planner.dynamics, planner.learner)
    rolled.build(planner.task)
    actions = rolled.decide(torch.tensor(obs)[None], rolled.memory(1, torch.Generator()), 3)
    torch.testing.assert_close(actions[:, 0], whole[:, 0])
    assert not torch.equal(actions[:, 1:], whole[:, 1:])


PRESETS = sorted(Path("configs/srl").glob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_presets_train(preset: Path, tmp_path: Path) -> None:
    """Each preset builds, and trains for a few steps at a small size."""
    overrides = ["--model.init_args.warmup_steps=8", "--model.init_args.batch_size=8", "--data.init_args.steps=14"]
    overrides += ["--model.init_args.learner.init_args.hidden=[32,32]", "--data.init_args.eval_episodes=1"]
    overrides += ["--data.init_args.env_kwargs={max_episode_steps: 6}", "--trainer.progress=false"]
    folder = tmp_path / "run"
    files = ["--config", "configs/base/srl.yaml", "--config", str(preset)]
    assert main(["fit", *files, "--trainer.folder", str(folder), *overrides]) == 0
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert any("learner/recalled" in line for line in lines)
