"""`BC`: the likelihood is right, the mean is recovered, values are refused, and `OfflineDyna` trains it without a model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mbrl
from mbrl.cli import main
from mbrl.data import CriticsAsked, Task, Transitions, make_generator
from mbrl.errors import UnsupportedError
from mbrl.models import GaussianEnsemble, VaGraM
from mbrl.planners import BatchPenalty, OfflineDyna
from mbrl.policies import BC, Diversity
from mbrl.testing import ConformanceError, check_learner
from mbrl.training.commands.fit import MbrlCLI
from mbrl.uncertainty import ValueSpread
from tests.planners.offline import offline_data, record
from tests.training.toy import lines, trainer

TASK = Task("", 2, 1, (-1,), (1,))


def rows(obs: Tensor, action: Tensor) -> Transitions:
    none = torch.zeros(len(obs), dtype=torch.bool)
    return Transitions(obs, action, torch.zeros(len(obs)), obs, none, none)


def built(learner: BC | None = None) -> BC:
    learner = learner or BC(hidden=[8])
    learner.build(TASK)
    learner.make_optimizers()
    return learner


@pytest.mark.parametrize(("action", "counts_as"), [(0.3, 0.3), (-0.9, -0.9), (1.0, 0.999), (-1.0, -0.999)])
def test_the_log_likelihood_of_a_row_by_hand(action: float, counts_as: float) -> None:
    learner, obs = built(), torch.tensor([[0.4, -0.7]])
    mean, log_sigma = (each.item() for each in learner.policy.distribution(obs))
    gaussian = -0.5 * ((math.atanh(counts_as) - mean) / math.exp(log_sigma)) ** 2 - log_sigma - 0.5 * math.log(2 * math.pi)
    metrics = learner.update(rows(obs, torch.tensor([[action]])), make_generator("cpu", 0))
    assert metrics["log_likelihood"].item() == pytest.approx(gaussian - math.log(1 - counts_as**2), rel=1e-3)
    assert metrics["mean_error"].item() == pytest.approx(abs(math.tanh(mean) - action), abs=1e-5)


@pytest.mark.parametrize("normalize_obs", [False, True])
def test_the_mean_and_spread_of_a_known_policy_are_recovered(normalize_obs: bool) -> None:
    generator = make_generator("cpu", 1)
    obs = torch.rand(8000, 2, generator=generator) * 2 - 1
    mean = 0.8 * obs[:, :1] - 0.4 * obs[:, 1:]
    data = rows(obs, torch.tanh(mean + 0.3 * torch.randn(8000, 1, generator=generator)))
    learner = built(BC(hidden=[16], lr=1e-2, normalize_obs=normalize_obs))
    learner.fit_inputs(data)
    for _ in range(400):
        learner.update(data, generator)
    assert (learner.policy.mode(obs) - torch.tanh(mean)).abs().mean() < 0.05
    assert learner.policy.distribution(obs)[1].exp().mean().item() == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("critics", ["online", "target", "both"])
def test_values_are_refused(critics: CriticsAsked) -> None:
    with pytest.raises(UnsupportedError, match="expected a learner with critics, got BC, which has none; take another"):
        built().value(torch.zeros(1, 2), critics=critics)


@pytest.mark.parametrize("normalize_obs", [False, True])
def test_it_keeps_the_contract(normalize_obs: bool) -> None:
    check_learner(lambda: BC(hidden=[8, 8], normalize_obs=normalize_obs), TASK)


class AnswersZero(BC):
    def value(self, obs: Tensor, action: Tensor | None = None, critics: CriticsAsked = "online") -> Tensor:
        return obs.new_zeros(1, *obs.shape[:-1])


class IgnoresTerms(BC):
    def update(self, batch: Transitions, generator: Any, critic_terms: Any = ()) -> dict[str, Tensor]:
        return super().update(batch, generator)


@pytest.mark.parametrize(("cls", "clause"), [(AnswersZero, "value of a learner without"), (IgnoresTerms, "critic terms")])
def test_broken_ones_are_found(cls: type[BC], clause: str) -> None:
    with pytest.raises(ConformanceError, match=clause):
        check_learner(lambda: cls(hidden=[8]), TASK)


def ensemble(**options: Any) -> GaussianEnsemble:
    return GaussianEnsemble(hidden=[8], members=2, elites=1, max_epochs=1, **options)


@pytest.mark.parametrize(
    ("model", "options", "match"),
    [
        (None, {"critic_terms": [Diversity()]}, "which Diversity asks, got BC"),
        (
            {},
            {"real_ratio": 1, "batch_hooks": [BatchPenalty(ValueSpread(), 1.0)]},
            "(BatchPenalty|ValueSpread) asks, got BC",
        ),
        (
            {"loss": VaGraM(), "deterministic": True},
            {"real_ratio": 1},
            "asks for values, and BC has no critics",
        ),
        ({}, {"real_ratio": 0.5}, "BC can't learn from rollouts"),
    ],
)
def test_what_it_cannot_serve_is_refused(model: dict[str, Any] | None, options: dict[str, Any], match: str) -> None:
    with pytest.raises(UnsupportedError, match=match):
        OfflineDyna(None if model is None else ensemble(**model), BC(hidden=[8]), **options).build(TASK)


def test_the_overlay_gives_a_planner_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[MbrlCLI] = []
    monkeypatch.setattr(MbrlCLI, "fit", lambda self, **arguments: made.append(self))
    path = record(tmp_path / "pendulum.npz")
    files = ["--config", "configs/base/offline.yaml", "--config", "configs/offline/bc.yaml"]
    assert main(["fit", *files, "--data.init_args.path", str(path)]) == 0
    planner: Any = made[-1].model
    assert made[-1].trainer.name == "offline-bc"
    assert isinstance(planner, OfflineDyna) and planner.dynamics is None and type(planner.learner) is BC
    planner.build(made[-1].datamodule.task, 0)


def test_offline_dyna_trains_loads_and_resumes_it(tmp_path: Path) -> None:
    path = record(tmp_path / "pendulum.npz")

    def planner() -> OfflineDyna:
        return OfflineDyna(None, BC(hidden=[8], normalize_obs=True), batch_size=16)

    trainer(tmp_path / "whole").fit(planner(), offline_data(path, 30))
    trainer(tmp_path / "part").fit(planner(), offline_data(path, 15))
    trainer(tmp_path / "part").fit(planner(), offline_data(path, 30), ckpt_path="last")
    whole, part = (lines(tmp_path / name, "updates")[-1] for name in ("whole", "part"))
    assert "learner/log_likelihood" in whole and "learner/mean_error" in whole
    assert whole.pop("eval/env_steps") == 100 and part.pop("eval/env_steps") == 150  # one at its first end too
    assert whole.pop("eval/total_episodes") == 4 and part.pop("eval/total_episodes") == 6
    assert part == whole
    loaded: Any = [mbrl.load(tmp_path / name) for name in ("whole", "part")]
    first, second = (each.learner.state_dict() for each in loaded)
    assert first.keys() == second.keys() and any("normalizer" in name for name in first)
    assert all(torch.equal(value, second[name]) for name, value in first.items() if isinstance(value, Tensor))
    action = mbrl.load_policy(tmp_path / "whole").predict(np.zeros(3, np.float32))
    assert action.shape == (1,) and np.isfinite(action).all()
