"""PETS: it plans for each environment alone, collects and refits on schedule, and refuses what can't be."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor

from mbrl.data import Task, Transitions, ValueFunction, make_generator
from mbrl.envs import HandedOverExperience, VectorExperience, make_task
from mbrl.errors import ConfigError, DivergedError, ShapeError, UnsupportedError
from mbrl.models import GaussianEnsemble, SimulatorModel, WantsValueFunction
from mbrl.models.closed_form import Pendulum
from mbrl.planners import PETS, evaluate
from mbrl.planners.plans import (
    CEM,
    ICEM,
    MPPI,
    GradientShooting,
    Plan,
    PlanOptimizer,
    PlanProblem,
    RandomShooting,
)
from mbrl.policies import SAC
from mbrl.testing import LinearModel, linear_task
from mbrl.uncertainty import MeanDisagreement
from tests.planners.exact_models import WALK, WalkModel

LINEAR = linear_task()
OPTIMIZERS: dict[str, PlanOptimizer] = {
    "CEM": CEM(candidates=24, elites=5, iterations=3),
    "ICEM": ICEM(candidates=24),
    "MPPI": MPPI(candidates=24, iterations=2),
    "RandomShooting": RandomShooting(24),
    "GradientShooting": GradientShooting(candidates=3, updates=4),
}


def pets(optimizer: PlanOptimizer | None = None, task: Task = LINEAR, **options: Any) -> PETS:
    model = options.pop("dynamics", None) or LinearModel()
    options = {"horizon": 4, **options}
    planner = PETS(model, optimizer or CEM(candidates=16, elites=4, iterations=2), **options)
    planner.build(task)
    return planner


# planning ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("system", ["closed form", "noisy members"])
def test_states_planned_for_together_get_the_plans_they_get_alone(name: str, system: str) -> None:
    """Over three decisions, so that warm starts belong to their environment; one is reset in between."""
    task = make_task("Pendulum-v1")

    def made() -> PETS:
        if system == "closed form":
            return pets(OPTIMIZERS[name], task, dynamics=Pendulum(), warmup_steps=0)
        model = LinearModel(torch.eye(3).tolist(), [[0.1], [0.2], [0.3]], noise=0.1, members=3, spread=0.1)
        return pets(OPTIMIZERS[name], task, dynamics=model, particles=3)

    planner = made()
    obs = torch.randn(3, 3, 3, dtype=torch.float64, generator=make_generator("cpu", 0))  # decisions x N x S

    def decisions(which: list[int]) -> list[Tensor]:
        memory = planner.memory(len(which), torch.Generator().manual_seed(5))
        if len(which) == 1:  # with the stream that its place in the batch has
            full = planner.memory(3, torch.Generator().manual_seed(5))

            def generators(purpose: str, device: torch.device | str) -> list[torch.Generator]:
                full.decisions = memory.decisions
                return [full.decision_generators(purpose, device)[which[0]]]

            memory.decision_generators = generators  # type: ignore[method-assign]
        plans = []
        for number in range(3):
            plans.append(planner.plan(obs[number, which], memory, explore=True).actions)
            if number == 1:
                memory.reset(torch.tensor([place == 1 for place in which]))
        return plans

    together = decisions([0, 1, 2])
    for i in range(3):
        for number, plan in enumerate(decisions([i])):
            assert torch.allclose(plan[0], together[number][i], rtol=0, atol=1e-9), (i, number)
    assert not torch.allclose(together[0][0], together[0][1])


@pytest.mark.check("coplanner-24")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_episodes_end_clears_what_was_planned_for_it(name: str) -> None:
    """Also what CEM, iCEM and MPPI keep inside: after a reset a decision is a first decision."""
    planner, obs = pets(OPTIMIZERS[name]), torch.tensor([[0.5, 0.1], [0.5, 0.1]])
    memory = planner.memory(2, torch.Generator().manual_seed(0))
    for _ in range(2):
        planner.act(obs, memory, explore=True)
    memory.reset(torch.tensor([True, False]))
    fresh = planner.memory(2, torch.Generator().manual_seed(0))
    for tensor_name, tensor in memory.tensors.items():
        assert torch.equal(tensor[0], fresh.tensors[tensor_name][0])
    fresh.decisions = memory.decisions
    again, expected = (planner.plan(obs, kept, explore=True).actions for kept in (memory, fresh))
    assert torch.equal(again[0], expected[0])
    if name not in ("RandomShooting",):  # which carries nothing over
        assert not torch.equal(again[1], expected[1])


def test_noise_of_a_decision_is_its_own() -> None:
    """The next decision draws anew, and another episode's memory draws otherwise."""
    planner, obs = pets(RandomShooting(8)), torch.tensor([[0.5, 0.1]])
    memory = planner.memory(1, torch.Generator().manual_seed(0))
    first, second = (planner.plan(obs, memory, explore=True).actions for _ in range(2))
    assert not torch.equal(first, second)
    assert memory.decisions == 2
    again = planner.plan(obs, planner.memory(1, torch.Generator().manual_seed(0)), explore=True).actions
    other = planner.plan(obs, planner.memory(1, torch.Generator().manual_seed(1)), explore=True).actions
    assert torch.equal(again, first) and not torch.equal(other, first)


@pytest.mark.check("coplanner-40")
def test_the_exact_pendulum_beats_random_actions_by_far_in_one_episode() -> None:
    """Random actions earn −1216 ± 296; planning on the closed form earns more than −400 from anywhere."""
    task = make_task("Pendulum-v1")
    planner = PETS(Pendulum(), CEM(candidates=100, elites=10, iterations=3), horizon=30, warmup_steps=0)
    planner.build(task)
    experience = VectorExperience(task, 2)
    returns = evaluate(planner, experience, 2, seed=7).returns
    experience.close()
    assert (returns > -400).all()


def test_terminal_value_and_policy_candidates_reach_the_plan() -> None:
    """A critic that pays for position pulls the plan that way, and a policy's plans are among the candidates."""

    class Pays(SAC):
        def value(self, obs: Tensor) -> Tensor:
            return torch.stack((obs[:, 0] * 100, obs[:, 0] * 100 - 1))

    def first(**options: Any) -> tuple[float, float]:
        planner = pets(CEM(candidates=64, elites=8), learner=Pays(hidden=[4, 4]), **options)
        memory = planner.memory(1, torch.Generator().manual_seed(0))
        plan = planner.plan(torch.zeros(1, 2), memory, explore=False)
        return plan.actions[0, 0, 0].item(), plan.value.item()

    action, value = first(terminal_value="mean")
    assert action > 0.5
    assert first(terminal_value="min")[1] == pytest.approx(value - 0.5, abs=1e-3)
    discounted = first(terminal_value="mean", discount=0.5)
    assert discounted[1] < 0.5**3 * value

    planner = pets(CEM(40, 1, iterations=1, momentum=0, policy_candidates=39), learner=SAC(hidden=[4, 4]))
    memory = planner.memory(1, torch.Generator().manual_seed(0))
    assert planner.learner is not None
    generators = memory.decision_generators("policy", "cpu")
    policy_action = planner.learner.policy.sample(torch.zeros(39, 2), generators[0])[0]
    chosen = planner.plan(torch.zeros(1, 2), memory, explore=False).actions[0, 0]
    assert (policy_action - chosen).abs().min() < 1e-6


class ByState(SAC):
    """A policy that follows the observation: a = s₀ / 2."""

    def build(self, task: Task, seed: int = 0) -> None:
        super().build(task, seed)
        self.policy.sample = lambda obs, *_: (obs[:, :1] / 2, obs[:, 0])  # type: ignore[method-assign]


def test_a_policys_plans_follow_it_in_the_model_from_each_environments_state() -> None:
    """s' = s + 0.1 a along the first number, so that a_t = 0.5 · 1.05^t of where the environment stands."""
    model = LinearModel([[1.0, 0.0], [0.0, 1.0]], [[0.1], [0.0]])
    seen: list[Tensor] = []

    class Watching(CEM):
        def policy_plans(self, problem: PlanProblem) -> Tensor | None:
            plans = super().policy_plans(problem)
            assert plans is not None
            seen.append(plans)
            return plans

    planner = pets(Watching(4, 1, policy_candidates=3), dynamics=model, learner=ByState(hidden=[4, 4]))
    obs = torch.tensor([[0.2, 0.0], [-0.4, 0.0]])
    planner.plan(obs, planner.memory(2, torch.Generator().manual_seed(0)), explore=False)
    expected = obs[:, 0].view(2, 1, 1, 1) * 0.5 * 1.05 ** torch.arange(4.0).view(1, 1, 4, 1)
    assert torch.allclose(seen[0], expected.expand(2, 3, 4, 1))


def test_the_first_action_of_the_plan_is_executed() -> None:
    planner, obs = pets(), torch.tensor([[0.5, 0.1], [-0.5, 0.1]])
    plan = planner.plan(obs, planner.memory(2, torch.Generator().manual_seed(0)), explore=False).actions
    action, _ = planner.act(obs, planner.memory(2, torch.Generator().manual_seed(0)), explore=False)
    assert torch.equal(action, plan[:, 0]) and not torch.equal(plan[:, 0], plan[:, 1])


def test_an_elites_noise_is_for_exploration_only() -> None:
    planner = pets(MPPI(16, 1, elites=1, execute="elite", sd=0.3))
    explored, evaluated = (
        planner.plan(
            torch.tensor([[0.5, 0.1]]), planner.memory(1, torch.Generator().manual_seed(0)), explore=explore
        ).actions
        for explore in (True, False)
    )
    assert torch.equal(explored[:, 1:], evaluated[:, 1:]) and not torch.equal(explored[:, 0], evaluated[:, 0])


def test_options_reach_the_objective() -> None:
    options: dict[str, Any] = {
        "propagation": "ds",
        "particles": 7,
        "discount": 0.5,
        "uncertainty": MeanDisagreement(),
        "uncertainty_rate": -2.0,
    }
    told = pets(dynamics=LinearModel(members=3, spread=0.1), **options).objective
    assert {name: getattr(told, name) for name in options} == options
    plain = pets().objective
    assert (plain.particles, plain.propagation, plain.discount) == (20, "ts_inf", 1.0)  # Chua2018's
    assert pets(propagation="expectation").objective.particles == 1
    assert pets(task=make_task("Pendulum-v1"), dynamics=Pendulum(), warmup_steps=0).objective.particles == 1


# training ------------------------------------------------------------------------------------------------------------


class Recording(LinearModel):
    """Counts what it is fitted to."""

    fitting = "closed_form"

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__(noise=noise)
        self.fits: list[int] = []

    def refit(
        self, rows: Transitions, generator: torch.Generator, value: ValueFunction | None = None
    ) -> dict[str, float | Tensor]:
        self.fits.append(len(rows))
        return {}


class ByChoice(Recording):
    """Wants a value function if told so."""

    def __init__(self, value_aware: bool = True) -> None:
        super().__init__()
        self.value_aware = value_aware
        self.valued: list[bool] = []

    @property
    def wants_value(self) -> bool:
        return self.value_aware

    def refit(
        self, rows: Transitions, generator: torch.Generator, value: ValueFunction | None = None
    ) -> dict[str, float | Tensor]:
        self.valued.append(value is not None)
        return super().refit(rows, generator, value)


class Always(Recording, WantsValueFunction):
    pass


def test_a_model_that_wants_a_value_function_needs_a_learner() -> None:
    with pytest.raises(UnsupportedError, match=r"PETS can't use ByChoice: .* no learner to say them; set learner"):
        pets(dynamics=ByChoice())
    with pytest.raises(UnsupportedError, match="PETS can't use Always"):
        pets(dynamics=Always())
    pets(dynamics=ByChoice(value_aware=False))
    planner = pets(dynamics=ByChoice(), learner=SAC(hidden=[8]), warmup_steps=4, batch_size=4)
    experience = VectorExperience(LINEAR, 2)
    for _ in range(2):
        planner.tick(experience)
    experience.close()
    assert planner.dynamics.valued == [True]  # type: ignore[attr-defined]


def test_it_collects_and_refits_on_schedule() -> None:
    planner = pets(dynamics=Recording(), warmup_steps=6, refit_every=4)
    experience = VectorExperience(LINEAR, 2)
    for _ in range(8):
        planner.tick(experience)
    experience.close()
    model = planner.dynamics
    assert isinstance(model, Recording) and model.fits == [6, 10, 14]
    rows = planner.real_buffer.all()
    assert planner.env_steps == len(rows) == 16
    assert "plan/value" in planner.metrics.pop()


@pytest.mark.check("coplanner-24")
def test_an_episode_that_ends_in_training_takes_its_warm_start_along() -> None:
    """The neighbour's stays."""
    planner = pets(warmup_steps=1)
    experience = VectorExperience(LINEAR, 2)
    for _ in range(3):
        planner.tick(experience)
    memory = planner.collect_memory(2)
    seen: list[Tensor] = []
    search = planner.optimizer.optimize

    def watched(problem: PlanProblem, warm: dict[str, Tensor]) -> Plan:
        seen.append(warm["plan"].clone())
        return search(problem, warm)

    planner.optimizer.optimize = watched  # type: ignore[method-assign]
    kept = memory.tensors["plan/plan"].clone()
    experience.ended = torch.tensor([True, False])
    planner.tick(experience)
    experience.close()
    assert bool((seen[0][0] == 0).all()) and torch.equal(seen[0][1], kept[1]) and bool((kept != 0).any((1, 2)).all())


def test_a_step_that_only_resets_stores_nothing() -> None:
    """Environments that reset themselves give fewer rows than there are simulator states."""
    vector = SyncVectorEnv([lambda: gymnasium.make("Hopper-v5")] * 2, autoreset_mode=AutoresetMode.NEXT_STEP)
    experience = HandedOverExperience(make_task("Hopper-v5"), vector)
    planner = PETS(SimulatorModel(), RandomShooting(2), horizon=2, warmup_steps=10_000)
    planner.build(experience.task)
    for _ in range(60):
        planner.tick(experience)
    experience.close()
    rows = planner.real_buffer.all()
    assert len(rows) < 120
    shown = rows.extras["sim_state"][:, 2:7].float()  # after the time and the place along the way
    assert torch.equal(shown, rows.obs[:, :5])


def test_a_learner_by_the_side_learns_from_real_steps() -> None:
    planner = pets(learner=SAC(hidden=[4, 4]), terminal_value="mean", warmup_steps=4, updates_per_step=3, batch_size=8)
    planner.make_optimizers()
    assert planner.learner is not None
    before = [parameter.clone() for parameter in planner.learner.parameters()]
    experience = VectorExperience(LINEAR, 2)
    for _ in range(4):
        planner.tick(experience)
    experience.close()
    assert any(not torch.equal(old, new) for old, new in zip(before, planner.learner.parameters(), strict=True))
    assert any(name.startswith("learner/") for name in planner.metrics.pop())


# refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, r"PETS\(horizon=…\): expected a whole number of at least 1, got 0"),
        ({"particles": 0}, r"PETS\(particles=…\): expected a whole number of at least 1, or None, got 0"),
        (
            {"dynamics": GaussianEnsemble(), "warmup_steps": 0},
            r"PETS\(warmup_steps=…\): expected a whole number of at least 1",
        ),
        ({"propagation": "TS2"}, "expected one of ts1, ts_inf, expectation, ds, mm, got 'TS2'"),
        ({"terminal_value": "max"}, "expected one of mean, min, or None, got 'max'"),
        ({"terminal_value": "mean"}, "expected a learner to value plans' ends, got none"),
        ({"discount": 0.0}, "expected a number above 0 and at most 1, got 0.0"),
        ({"discount": 1.5}, "expected a number above 0 and at most 1, got 1.5"),
        ({"uncertainty": MeanDisagreement()}, "expected a rate other than 0 with an uncertainty"),
        ({"uncertainty_rate": 1.0}, "and 0 without one, got 1.0; set both or neither"),
        ({"termination_cost": -1.0}, "termination_cost=….*at least 0.*got -1.0"),
        ({"uncertainty": MeanDisagreement(), "uncertainty_rate": float("nan")}, "expected a finite number, got nan"),
        ({"learner": SAC()}, "expected terminal_value, policy_candidates, or a measure or model that asks it, got none"),
        ({"propagation": "expectation", "particles": 2}, "expected one particle under propagation 'expectation'"),
    ],
)
def test_numbers_and_choices_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pets(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"particles": 4}, "Pendulum: it is exact, so that all are equal"),
        ({"propagation": "ds"}, "Pendulum: it is exact, without moments"),
        ({"uncertainty": MeanDisagreement(), "uncertainty_rate": -1.0}, "it is exact, with nothing uncertain"),
    ],
)
def test_what_an_exact_model_cannot_do_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        pets(task=make_task("Pendulum-v1"), dynamics=Pendulum(), warmup_steps=0, **options)


def test_a_single_member_cannot_disagree() -> None:
    with pytest.raises(UnsupportedError, match="it needs 2 members and there is 1; raise members"):
        pets(uncertainty=MeanDisagreement(), uncertainty_rate=-1.0)


def test_a_policy_is_needed_for_its_candidates() -> None:
    with pytest.raises(ConfigError, match="expected a planner with a policy, got one without"):
        pets(CEM(policy_candidates=5))


def test_gradients_are_needed_for_gradient_shooting() -> None:
    with pytest.raises(UnsupportedError, match="GradientShooting can't use WalkModel"):
        pets(GradientShooting(), WALK, dynamics=WalkModel())


def test_a_model_that_lost_all_plans_stops_with_its_own_message() -> None:
    class Lost(LinearModel):
        def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Any:
            said = super().predict(obs, action, member)
            said.mean = torch.where(obs.abs() > 1, torch.nan, said.mean)
            return said

    planner = pets(dynamics=Lost())
    memory = planner.memory(2, torch.Generator().manual_seed(0))
    with pytest.raises(DivergedError, match=r"got none for \[1\] at step 0; the model has diverged"):
        planner.act(torch.tensor([[0.1, 0.0], [1.5, 0.0]]), memory, explore=True)


def test_a_memory_of_other_environments_is_refused() -> None:
    planner = pets()
    with pytest.raises(ShapeError, match=r"PETS\(obs\): expected shape 2 x S, got 3 x "):
        planner.act(torch.zeros(3, 2), planner.memory(2, torch.Generator()), explore=True)


def test_a_model_that_starts_from_a_simulators_state_needs_environments_that_have_one() -> None:
    class Inside(LinearModel):
        def row_extras(self, task: Task) -> dict[str, int]:
            return {"sim_state": 3}

    class Elsewhere(LinearModel):
        def row_extras(self, task: Task) -> dict[str, int]:
            return {"weather": 1}

    planner, experience = pets(dynamics=Inside()), VectorExperience(LINEAR, 1)
    with pytest.raises(UnsupportedError, match=r"expected environments that show their simulator's state.*got none of it"):
        planner.tick(experience)  # its rows couldn't be planned from later
    experience.close()
    planner.act(torch.zeros(1, 2), planner.memory(1, torch.Generator()), explore=False)  # left to the model's start
    with pytest.raises(UnsupportedError, match=r"environments lack the \['weather'\] it needs"):
        pets(dynamics=Elsewhere())


def test_the_cost_of_ending_reaches_the_objective() -> None:
    planner = pets(termination_cost=3.0)
    planner.build(LINEAR)
    assert planner.objective.termination_cost == 3.0 and planner.spec["init_args"]["termination_cost"] == 3.0
