"""PETS: it plans for each environment alone, collects and refits on schedule, and refuses what can't be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Task, Transitions, ValueFunction, make_generator
from mbrl.envs import VectorExperience, make_task
from mbrl.errors import ConfigError, DivergedError, MbrlError, ShapeError, UnsupportedError
from mbrl.models import GaussianEnsemble
from mbrl.models.closed_form import Pendulum
from mbrl.planners import PETS, evaluate
from mbrl.planners.plan_optimizers import CEM, ICEM, MPPI, GradientShooting, PlanOptimizer, RandomShooting
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
        ({"horizon": 0}, r"PETS\(horizon=…\): expected at least 1, got 0"),
        ({"particles": 0}, r"PETS\(particles=…\): expected at least 1, got 0"),
        ({"dynamics": GaussianEnsemble(), "warmup_steps": 0}, r"PETS\(warmup_steps=…\): expected at least 1"),
        ({"propagation": "TS2"}, "expected one of ts1, ts_inf, expectation, ds, mm, got 'TS2'"),
        ({"terminal_value": "max"}, "expected mean, min or nothing, got 'max'"),
        ({"terminal_value": "mean"}, "expected a learner whose critics value the plans' ends, got none"),
        ({"discount": 0.0}, "expected more than 0 and at most 1, got 0.0"),
        ({"discount": 1.5}, "expected more than 0 and at most 1, got 1.5"),
        ({"uncertainty": MeanDisagreement()}, "expected a finite rate other than 0 with an uncertainty"),
        ({"uncertainty_rate": 1.0}, "and 0 without one, got 1.0; set both or neither"),
        ({"uncertainty": MeanDisagreement(), "uncertainty_rate": float("nan")}, "expected a finite rate"),
        ({"learner": SAC()}, "expected terminal_value, or an optimiser with policy_candidates"),
        ({"propagation": "expectation", "particles": 2}, "expected one particle under propagation 'expectation'"),
    ],
)
def test_numbers_and_choices_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pets(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"particles": 4}, "Pendulum: it is exact, so that all particles of a plan would be equal"),
        ({"propagation": "ds"}, "Pendulum: it is exact, so that there are no moments to take"),
        ({"uncertainty": MeanDisagreement(), "uncertainty_rate": -1.0}, "it has no members that could disagree"),
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
    with pytest.raises(ShapeError, match="expected obs of 2 environments, got 3"):
        planner.act(torch.zeros(3, 2), planner.memory(2, torch.Generator()), explore=True)


def test_a_model_that_starts_from_a_simulators_state_needs_environments_that_have_one() -> None:
    class Inside(LinearModel):
        def row_extras(self, task: Task) -> dict[str, int]:
            return {"sim_state": 3}

    class Elsewhere(LinearModel):
        def row_extras(self, task: Task) -> dict[str, int]:
            return {"weather": 1}

    planner = pets(dynamics=Inside())
    with pytest.raises(MbrlError, match="expected environments that show their simulator's state"):
        planner.act(torch.zeros(1, 2), planner.memory(1, torch.Generator()), explore=True)
    with pytest.raises(UnsupportedError, match=r"it starts from rows with \['weather'\]"):
        pets(dynamics=Elsewhere())
