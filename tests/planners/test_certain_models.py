"""Offline methods on a model without error: what penalises a model has nothing to say, and many critics still do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Transitions, make_generator
from mbrl.errors import UnsupportedError
from mbrl.models import Blend, GaussianEnsemble, Pendulum
from mbrl.planners import BatchPenalty, HaltUnfamiliar, OfflineDyna, UncertaintyPenalty
from mbrl.policies import SAC
from mbrl.uncertainty import MaxAleatoric, MaxPairwiseDistance, Sample, ValueSpread
from tests.planners.offline import offline_data, record


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return offline_data(record(tmp_path_factory.mktemp("data") / "pendulum.npz"))


def trained(rows: Any, critics: int = 2, **parts: Any) -> OfflineDyna:
    """A few updates on rollouts of five equal members without variance, and on the dataset."""
    exact = Blend(GaussianEnsemble(members=5, elites=5, hidden=[8]), Pendulum(), weight=1.0)
    learner = SAC(hidden=[8], critics=critics)
    planner = OfflineDyna(exact, learner, rollout_batch=8, rollout_length=3, rollout_every=2, batch_size=16, **parts)
    planner.build(rows.task)
    planner.make_optimizers()
    planner.take(rows.transitions)
    for _ in range(6):
        planner.tick()
    return planner


def parameters(planner: OfflineDyna) -> list[Tensor]:
    return [each.detach() for each in planner.learner.parameters()]


def mopo(weight: float) -> dict[str, Any]:
    return {"rollout_hooks": [UncertaintyPenalty(MaxPairwiseDistance(), weight=weight)]}


def morel(weight: float) -> dict[str, Any]:
    return {"rollout_hooks": [HaltUnfamiliar(cost=weight)]}


def mobile(weight: float) -> dict[str, Any]:
    return {"batch_hooks": [BatchPenalty(ValueSpread(samples=10), weight=weight)]}


@pytest.mark.check("ravl-9.5")
@pytest.mark.parametrize("method", [mopo, morel, mobile], ids=lambda method: method.__name__)
def test_the_weight_of_a_penalty_has_no_effect(method: Any, rows: Any) -> None:
    found = [parameters(trained(rows, **method(weight))) for weight in (0.0, 100.0)]
    assert found[0] and all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.check("ravl-9.5")
def test_all_measures_of_it_are_zero(rows: Any) -> None:
    with pytest.raises(UnsupportedError, match="it predicts no noise; take a measure of disagreement"):
        trained(rows, rollout_hooks=[UncertaintyPenalty(MaxAleatoric(), weight=1.0)])
    planner = trained(rows)
    model, seen = planner.dynamics, rows.transitions.select(torch.arange(20))
    assert isinstance(model, Blend)
    with torch.no_grad():
        said = model.predict_rows(seen)
        sample = Sample(seen.next_obs, seen.reward).valued(planner.learner, rows.task, seen.obs, seen.action)
        for measure in (MaxAleatoric(), MaxPairwiseDistance(), ValueSpread(samples=1), ValueSpread(samples=10)):
            assert not measure(said, model.drawn_members, sample, make_generator("cpu", "measure")).any()


@pytest.mark.check("ravl-9.5")
def test_a_minimum_of_more_critics_still_differs(rows: Any) -> None:
    one, two, three = (trained(rows, critics) for critics in (1, 2, 3))
    obs = rows.transitions.obs[:20]
    policies = [planner.learner.policy.mode(obs) for planner in (one, two, three)]
    assert not torch.equal(policies[0], policies[1]) and not torch.equal(policies[1], policies[2])


@pytest.mark.check("ravl-9.5")
@pytest.mark.parametrize(("floor", "expected"), [(0.0, 0.0), (None, -2.0)])
def test_a_floor_raises_a_target(floor: float | None, expected: float, rows: Any) -> None:
    learner = SAC(hidden=[8], backup_entropy=False, target_floor=floor)
    learner.build(rows.task)
    with torch.no_grad():
        for each in learner.target_critics.parameters():
            each.zero_()
        learner.target_critics.head_bias.fill_(1 / 0.99)
    row = Transitions.from_obs(torch.zeros(1, 3), 1)
    row.reward = torch.tensor([-3.0])
    assert learner.target(row, make_generator("cpu", 0)).item() == pytest.approx(expected, abs=1e-6)
