"""A model that projects what it samples, and halts its own rollouts, is honoured by everything that steps it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mbrl.analysis import calibration, open_loop_error, reward_and_termination
from mbrl.analysis.model_error.executed_plans import Truth
from mbrl.data import Generator, Prediction, Task, Transitions, draw_normal, make_generator
from mbrl.envs import make_task
from mbrl.errors import UnsupportedError
from mbrl.models import DynamicsModel, GaussianEnsemble, HasMembers, ModelEnv, ModelVectorEnv, Pendulum, SimulatorModel
from mbrl.planners import UPMPC, PlanObjective, PolicySample, Situation
from mbrl.planners.plans.propagation import PROPAGATIONS, Propagation
from mbrl.planners.rollouts.imagination import Imagination
from mbrl.policies import Policy
from mbrl.testing import check_dynamics_model
from mbrl.uncertainty import UncertaintyMeasure


def reward(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """What is reached."""
    return next_obs[..., 0]


def terminated(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """The task ends beyond 9, where no projected state is."""
    return next_obs[..., 0] > 9


TASK = Task("", 1, 1, (-1.0,), (1.0,), known_reward=f"{__name__}.reward", known_terminated=f"{__name__}.terminated")


class Grid(DynamicsModel, HasMembers):
    """s' = s + a and noise, projected to whole numbers up to 5; rollouts halt at 3."""

    members = 2

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.noise = noise

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        mean = obs + action
        if member is None:
            mean = mean.expand(self.members, *mean.shape)
        return Prediction(mean, torch.full_like(mean, self.noise**2))

    def project(self, next_obs: Tensor) -> Tensor:
        return next_obs.round().clamp(max=5.0)

    def halted(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        return next_obs[..., 0] == 3

    @property
    def drawn_members(self) -> Tensor:
        return torch.arange(2)


def grid(noise: float = 0.0, task: Task = TASK) -> Grid:
    model = Grid(noise)
    model.build(task)
    return model


def starts(*obs: float) -> Transitions:
    return Transitions.from_obs(torch.tensor(obs)[:, None], 1)


class Pushes(Policy):
    """Goes 0.8 up, and a noise more."""

    def sample(self, obs: Tensor, generator: Generator, prev_action: Tensor | None = None) -> tuple[Tensor, Tensor]:
        noise = draw_normal(generator, obs[..., 0].numel(), 1, obs).view(obs.shape)
        return 0.8 + 0.1 * noise.clamp(-1, 1), obs[..., 0]

    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        return torch.full_like(obs, 0.8)


def test_the_contract() -> None:
    check_dynamics_model(lambda: Grid(0.3), TASK)


def test_a_step_projects_once_before_reward_and_termination(monkeypatch: pytest.MonkeyPatch) -> None:
    model, projected = grid(), []
    monkeypatch.setattr(model, "project", lambda obs: projected.append(obs) or Grid.project(model, obs))
    step = model.step(model.start(starts(0.0, 2.0, 99.0), make_generator("cpu", 0)), torch.full((3, 1), 0.8))
    assert step.next_obs[:, 0].tolist() == [1, 3, 5] and torch.equal(step.state.obs, step.next_obs)
    assert step.reward.tolist() == [1, 3, 5] and not step.terminated.any() and len(projected) == 1
    assert (
        step.halt is not None and step.halt.tolist() == [False, True, False] and step.ended.tolist() == [False, True, False]
    )


class GridOfNetworks(GaussianEnsemble):
    def project(self, next_obs: Tensor) -> Tensor:
        return next_obs.round().clamp(-2.0, 2.0)

    def halted(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        return (next_obs - obs)[..., 0].abs() > 1


@pytest.mark.parametrize("follow", [True, False])
def test_an_ensembles_open_loop_rollouts_are_its_steps(follow: bool) -> None:
    model = GridOfNetworks(members=3, elites=3, hidden=[8], deterministic=False)
    model.build(TASK)
    plan = torch.rand(40, 4, 1, generator=make_generator("cpu", "plan")) * 2 - 1
    rows = starts(*torch.linspace(-2, 2, 40).tolist())
    with torch.no_grad():
        whole = model.rollout(model.start(rows, make_generator("cpu", 0), follow=follow), plan)
        state = model.start(rows, make_generator("cpu", 0), follow=follow)
        for number, action in enumerate(plan.unbind(1)):
            step = model.step(state, action)
            assert torch.equal(step.next_obs, whole[number].next_obs) and torch.equal(step.reward, whole[number].reward)
            halt, other = step.halt, whole[number].halt
            assert halt is not None and other is not None and torch.equal(halt, other)
            assert torch.equal(step.next_obs, step.next_obs.round())
            state = step.state
        assert torch.stack([step.ended for step in whole]).any()


@pytest.mark.parametrize("drop", [True, False])
def test_imagination_stores_a_halt_as_truncated_and_stops(drop: bool) -> None:
    stored: list[Transitions] = []
    imagination = Imagination(grid(), Pushes(), PolicySample(), [], 0, 8, drop)
    imagination.run(starts(0.0, 1.0, 4.0), 4, 0, stored.append)
    rows = Transitions.cat(stored)
    found = sorted(zip(rows.obs[:, 0].tolist(), rows.next_obs[:, 0].tolist(), rows.truncated.tolist(), strict=True))
    ups = [(0, 1, False), (1, 2, False), (2, 3, True)]
    assert found == sorted([*ups, *ups[1:], (4, 5, False), *[(5, 5, False)] * 3]) and not rows.terminated.any()
    assert torch.equal(rows.reward, rows.next_obs[:, 0])


@pytest.mark.parametrize("propagation", PROPAGATIONS)
def test_plans_earn_nothing_behind_a_halt(propagation: Propagation) -> None:
    model = grid()
    state = model.start(starts(0.0, 1.0, 4.0), make_generator("cpu", 0))
    objective = PlanObjective(
        model, 1 if propagation == "expectation" else 2, propagation, 0.5, lambda obs: torch.full_like(obs[:, 0], 64.0)
    )
    value = objective.returns(state, torch.full((3, 1, 4, 1), 0.8))
    assert value[:, 0].tolist() == [1 + 1 + 3 / 4, 2 + 3 / 2, 5 + 5 / 2 + 5 / 4 + 5 / 8 + 64 / 16]


def test_a_plan_may_be_lost_behind_a_halt() -> None:
    class Lost(Grid):
        def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
            said = super().predict(obs, action, member)
            return replace(said, mean=torch.where(obs > 2, torch.nan, said.mean))

    model = Lost()
    model.build(TASK)
    state = model.start(starts(1.0), make_generator("cpu", 0))
    assert PlanObjective(model).returns(state, torch.full((1, 1, 4, 1), 0.8)).tolist() == [[5.0]]


@pytest.mark.parametrize("options", [{}, {"mask_terminations": True}, {"uncertainty_members": 2}])
def test_up_mpc_counts_nothing_behind_a_halt(options: dict[str, Any]) -> None:
    model, obs = grid(), starts(0.0, 1.0, 4.0).obs
    state = model.start(starts(0.0, 1.0, 4.0), make_generator("cpu", 0))
    situation = Situation(obs, Pushes(), model, state.fork, make_generator("cpu", 1), make_generator("cpu", 2))
    scores = UPMPC(1.0, candidates=2, horizon=4, reward_discount=1.0, uncertainty_discount=1.0, **options).scores(situation)
    assert scores.reward.tolist() == [[6, 5, 20]] * 2
    noisy = grid(noise=1e-3)
    state = noisy.start(starts(0.0, 1.0, 4.0), make_generator("cpu", 0))
    situation = replace(situation, dynamics=noisy, start=state.fork)
    unsure = UPMPC(1.0, candidates=2, horizon=4, uncertainty_discount=1.0, uncertainty=One()).scores(situation).uncertainty
    assert unsure.tolist() == [[3, 2, 4]] * 2


class One(UncertaintyMeasure):
    """One for each step."""

    def __call__(self, prediction: Prediction, drawn: Any, sample: Any = None, generator: Any = None) -> Tensor:
        return torch.ones_like(prediction.mean[0, :, 0])


def test_a_halt_truncates_an_environment() -> None:
    env = ModelEnv(grid(), starts(1.0), time_limit=None)
    env.reset(seed=0)
    up = np.array([0.8], dtype=np.float32)
    seen = [env.step(up) for _ in range(2)]
    assert [(obs.tolist(), reward, *flags) for obs, reward, *flags, _ in seen] == [
        ([2.0], 2.0, False, False),
        ([3.0], 3.0, False, True),
    ]
    with pytest.raises(UnsupportedError, match="expected reset after the end of an episode"):
        env.step(up)


def test_a_halt_truncates_its_own_environment_alone() -> None:
    env = ModelVectorEnv(grid(), starts(0.0, 1.0), 4, time_limit=None, autoreset_mode="same_step")
    first, _ = env.reset(seed=0)
    obs, _, terminated, truncated, info = env.step(np.full((4, 1), 0.8, dtype=np.float32))
    assert not truncated.any()
    obs, _, terminated, truncated, info = env.step(np.full((4, 1), 0.8, dtype=np.float32))
    assert truncated.tolist() == (first[:, 0] == 1).tolist() and 0 < truncated.sum() < 4 and not terminated.any()
    assert all(info["final_obs"][i].tolist() == [3.0] for i in np.flatnonzero(truncated)) and (obs[truncated] < 2).all()


def episodes() -> list[Transitions]:
    """Real ones of ten steps, which go on beyond 3."""
    found = []
    for first in (0.0, 1.0, 4.0):
        obs = (first + torch.arange(10.0)).clamp(max=5.0)[:, None]
        next_obs = (obs + 1).clamp(max=5.0)
        made = Transitions.from_obs(obs, 1)
        made.action[:], made.next_obs, made.reward = 1.0, next_obs, next_obs[:, 0]
        found.append(made)
    return found


def test_open_loop_forecasts_do_not_count_behind_a_halt() -> None:
    found = open_loop_error(grid(), episodes(), generator=make_generator("cpu", 0), horizon=4, most=100, particles=2)
    assert found.not_finite == 0 and found.terminated_early == 0
    (note,) = [note for note in found.notes if "halted" in note]
    # windows that begin at 0, 1 or at 0 + 1 have a step behind the halt; those at 2 too, and from 3 on there is none
    assert note.startswith("10 of 42 rollouts were halted by the model itself and don't count from there on")
    mean = found.curves["mean of particles"]
    assert mean.windows[0, 0] == 21 and mean.windows[-1, 0] == 21 - 5


def test_calibration_does_not_count_behind_a_halt() -> None:
    found = calibration(grid(0.1), episodes(), generator=make_generator("cpu", 0), horizons=(1, 3), particles=4)
    assert any("halted by the model itself" in note for note in found.notes)


def test_returns_count_nothing_behind_a_halt() -> None:
    found = reward_and_termination(
        grid(), episodes()[:1], generator=make_generator("cpu", 0), horizon=10, particles=2, most=10
    )
    assert float(found.returns.predicted[0]) == 6.0


def test_executed_plans_earn_nothing_behind_a_halt() -> None:
    truth = Truth(grid(), 0, 1.0)
    assert truth.earned(starts(0.0, 4.0).obs, None, torch.full((2, 4, 1), 0.8)).tolist() == [6.0, 20.0]


# models with steps of their own -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeat", [1, 3])
def test_a_closed_form_projects_and_halts(repeat: int) -> None:
    class Slow(Pendulum):
        def project(self, next_obs: Tensor) -> Tensor:
            return torch.cat((next_obs[..., :2], next_obs[..., 2:].clamp(-0.1, 0.1)), -1)

        def halted(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
            return next_obs[..., 0] < 0

    model, task = Slow(), make_task("Pendulum-v1", action_repeat=repeat)
    model.build(task)
    obs = torch.tensor([[1.0, 0.0, 5.0], [-1.0, 0.0, 0.0]])
    step = model.step(model.start(Transitions.from_obs(obs, 1), make_generator("cpu", 0)), torch.zeros(2, 1))
    assert step.next_obs[0, 2] == pytest.approx(0.1) and torch.equal(step.state.obs, step.next_obs)
    assert step.halt is not None and step.halt.tolist() == [False, True]


def test_the_simulator_halts_and_refuses_to_project() -> None:
    class Halts(SimulatorModel):
        def halted(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
            return next_obs[..., 0] > 0

    model, task = Halts(threads=1), make_task("InvertedPendulum-v5")
    model.build(task)
    obs = torch.tensor([[0.01, 0.0, 0.0, 0.0], [-0.01, 0.0, 0.0, 0.0]])
    steps = model.rollout(model.start(Transitions.from_obs(obs, 1), make_generator("cpu", 0)), torch.zeros(2, 2, 1))
    assert all(step.halt is not None and step.halt.tolist() == [True, False] for step in steps)

    class Projects(SimulatorModel):
        def project(self, next_obs: Tensor) -> Tensor:
            return next_obs

    with pytest.raises(UnsupportedError, match=r"Projects: expected the simulator's own states, got a project"):
        Projects().build(task)
