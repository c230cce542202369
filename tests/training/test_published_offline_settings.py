"""The presets of configs/offline against the published settings that they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mbrl.cli import main
from mbrl.data import Prediction
from mbrl.planners import OfflineDyna
from mbrl.policies import SAC
from mbrl.training.commands.fit import MbrlCLI
from tests.planners.offline import record


@pytest.fixture
def preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the planner of a preset, and builds nothing."""
    path, made = record(tmp_path / "pendulum.npz"), []
    monkeypatch.setattr(MbrlCLI, "fit", lambda self, **arguments: made.append(self.model))

    def of(method: str) -> OfflineDyna:
        files = ["--config", "configs/base/offline.yaml", "--config", f"configs/offline/{method}.yaml"]
        assert main(["fit", *files, "--data.init_args.path", str(path)]) == 0
        planner: OfflineDyna = made[-1]
        return planner

    return of


def test_mopo_counts_the_reward_as_its_code_does(preset: Any) -> None:
    (hook,) = preset("mopo").rollout_hooks
    measure = hook.measure
    assert (measure.members, measure.of, measure.reduce, measure.reward) == ("all", "sd", "norm", "auto")
    said = Prediction(torch.zeros(2, 1, 2), torch.ones(2, 1, 2), torch.zeros(2, 1), torch.tensor([[4.0], [7.0]]))
    assert measure(said, torch.tensor([0])).item() == pytest.approx(3.0), "sqrt(1 + 1 + 7), of all members"


@pytest.mark.parametrize(
    ("method", "hidden", "critics", "ratio", "entropy"),
    [
        ("combo", 3, 2, 0.5, False), ("mobile", 2, 2, 0.05, False), ("mopo", 2, 2, 0.05, True),
        ("ravl", 3, 10, 0.05, True), ("edac", 3, 10, 1.0, True),
    ],
)  # fmt: skip
def test_sizes_shares_and_losses(preset: Any, method: str, hidden: int, critics: int, ratio: float, entropy: bool) -> None:
    planner = preset(method)
    learner = planner.learner
    assert isinstance(learner, SAC)
    assert learner.critic_weight == 1.0, "beside half of the squared errors, published etas and weights count twice"
    assert (learner.hidden, learner.critic_count) == ((256,) * hidden, critics)
    assert (planner.real_ratio, learner.backup_entropy) == (ratio, entropy)
    assert (learner.discount, learner.target_rate, learner.critic_lr) == (0.99, 0.005, 3e-4)
    if planner.dynamics is not None:
        assert (planner.rollout_length, planner.rollout_batch) == ((0, 1, 5, 5), 50_000)
        assert (planner.rollout_every, planner.retain, planner.batch_size) == (1000, 5, 256)
        assert (planner.dynamics.members, planner.dynamics.elites) == (7, 5)
