"""SRL as a user runs it: presets by the real command, killed and resumed within a sequence, metrics, the policy loaded."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import mbrl
from mbrl.cli import main
from mbrl.models import NextObsNetwork
from mbrl.planners import SRL, ModelRolled
from mbrl.policies import SequenceSAC
from tests.test_metrics_doc import documented, written
from tests.training.test_kill_and_resume import same_run
from tests.training.toy import KillAt, data, in_child, trainer

STEPS = 40


def srl() -> SRL:
    """Small and complete: an average of a normalised model, sequences longer than a save, seldom updates of the actor."""
    learner = SequenceSAC(3, hidden=[8, 8], normalize_obs=True)
    model = NextObsNetwork([8], delta=True, normalize=True)
    return SRL(model, learner, warmup_steps=10, refit_every=10, batch_size=8, actor_update_every=3)


def fit(folder: Path, ckpt_path: str | None = None, **options: object) -> None:
    trainer(folder, log_every=10, eval_every=20, checkpoint_every=10, **options).fit(
        srl(), data(STEPS, num_envs=2, eval_episodes=2), ckpt_path=ckpt_path
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    torch.set_num_threads(1)
    fit(folder)
    return folder


@pytest.mark.parametrize("tick", [8, 16])
def test_killed_and_resumed_equals_unbroken(unbroken: Path, tmp_path: Path, tick: int) -> None:
    assert in_child(lambda: fit(tmp_path, callbacks=[KillAt(tick)])) == -signal.SIGKILL
    fit(tmp_path, "last")
    assert same_run(unbroken, tmp_path) == []


def test_its_metrics_are_documented(unbroken: Path) -> None:
    names = written(unbroken)
    assert names <= documented("A planner's run")
    own = {"learner/recalled", "learner/entropy_first", "learner/entropy_last", "model/mse", "train/decisions_per_step"}
    assert own <= names


def test_its_policy_is_loaded_and_acts_an_action_at_a_time(unbroken: Path) -> None:
    planner = mbrl.load_policy(unbroken)
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
