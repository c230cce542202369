"""`UnitCircle` and `Box`: parts of any model, honoured wherever it is stepped."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mbrl.data import Prediction, Task, Transitions, make_generator
from mbrl.envs import make_task
from mbrl.errors import ConfigError, DataError, MbrlWarning, UnsupportedError
from mbrl.models import (
    Blend,
    Box,
    CartPole,
    DynamicsModel,
    GaussianEnsemble,
    GaussianProcess,
    LinearQuadratic,
    ModelEnv,
    Pendulum,
    SimulatorModel,
    UnitCircle,
)
from mbrl.planners import ICEM, PETS, PlanObjective, PolicySample
from mbrl.planners.plans.propagation import PROPAGATIONS, Propagation
from mbrl.planners.rollouts.imagination import Imagination
from mbrl.spec import from_spec
from mbrl.testing import check_dynamics_model
from tests.models.test_project_and_halt import TASK, Pushes, starts
from tests.training.toy import data, trainer


class Doubles(DynamicsModel):
    """x' = 2x."""

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        mean = 2 * obs if member is not None else (2 * obs)[None]
        return Prediction(mean, torch.zeros_like(mean))


def doubles(task: Task = TASK, **box: Any) -> Doubles:
    model = Doubles([Box([-1.0], [1.0], **box)])
    model.build(replace(task, known_terminated="mbrl.envs.terminations.never"))
    return model


def step_from(model: DynamicsModel, *obs: float) -> Any:
    return model.step(model.start(starts(*obs), make_generator("cpu", 0)), torch.zeros(len(obs), 1))


# a box -------------------------------------------------------------------------------------------------------------------


@pytest.mark.check("sindy-11")
def test_a_bound_counts_as_outside_and_the_state_there_is_shown() -> None:
    model = doubles(ends="terminate")
    env = ModelEnv(model, starts(0.3), time_limit=None)
    env.reset(seed=0)
    seen = [env.step(np.zeros(1, dtype=np.float32)) for _ in range(2)]
    assert [(round(float(obs[0]), 6), *flags) for obs, _, *flags, _ in seen] == [(0.6, False, False), (1.2, True, False)]
    assert step_from(model, 0.5, 0.49, -0.5).terminated.tolist() == [True, False, True]
    limited = ModelEnv(model, starts(0.1), time_limit=2)
    limited.reset(seed=0)
    assert [limited.step(np.zeros(1, dtype=np.float32))[2:4] for _ in range(2)] == [(False, False), (False, True)]


def test_each_way_to_end() -> None:
    cut, over, fined = (step_from(doubles(**each), 0.3, 0.6) for each in WAYS)
    assert cut.halt.tolist() == [False, True] and not cut.terminated.any()
    assert over.halt is None and over.terminated.tolist() == [False, True]
    assert fined.halt is None and fined.terminated.tolist() == [False, True]
    assert torch.equal(cut.reward, over.reward) and torch.allclose(fined.reward, cut.reward - torch.tensor([0.0, 7.0]))
    env = ModelEnv(doubles(), starts(0.6), time_limit=None)
    env.reset(seed=0)
    assert env.step(np.zeros(1, dtype=np.float32))[2:4] == (False, True)


def test_a_rollout_that_begins_outside_goes_on_while_it_comes_nearer() -> None:
    inf, nan = math.inf, math.nan
    box = Box([-1.0, None], [1.0, 2.0])
    obs = torch.tensor(
        [[3.0, 0], [3, 0], [3, 0], [3, 0], [3, 0], [-3, 0], [-3, 3], [-3, 3], [inf, 0], [3, 0], [3, 0], [3, 0]]
    )
    led = [[2.0, 0], [1, 0], [0, 0], [3, 0], [4, 0], [2, 0], [-2, 3], [-2, 2.5], [inf, 0], [nan, 0], [2, -inf], [2, 2]]
    stops = [False, False, False, True, True, False, True, False, True, True, True, True]
    assert obs.shape == (12, 2) and box.left(obs, torch.tensor(led)).tolist() == stops
    assert box.outside(torch.tensor(led)).tolist() == [True, True, False, *[True] * 9]


WAYS: list[dict[str, Any]] = [{}, {"ends": "terminate"}, {"ends": "penalise", "penalty": 7.0}]


@pytest.mark.check("sindy-14")
def test_a_rollout_that_diverges_is_flagged_and_leaves_the_others_alone() -> None:
    class Squares(Doubles):
        def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
            return Prediction(obs.square(), torch.zeros_like(obs))

    model = Squares()
    model.build(replace(TASK, known_terminated="mbrl.envs.terminations.never"))
    steps = model.rollout(model.start(starts(2.0, 0.5), make_generator("cpu", 0)), torch.zeros(2, 9, 1))
    assert [step.finite.tolist() for step in steps[-2:]] == [[False, True]] * 2
    model.domain = [Box([-10.0], [10.0])]
    steps = model.rollout(model.start(starts(2.0, 0.5), make_generator("cpu", 0)), torch.zeros(2, 9, 1))
    halts = [step.halt for step in steps]
    assert [halt.tolist() for halt in halts] == [[False, False], *[[True, False]] * 8]  # also what isn't a number


@pytest.mark.parametrize("propagation", PROPAGATIONS)
def test_plans_earn_nothing_behind_a_box_or_the_stated_penalty(propagation: Propagation) -> None:
    earned, halts = {}, []
    for way in WAYS:
        model = doubles(**way)
        state = model.start(starts(0.3, 0.6), make_generator("cpu", 0))
        particles = 1 if propagation == "expectation" else 2
        objective = PlanObjective(model, particles, propagation, 0.5, lambda obs: torch.full_like(obs[:, 0], 64.0))
        earned[way.get("ends", "truncate")] = objective.returns(state, torch.zeros(2, 1, 4, 1), None, halts)[:, 0]
    expected = torch.tensor([0.6 + 1.2 / 2, 1.2])
    torch.testing.assert_close(earned["truncate"], expected)
    torch.testing.assert_close(earned["terminate"], expected)
    torch.testing.assert_close(earned["penalise"], expected - 7.0 * torch.tensor([0.5, 1.0]))
    assert [float(share) for share in halts] == [1.0]  # a termination is no halt


def test_imagination_stores_how_it_ended() -> None:
    found = {}
    for way in WAYS:
        stored: list[Transitions] = []
        Imagination(doubles(**way), Pushes(), PolicySample(), [], 0, 8, True).run(starts(0.3), 4, 0, stored.append)
        rows = Transitions.cat(stored)
        found[way.get("ends", "truncate")] = [rows.terminated.tolist(), rows.truncated.tolist()]
    assert found["truncate"] == [[False, False], [False, True]]
    assert found["terminate"] == found["penalise"] == [[False, True], [False, False]]


def test_a_model_that_diverges_everywhere_ends_no_run_and_says_so(tmp_path: Path) -> None:
    box = Box([-8.0] * 3, [8.0] * 3)
    planner = PETS(Explodes([box]), ICEM(candidates=6, elites=2, iterations=1), horizon=30, warmup_steps=0)
    trainer(tmp_path / "run", log_every=2, eval_every=100).fit(planner, data(4))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    halted = [line["plan/halted"] for line in lines if "plan/halted" in line]
    assert halted and all(share == 1.0 for share in halted)


class Explodes(DynamicsModel):
    """Cubes what it sees, which overflows in a few steps."""

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        mean = (3 + obs.abs()) ** 3
        mean = mean if member is not None else mean[None]
        return Prediction(mean, torch.zeros_like(mean))


# a circle ----------------------------------------------------------------------------------------------------------------


@pytest.mark.check("sindy-12")
def test_a_pair_has_length_1_and_all_else_stays() -> None:
    task = Task("", 5, 1, (-1.0,), (1.0,), known_terminated="mbrl.envs.terminations.never", known_reward=f"{__name__}.first")
    model = LinearQuadratic((1.1 * np.eye(5)).tolist(), np.zeros((5, 1)).tolist(), domain=[UnitCircle([[1, 2]])])
    model.build(task)
    obs = torch.randn(50, 5, generator=make_generator("cpu", 0), dtype=torch.float64)
    step = model.step(model.start(Transitions.from_obs(obs, 1), make_generator("cpu", 0)), torch.zeros(50, 1).double())
    assert (step.next_obs[:, 1:3].norm(dim=-1) - 1).abs().max() < 1e-12
    assert torch.equal(step.next_obs[:, [0, 3, 4]], 1.1 * obs[:, [0, 3, 4]])
    assert torch.equal(step.reward, step.next_obs[:, 1])


def first(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """The cosine."""
    return next_obs[..., 1]


def test_a_pair_may_be_huge_or_zero_and_has_gradients() -> None:
    circle = UnitCircle([[0, 1]])
    found = circle.project(torch.tensor([[3e30, 4e30], [0.0, 0.0], [-3e-30, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]]))
    obs = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    circle.project(obs)[:, 0].sum().backward()
    torch.testing.assert_close(obs.grad, torch.tensor([[16 / 125, -12 / 125], [1.0, 0.0]]))


# any model ---------------------------------------------------------------------------------------------------------------

MODELS: dict[str, Any] = {
    "ensemble": lambda domain: GaussianEnsemble(members=2, elites=2, hidden=[8], max_epochs=1, domain=domain),
    "process": lambda domain: GaussianProcess(members=4, updates=2, domain=domain),
    "blend": lambda domain: Blend(
        GaussianEnsemble(members=2, elites=2, hidden=[8], max_epochs=1), Pendulum(domain=domain[:1]), domain=domain[1:]
    ),
    "pendulum": lambda domain: Pendulum(domain=domain),
}


def domain(**box: Any) -> list[Any]:
    return [UnitCircle([[0, 1]]), Box([None, None, -0.5], [None, None, 0.5], **box)]


@pytest.mark.parametrize(("name", "way"), [("ensemble", 2), ("process", 0), ("blend", 1), ("pendulum", 2)])
def test_any_model_takes_them(name: str, way: int) -> None:
    check_dynamics_model(lambda: MODELS[name](domain(**WAYS[way])), make_task("Pendulum-v1"))


@pytest.mark.parametrize("name", list(MODELS))
def test_their_steps_stay_on_the_circle_and_end_outside_the_box(name: str) -> None:
    model = from_spec(MODELS[name](domain()).spec)
    model.build(make_task("Pendulum-v1"))
    obs = torch.randn(30, 3, generator=make_generator("cpu", 1))
    step = model.step(model.start(Transitions.from_obs(obs, 1), make_generator("cpu", 0)), torch.zeros(30, 1))
    assert (step.next_obs[:, :2].norm(dim=-1) - 1).abs().max() < 1e-6
    now, then = obs[:, 2].abs(), step.next_obs[:, 2].abs()
    expected = (then >= 0.5) & ((then >= now) | (obs[:, 2] * step.next_obs[:, 2] < 0))
    assert step.halt is not None and torch.equal(step.halt, expected) and 0 < step.halt.sum() < 30


def test_the_simulator_takes_a_box_and_no_circle() -> None:
    model = SimulatorModel(threads=1, domain=[Box([-0.5, None, None, None], [0.0, None, None, None])])
    model.build(make_task("InvertedPendulum-v5"))
    obs = torch.tensor([[0.01, 0.0, 0.1, 0.0], [-0.01, 0.0, 0.0, 0.0]])
    steps = model.rollout(model.start(Transitions.from_obs(obs, 1), make_generator("cpu", 0)), torch.zeros(2, 2, 1))
    assert all(step.halt is not None and step.halt.tolist() == [True, False] for step in steps)
    with pytest.raises(UnsupportedError, match=r"SimulatorModel: expected the simulator's own states, got a project"):
        SimulatorModel(domain=[UnitCircle([[0, 1]])]).build(make_task("InvertedPendulum-v5"))


def test_an_action_repeat_keeps_them_too() -> None:
    model = CartPole([Box([-0.1] + [None] * 4, [0.1] + [None] * 4, "penalise", 3.0)])
    model.build(make_task("dm_control/cartpole-swingup-v0", action_repeat=4))
    obs = torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0], [0.5, 1.0, 0.0, 0.0, 0.0]])
    step = model.step(model.start(Transitions.from_obs(obs, 1), make_generator("cpu", 0)), torch.zeros(2, 1))
    assert step.terminated.tolist() == [False, True] and step.reward[0] > 3 and step.reward[1] < 1


# bad input ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: UnitCircle([[0, 1], [1, 2]]), r"UnitCircle\(pairs=…\): expected each place once, got \[0, 1, 1, 2\]"),
        (lambda: UnitCircle([]), r"UnitCircle\(pairs=…\): expected a list of at least 1"),
        (lambda: UnitCircle([[0, 1, 2]]), r"UnitCircle\(pairs=…\): expected a list of at least 1, each a list of 2"),
        (lambda: UnitCircle([[-1, 0]]), r"UnitCircle\(pairs=…\): expected"),
        (lambda: Box([1.0], [1.0]), "Box: expected each low below its high, got 1 and 1 at 0; swap them"),
        (lambda: Box([1.0], [2.0, 3.0]), "Box: expected as many lows as highs, got 1 and 2; give null for none"),
        (lambda: Box([None], [None]), "Box: expected a bound, got none at all; give one, or leave the box out"),
        (lambda: Box([math.nan], [1.0]), r"Box\(low=…\): expected"),
        (lambda: Box([0.0], [1.0], "penalise"), r"Box\(penalty=…\): expected a number beside ends='penalise' and none"),
        (lambda: Box([0.0], [1.0], penalty=1.0), r"Box\(penalty=…\): expected a number beside ends='penalise' and none"),
        (lambda: Doubles([Box([0.0] * 2, [1.0] * 2)]).build(TASK), r"Box\(low=…\): expected shape 1, got 2; give one per"),
        (lambda: Doubles([UnitCircle([[0, 1]])]).build(TASK), r"UnitCircle\(pairs=…\): expected places from 0 to 0, of the"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make()


def test_a_box_without_the_data_is_refused_and_one_that_cuts_it_is_told_once() -> None:
    box, rows = Box([-1.0], [1.0]), starts(*[0.0] * 9, *[1.5] * 10)
    rows.next_obs = rows.obs
    with pytest.warns(MbrlWarning, match=r"outside of which 52.6% of the 19 lie: at 0 \(0 to 1.5 in -1 to 1\); widen them"):
        box.fitted(None, rows)
    box.fitted(None, rows)
    with pytest.raises(DataError, match=r"got bounds outside of which all 10 lie; these reach from 1.5 to 1.5; widen low"):
        box.fitted(None, rows.select(slice(9, 19)))
    Box([-1.0], [1.0]).fitted(None, rows.select(slice(0, 9)))


def test_pairs_that_lie_off_the_circle_are_told_once() -> None:
    angle = torch.linspace(0, 6, 50)
    on = torch.stack([angle.cos(), angle, angle.sin()], -1)  # 50 x 3
    rows = Transitions.from_obs(on, 1)
    rows.next_obs = on + 0.02 * torch.randn(50, 3, generator=make_generator("cpu", "noise"))
    UnitCircle([[0, 2]]).fitted(None, rows)  # measured, so that it isn't quite on it
    circle = UnitCircle([[0, 2]])
    rows.next_obs = on * 180
    told = r"whose squares add up to 1, got lengths of 180 to 180 at 0 and 2 in 50 real rows"
    with pytest.warns(MbrlWarning, match=told):
        circle.fitted(None, rows)
    circle.fitted(None, rows)
    circle.reset()
    with pytest.warns(MbrlWarning, match=told):
        circle.fitted(None, rows)
