"""A measure that isn't finite counts as the largest finite one beside it, wherever rewards are charged by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Generator, Prediction, Transitions
from mbrl.planners import BatchPenalty, UncertaintyPenalty
from mbrl.planners.rollouts.hooks import BatchContext, RolloutContext
from mbrl.planners.rollouts.unmeasured import measured
from mbrl.policies import SAC
from mbrl.testing import LinearModel, linear_task
from mbrl.uncertainty import Sample, UncertaintyMeasure

LINEAR = linear_task(ends=False)
NAN, INF = torch.nan, torch.inf


class Given(UncertaintyMeasure):
    """Says what it was told to, row by row."""

    def __init__(self, said: Any) -> None:
        self.said = said

    def __call__(
        self, prediction: Prediction, drawn: Tensor, sample: Sample | None = None, generator: Generator | None = None
    ) -> Tensor:
        return torch.tensor(self.said)


def model() -> LinearModel:
    made = LinearModel(members=2, noise=0.1)
    made.build(LINEAR)
    return made


def rows(number: int) -> Transitions:
    obs = torch.linspace(-1, 1, number * LINEAR.obs_size).view(number, -1)
    return Transitions.from_obs(obs, LINEAR.action_size)


def taken_off(said: list[float], alive: Tensor | None = None, **options: Any) -> tuple[Tensor, dict[str, float]]:
    """What a penalty of weight 2 takes off each step's reward, and what it reports."""
    dynamics, report = model(), {}

    def take(found: Mapping[str, Tensor]) -> None:
        report.update({name: float(value) for name, value in found.items()})

    start = dynamics.start(rows(len(said)), torch.Generator())
    step = dynamics.step(start, torch.zeros(len(said), LINEAR.action_size), ("prediction",))
    hook = UncertaintyPenalty(Given(said), weight=2.0, **options)
    after = hook(step, RolloutContext(0, dynamics, torch.Generator(), alive=alive, report=take))
    return step.reward - after.reward, report


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_step_is_charged_the_largest_finite_measure_beside_it(bad: float) -> None:
    off, report = taken_off([1.0, bad, 3.0, 0.5])
    assert torch.allclose(off, torch.tensor([2.0, 6.0, 6.0, 1.0]), atol=1e-5)
    assert report == {"unmeasured": 0.25}


def test_steps_of_rollouts_that_have_ended_say_nothing() -> None:
    """Dropped or masked, the others are charged alike."""
    off, report = taken_off([1.0, NAN, 9.0, NAN], alive=torch.tensor([True, True, False, False]))
    assert torch.allclose(off[:2], torch.tensor([2.0, 2.0]), atol=1e-5) and report == {"unmeasured": 0.5}
    few, _ = taken_off([1.0, NAN])
    assert torch.equal(off[:2], few)


def test_it_tunes_no_weight() -> None:
    weights = []
    for said in ([1.0, NAN, 3.0], [1.0, 3.0]):
        hook = UncertaintyPenalty(Given(said), weight=2.0, target=0.5)
        dynamics = model()
        step = dynamics.step(dynamics.start(rows(len(said)), torch.Generator()), torch.zeros(len(said), 1), ("prediction",))
        hook(step, RolloutContext(0, dynamics, torch.Generator()))
        weights.append(hook.weight.state_dict()["mean"])
    assert torch.equal(*weights)


def test_a_batch_stays_finite() -> None:
    learner, report = SAC(hidden=[4]), {}
    learner.build(LINEAR, 0)
    batch, model_rows = rows(5), slice(2, 5)

    def take(found: Mapping[str, Tensor]) -> None:
        report.update({name: float(value) for name, value in found.items()})

    context = BatchContext(learner, model(), torch.Generator(), model_rows=model_rows, report=take)
    after = BatchPenalty(Given([NAN, 4.0, 1.0]), weight=2.0)(batch, context)
    assert torch.equal(batch.reward - after.reward, torch.tensor([0.0, 0.0, 8.0, 8.0, 2.0]))
    assert report == {"unmeasured": pytest.approx(1 / 3)}


def test_finite_measures_keep_every_bit_and_none_at_all_is_0() -> None:
    said: list[float] = []
    unsure = torch.rand(100, generator=torch.Generator().manual_seed(0)) * 1e4
    same, fine = measured(unsure, None, lambda found: said.append(float(found["unmeasured"])))
    assert torch.equal(same, unsure) and bool(fine.all()) and said == [0.0]
    none, _ = measured(torch.full((3,), NAN), None, lambda found: said.append(float(found["unmeasured"])))
    assert torch.equal(none, torch.zeros(3)) and said == [0.0, 1.0]
