"""`FixedPolicy`: a given policy as a planner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import mbrl
from mbrl.cli import main
from mbrl.data import make_generator
from mbrl.envs import make_task
from mbrl.planners import FixedPolicy, OfflineDyna
from mbrl.policies import BC, SAC
from mbrl.testing import check_planner
from tests.planners.offline import offline_data, record
from tests.training.toy import data, lines, trainer

TASK = make_task("Pendulum-v1", {"max_episode_steps": 25})


def test_it_keeps_the_contract() -> None:
    check_planner(lambda: FixedPolicy(SAC(hidden=[8, 8])), TASK)


def test_it_acts_as_the_policy_does_and_changes_nothing(tmp_path: Path) -> None:
    learner = BC(hidden=[8])
    learner.build(TASK, 5)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    planner = FixedPolicy(learner)
    trainer(tmp_path / "run", log_every=10, eval_every=20).fit(planner, data(40))
    assert not planner.learns and planner.env_steps == 40
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())
    assert any("train/return" in line for line in lines(tmp_path / "run"))
    obs = torch.randn(4, 3, generator=make_generator("cpu", 0))
    memory = planner.memory(4, make_generator("cpu", 1))
    assert torch.equal(planner.act(obs, memory, explore=False)[0], learner.policy.mode(obs))
    sampled, memory = planner.act(obs, memory, explore=True)
    assert torch.equal(sampled, learner.policy.sample(obs, make_generator("cpu", 1))[0])
    assert torch.equal(memory.tensors["prev_action"], sampled)
    loaded = mbrl.load_policy(tmp_path / "run")
    np.testing.assert_array_equal(loaded.predict(obs.numpy()), planner.predict(obs.numpy()))


def test_a_learners_policy_of_another_run_is_tested_and_collected_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = OfflineDyna(None, BC(hidden=[8]), batch_size=8)
    trainer(tmp_path / "cloned").fit(clone, offline_data(record(tmp_path / "data.npz")))
    cloned = mbrl.load_policy(tmp_path / "cloned")
    planner = FixedPolicy(cloned.learner)
    trainer(tmp_path / "fixed").fit(planner, data(20))
    found, theirs = trainer(tmp_path / "fixed").test(planner, data(20)), trainer(tmp_path / "cloned").test(cloned, data(20))
    assert found["test/return"] == theirs["test/return"]
    assert main(["collect", str(tmp_path / "rows.npz"), "--ckpt_path", str(tmp_path / "fixed"), "--steps", "30"]) == 0
    assert main(["test", "--ckpt_path", str(tmp_path / "fixed")]) == 0
    assert "test/return" in capsys.readouterr().out
