"""A termination that is to be learned from data in which nothing ends is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mbrl.envs import OnlineData
from mbrl.planners import Dyna
from mbrl.policies import SAC
from mbrl.testing import LinearModel
from tests.training.toy import lines, trainer

FITS: dict[str, Any] = {"warmup_steps": 8, "refit_every": 8, "rollouts_per_step": 1, "updates_per_step": 1, "batch_size": 8}


@pytest.mark.parametrize(("terminated", "told"), [("learned", True), ("auto", False)])
def test_no_end_in_the_data(terminated: str, told: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learned = {"learn_reward": True, "learn_terminated": terminated == "learned"}
    model = LinearModel([[0.9, 0, 0], [0, 0.9, 0], [0, 0, 0.9]], [[0.1]] * 3, **learned)
    data = OnlineData("Pendulum-v1", steps=24, terminated=terminated, eval_episodes=1)
    run = trainer(tmp_path / "run", progress=True)
    run.fit(Dyna(model, SAC(hidden=[8]), **FITS), data)
    shown = capsys.readouterr()
    assert (shown.out + shown.err).count("no episode ended in the data") == told
    assert any(line.get("model/ends") == 0.0 for line in lines(tmp_path / "run")) == told
