"""What plans promise: exactly what they bring in an exact model, too much in one that is too hopeful by a known amount."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.analysis import PlanOutcome, plan_outcome
from mbrl.analysis.result import Skipped
from mbrl.data import Prediction, Task, make_generator
from mbrl.envs import HandedOverExperience, VectorExperience, make_task
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.models import DynamicsModel, LinearQuadratic, Pendulum, SimulatorModel
from mbrl.planners import (
    CEM,
    PETS,
    Dyna,
    MakesPlans,
    Memory,
    OnlinePlanner,
    Plan,
    Planner,
    PlanObjective,
    PlanOptimizer,
    RandomShooting,
    evaluate,
)  # fmt: skip
from mbrl.policies import SAC
from mbrl.testing import LinearModel, linear_task
from mbrl.testing.linear import ACTION_MATRIX, STATE_MATRIX
from mbrl.uncertainty import MeanDisagreement
from tests.training.toy import ToyPlanner

LINEAR = linear_task(ends=False, time_limit=50)


def pets(model: DynamicsModel, task: Task = LINEAR, optimizer: PlanOptimizer | None = None, **options: Any) -> PETS:
    fixed = {"warmup_steps": 0} if model.fitting == "fixed" else {}
    planner = PETS(model, optimizer or CEM(candidates=16, elites=4, iterations=2), **{"horizon": 5, **fixed, **options})
    planner.build(task)
    return planner


def look(planner, experience=None, *, seed: int = 0, **options: Any) -> PlanOutcome:
    own = experience is None
    experience = experience or VectorExperience(planner.task, 2)
    try:
        found = plan_outcome(planner, experience, generator=make_generator("cpu", seed), **{"decisions": 3, **options})
    finally:
        if own:
            experience.close()
    assert isinstance(found, PlanOutcome)
    return found


@pytest.mark.parametrize("case", ["linear", "pendulum", "simulator"])
@pytest.mark.parametrize("in_truth", [False, True])
def test_plans_in_an_exact_model_bring_what_they_promise(case: str, in_truth: bool) -> None:
    """Executed open loop, in a copy of the environment and in an exact model alike."""
    model: DynamicsModel
    if case == "linear":
        task, model, truth = (
            LINEAR,
            LinearQuadratic(STATE_MATRIX, ACTION_MATRIX),
            LinearQuadratic(STATE_MATRIX, ACTION_MATRIX),
        )
    elif case == "pendulum":
        task, model, truth = make_task("Pendulum-v1"), Pendulum(), Pendulum()
    else:
        task, model, truth = make_task("InvertedPendulum-v5"), SimulatorModel(threads=1), SimulatorModel(threads=1)
    truth.build(task)
    found = look(pets(model, task, horizon=6), truth=truth if in_truth else None, every=4)
    assert found.exact and any("to rounding" in note for note in found.notes)
    assert torch.allclose(found.open_loop, found.promised, rtol=1e-4, atol=1e-4)
    assert found.summary()["open_loop"]["rmse"] < 1e-3
    assert bool(found.closed_loop.isfinite().all())


def test_the_closed_loop_is_what_evaluation_earns() -> None:
    """Over a whole episode, and from the first decision of the next, which remembers nothing of it."""
    planner = pets(LinearQuadratic(STATE_MATRIX, ACTION_MATRIX))
    found = look(planner, decisions=3, every=25)
    assert found.env.tolist() == [0, 1] * 3 and found.step.tolist() == [0, 0, 25, 25, 50, 50]
    seed = int(torch.randint(2**31, (), generator=make_generator("cpu", 0)))
    experience = VectorExperience(LINEAR, 2)
    experience.reset(seed)
    memory = planner.memory(2, make_generator("cpu", seed, "plan outcome"))
    rewards = []
    for _ in range(55):
        action, memory = planner.act(experience.obs, memory, explore=False)
        rewards.append(experience.step(action).reward.double())
        memory.reset(experience.ended)
    for number, first in enumerate((0, 25, 50)):
        expected = torch.stack(rewards[first : first + 5]).sum(0)
        assert torch.allclose(found.closed_loop[2 * number : 2 * number + 2], expected, rtol=1e-9)


class Hopeful(LinearModel):
    """The true system, with 0.5 more reward a step."""

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        said = super().predict(obs, action, member)
        assert said.reward_mean is not None
        said.reward_mean = said.reward_mean + 0.5
        return said


def unknown_reward() -> Task:
    return Task.from_plain({**LINEAR.to_plain(), "known_reward": None})


def test_a_hopeful_model_promises_too_much_by_as_much() -> None:
    planner = pets(Hopeful(learn_reward=True), unknown_reward(), discount=0.9, optimizer=RandomShooting(16), particles=2)
    found = look(planner, decisions=4)
    extra = 0.5 * sum(0.9**k for k in range(5))
    assert torch.allclose(found.promised - found.open_loop, torch.tensor(extra, dtype=torch.float64), atol=1e-5)
    assert found.summary()["open_loop"]["bias"] == pytest.approx(extra, abs=1e-5)
    assert found.summary()["plan_value_above_promised"] == pytest.approx(0.0, abs=1e-5)  # nothing is drawn
    assert not found.exact and "promise 2.05 more" in found.plot().axes[0].get_title()


def test_a_search_among_noisy_plans_reports_more_than_it_gets() -> None:
    """Members that differ: the best of 200 estimates is lucky, and asking once more isn't."""
    planner = pets(LinearModel(noise=0.5), optimizer=RandomShooting(200), particles=2)
    above = look(planner, decisions=6).plan_value - look(planner, decisions=6).promised
    assert float(above.mean()) > 0.3


def test_uncertainty_and_terminal_value_are_no_return() -> None:
    model = LinearModel(members=3, spread=0.1)
    learner = SAC(hidden=(8,))
    planner = pets(
        model, learner=learner, terminal_value="min", uncertainty=MeanDisagreement(), uncertainty_rate=1000.0, particles=3
    )
    found = look(planner)
    assert float((found.plan_value - found.promised).min()) > 100
    assert float(found.promised.max()) <= 0  # rewards are costs
    told = " ".join(found.notes)
    assert "weighted uncertainty" in told and "value of where the plan ends" in told
    exact = pets(LinearQuadratic(STATE_MATRIX, ACTION_MATRIX), learner=SAC(hidden=(8,)), terminal_value="mean")
    found = look(exact)
    assert found.exact and float((found.plan_value - found.promised).abs().min()) > 1e-3


def test_time_limits_and_ends() -> None:
    """Cut after 50 steps: decisions at 0 and 45 have five steps; that at 48 hasn't, nor has its open loop."""
    planner = pets(LinearQuadratic(STATE_MATRIX, ACTION_MATRIX))
    found = look(planner, every=45, decisions=2)
    assert bool(found.closed_loop.isfinite().all()) and bool(found.open_loop.isfinite().all())
    found = look(planner, every=48, decisions=2)
    for obtained in (found.closed_loop, found.open_loop):
        assert obtained.isfinite().tolist() == [True] * 2 + [False] * 2
    assert found.exact and any("2 of 4 decisions" in note for note in found.notes)
    assert found.summary()["closed_loop"]["decisions"] == 2
    # a pole that falls within the horizon ends the return, and that counts
    task = make_task("InvertedPendulum-v5")
    planner = pets(SimulatorModel(threads=1), task, RandomShooting(1), horizon=30)
    found = look(planner, decisions=1)
    assert bool((found.open_loop < 25).all()) and found.exact  # one random plan doesn't hold it


def test_a_policys_promise() -> None:
    task = linear_task(ends=True)
    model, learner = LinearModel(), SAC(hidden=(8,), discount=0.9)
    planner = Dyna(model, learner, warmup_steps=10)
    planner.build(task)
    found = look(planner, horizon=10, every=5)
    assert found.discount == 0.9 and not found.plans
    assert bool(found.plan_value.isnan().all()) and bool(found.open_loop.isnan().all())
    assert torch.allclose(found.promised, found.closed_loop, atol=1e-4)  # the model is the system
    assert found.summary()["open_loop"] is None and any("follows a policy" in note for note in found.notes)
    noisy = LinearModel([[1.0, 0.1], [0.0, 0.5]], ACTION_MATRIX, noise=0.1)
    other = Dyna(noisy, SAC(hidden=(8,)), warmup_steps=10)
    other.build(task)
    off = look(other, horizon=10, discount=1.0, particles=3)
    assert not torch.allclose(off.promised, off.closed_loop, atol=1e-2)
    found.plot().draw_without_rendering()


class Lost(LinearModel):
    """Predicts nothing finite from where the position is above 0."""

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        said = super().predict(obs, action, member)
        said.mean = torch.where(obs[..., :1] > 0.0, torch.nan, said.mean)
        return said


def test_promises_that_are_not_finite_are_counted() -> None:
    found = look(pets(Lost()), VectorExperience(LINEAR, 6))
    wrong = found.promised.isnan()
    assert 0 < int(wrong.sum()) < len(wrong) and not found.exact
    assert any(f"{int(wrong.sum())} of {len(wrong)} promised" in note and "environment" in note for note in found.notes)
    json.dumps(found.to_json(), allow_nan=False)
    found.plot().draw_without_rendering()


class Idle(OnlinePlanner):
    """Has a model, and does nothing with it."""

    def __init__(self, dynamics: DynamicsModel) -> None:
        super().__init__(dynamics, warmup_steps=0, warmup="uniform", refit_every=1, real_capacity=10)

    def make_parts(self, task: Task, seed: int) -> None:
        self.build_dynamics(seed)
        self.objective = PlanObjective(self.dynamics)

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        return []

    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> tuple[Tensor, Memory]:
        return torch.zeros(len(obs), self.built_task.action_size), memory

    def learn(self, new: int) -> None:
        pass


class Still(Idle, MakesPlans):
    """Plans to do nothing."""

    horizon = 4

    def plan(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> Plan:
        actions = torch.zeros(len(obs), self.horizon, self.built_task.action_size)
        state = self.dynamics.start(self.start_rows(obs, snapshot), memory.planning_generator)
        return Plan(actions, self.objective.returns(state, actions.unsqueeze(1))[:, 0])


def test_a_planner_of_ones_own_that_makes_plans_is_compared() -> None:
    planner = Still(LinearQuadratic(STATE_MATRIX, ACTION_MATRIX))
    planner.build(LINEAR)
    found = look(planner)
    assert found.plans and found.horizon == 4 and found.exact
    assert torch.allclose(found.plan_value, found.closed_loop, atol=1e-5)


@pytest.mark.parametrize(
    ("planner", "reason"),
    [
        (ToyPlanner(), "ToyPlanner has no model whose promises could be compared"),
        (Idle(LinearModel()), "Idle makes no plans and has no learner with a policy; one that does inherits MakesPlans or"),
    ],
)
def test_planners_without_promises_are_skipped_by_name(planner: Planner, reason: str) -> None:
    planner.build(LINEAR)
    skipped = plan_outcome(planner, VectorExperience(LINEAR), generator=make_generator("cpu", 0))
    assert isinstance(skipped, Skipped) and reason in skipped.reason


def test_environments_that_cannot_be_copied_leave_the_open_loop_out() -> None:
    import gymnasium

    envs = gymnasium.make_vec(
        "mbrl/Linear-v0",
        num_envs=2,
        vectorization_mode="sync",
        ends=False,
        vector_kwargs={"autoreset_mode": gymnasium.vector.AutoresetMode.DISABLED},
    )
    planner = pets(LinearQuadratic(STATE_MATRIX, ACTION_MATRIX))
    found = look(planner, HandedOverExperience(LINEAR, envs, resume="next_episode"))
    assert bool(found.open_loop.isnan().all()) and bool(found.closed_loop.isfinite().all())
    assert any("HandedOverExperience can't be copied" in note for note in found.notes)
    truth = LinearQuadratic(STATE_MATRIX, ACTION_MATRIX)
    truth.build(LINEAR)
    assert look(planner, HandedOverExperience(LINEAR, envs, resume="next_episode"), truth=truth).exact
    envs.close()


def test_it_moves_nothing_and_repeats() -> None:
    planner = pets(LinearModel(noise=0.1))
    before = evaluate(planner, VectorExperience(LINEAR, 1), 1, 0).returns
    first, again, other = look(planner), look(planner), look(planner, seed=1)
    assert torch.equal(first.promised, again.promised) and torch.equal(first.closed_loop, again.closed_loop)
    assert not torch.equal(first.promised, other.promised)
    assert torch.equal(evaluate(planner, VectorExperience(LINEAR, 1), 1, 0).returns, before)
    assert planner.env_steps == 0


def test_bad_arguments_table_and_plot() -> None:
    planner = pets(LinearQuadratic(STATE_MATRIX, ACTION_MATRIX))
    with pytest.raises(ConfigError, match=r"horizon=…\): expected the planner's own .*, got 9"):
        look(planner, horizon=9)
    with pytest.raises(ConfigError, match="decisions"):
        look(planner, decisions=0)
    untrue = LinearModel()
    untrue.build(LINEAR)
    with pytest.raises(UnsupportedError, match="exact"):
        look(planner, truth=untrue)
    found = look(planner)
    assert {len(column) for column in found.table().values()} == {6}
    found.plot().draw_without_rendering()
