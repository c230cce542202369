"""TemporalRecall: perfect models, ends, other weights, the oracle of a scalar integrator, and models that it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Generator, Prediction, Task, Transitions, make_generator
from mbrl.envs import make_task
from mbrl.errors import UnsupportedError
from mbrl.models import Box, Differentiable, DynamicsModel, GaussianEnsemble, NextObsNetwork, SimulatorModel, UnitCircle
from mbrl.networks import MovingAverage
from mbrl.planners import FixedPolicy, ModelRolled, Planner, TemporalRecall
from mbrl.policies import BuildablePolicy
from mbrl.testing import LinearModel, linear_task

LINEAR = linear_task()
LINE = Task("", 1, 1, (-1.0,), (1.0,), known_terminated="mbrl.envs.terminations.never")
# of the integrator s' = s + 0.1 u with reward −(s² + u²) at γ = 0.99
P, K, C = 10.04532891652867, 0.904532891652867, 0.9095467108347133


def rows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=make_generator("cpu", "rows", *shape), dtype=torch.float32) * 0.3


def line(drift: float = 1.0) -> LinearModel:
    model = LinearModel([[drift]], [[0.1]])
    model.build(LINE)
    model.double()
    model.state.fill_(drift)  # with all digits
    model.action.fill_(0.1)
    return model


@pytest.mark.check("srl-9.3")
def test_a_perfect_model_recalls_the_states_that_were_met() -> None:
    model = LinearModel()
    model.build(LINEAR)
    obs, actions = rows(5, 2), rows(5, 4, 1).tanh()
    met, state = [obs], model.start(Transitions.from_obs(obs, 1), make_generator("cpu", "noise"))
    for action in actions.unbind(1)[:-1]:
        state = model.step(state, action).state
        met.append(state.obs)
    said = TemporalRecall(model)(obs, actions)
    torch.testing.assert_close(said.obs, torch.stack(met))
    assert said.obs.shape == (4, 5, 2) and bool(said.alive.all())


def test_states_carry_a_gradient_where_the_actions_do_and_weights_never_get_one() -> None:
    model = NextObsNetwork([8])
    model.build(LINEAR)
    recall = TemporalRecall(model)
    assert not recall(rows(5, 2), rows(5, 3, 1)).obs.requires_grad
    actions = rows(5, 3, 1).requires_grad_()
    for weights in (None, MovingAverage(model).weights()):
        said = recall(rows(5, 2), actions, weights)
        (gradient,) = torch.autograd.grad(said.obs[-1].sum(), actions)
        assert bool(gradient[:, :2].any()) and not bool(gradient[:, 2].any())  # the last action leads beyond
        recall(rows(5, 2), actions, weights).obs.sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_members_that_it_draws_are_averaged_and_other_weights_take_the_place_of_the_models() -> None:
    model = GaussianEnsemble(members=3, elites=2, hidden=[8])
    model.build(LINEAR)
    obs, actions = rows(5, 2), rows(5, 2, 1)
    model.rank_members(torch.tensor([2.0, 0.0, 1.0]))  # what it wouldn't draw, as it is unsound, isn't asked
    first = TemporalRecall(model)(obs, actions).obs[1]
    torch.testing.assert_close(first, model.predict(obs, actions[:, 0]).mean[1:].mean(0))
    average = MovingAverage(model, 0.25)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert torch.equal(TemporalRecall(model)(obs, actions, average.weights()).obs[1], first)
    average.follow(model)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(average.weights()[name], parameter - 0.75)


def test_ends_stop_a_sequence_behind_them_and_only_if_they_are_asked_for() -> None:
    model = LinearModel()
    model.build(LINEAR)  # which ends beyond ±2
    obs, actions = torch.tensor([[0.0, 0.0], [1.9, 1.9]]), torch.zeros(2, 3, 1)
    assert bool(TemporalRecall(model)(obs, actions).alive.all())
    assert TemporalRecall(model, ends=True)(obs, actions).alive.T.tolist() == [[True, True, True], [True, False, False]]
    unknown = replace(LINEAR, known_terminated=None)
    learned = LinearModel(learn_terminated=True)
    learned.build(unknown)
    assert TemporalRecall(learned, ends=True)(obs, actions).alive.T.tolist() == [[True, True, True], [True, False, False]]
    boxed = NextObsNetwork([4], domain=[Box([None, None], [1e-9, None])])
    boxed.build(LINEAR)
    assert not bool(TemporalRecall(boxed, ends=True)(obs[1:], actions[1:]).alive[1:].all())


@pytest.mark.parametrize("ends", ["truncate", "terminate"])
def test_a_sequence_that_begins_outside_of_a_box_goes_on_while_it_comes_nearer(ends: Any) -> None:
    model = LinearModel([[0.5]], [[0.0]])
    model.build(LINE)
    model.domain = [Box([-1.0], [1.0], ends)]
    obs = torch.tensor([[4.0], [0.5]])
    assert bool(TemporalRecall(model, ends=True)(obs, torch.zeros(2, 4, 1)).alive.all())
    model.state.fill_(3.0)
    stops = [[True, False, False], [True, False, False]]
    assert TemporalRecall(model, ends=True)(obs, torch.zeros(2, 3, 1)).alive.T.tolist() == stops


def test_predictions_are_projected_and_an_end_is_for_good() -> None:
    model = LinearModel([[0.0, -2.0], [2.0, 0.0]], [[0.0], [0.0]])  # a quarter of a turn, and twice as far
    model.build(LINEAR)
    model.domain = [UnitCircle([[0, 1]])]
    said = TemporalRecall(model)(torch.tensor([[0.6, 0.8]]), torch.zeros(1, 3, 1))
    torch.testing.assert_close(said.obs[:, 0], torch.tensor([[0.6, 0.8], [-0.8, 0.6], [-0.6, -0.8]]))
    model.domain = [Box([None, -0.7], [None, 0.7], "terminate")]
    model.state.mul_(0.5)
    said = TemporalRecall(model, ends=True)(torch.tensor([[0.75, 0.1]]), torch.zeros(1, 4, 1))
    assert said.obs[:, 0, 1].tolist() == pytest.approx([0.1, 0.75, -0.1, -0.75])  # out, and in again
    assert said.alive[:, 0].tolist() == [True, False, False, False]


class Explodes(DynamicsModel):
    """Leaves the numbers where the first dim is above 1."""

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        mean = torch.where(obs[..., :1] > 1, torch.inf, obs + 0.1)
        mean = mean if member is not None else mean.unsqueeze(0)
        return Prediction(mean, torch.zeros_like(mean))


def test_states_that_are_not_finite_stop_a_sequence() -> None:
    model = Explodes()
    model.build(LINEAR)
    said = TemporalRecall(model)(torch.tensor([[0.0, 0.0], [0.95, 0.0]]), torch.zeros(2, 4, 1))
    assert torch.isfinite(said.obs).all()
    assert said.alive.T.tolist() == [[True] * 4, [True, True, False, False]]


class Cubes(DynamicsModel, Differentiable):
    """Overflows within its own arithmetic, where a gradient of 0 becomes NaN."""

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        mean = obs * obs * obs * (1 + 0.1 * action)
        mean = mean if member is not None else mean.unsqueeze(0)
        return Prediction(mean, torch.zeros_like(mean))


def test_a_sequence_that_overflows_leaves_the_gradients_of_all_finite() -> None:
    model = Cubes()
    model.build(LINEAR)
    actions = torch.zeros(2, 4, 1, requires_grad=True)
    said = TemporalRecall(model)(torch.tensor([[0.5, 0.5], [1e4, 0.0]]), actions)
    assert said.alive[-1].tolist() == [True, False]
    (gradient,) = torch.autograd.grad(torch.where(said.alive[-1:], said.obs[-1:].sum(-1), 0.0).sum(), actions)
    assert bool(gradient[0, :3].all()) and not bool(gradient[1].any())


def test_models_of_more_than_observations_and_unknown_ends_are_refused() -> None:
    model = SimulatorModel(threads=1)
    model.build(make_task("Walker2d-v5"))
    with pytest.raises(UnsupportedError, match=r"can't use SimulatorModel: .* starts from \['sim_state'\]"):
        TemporalRecall(model)
    blind = NextObsNetwork([4])
    blind.build(replace(LINEAR, known_terminated=None))
    with pytest.raises(UnsupportedError, match="neither the task nor the model knows when an episode terminates"):
        TemporalRecall(blind, ends=True)


# the scalar integrator -----------------------------------------------------------------------------------------------


def q_loss(model: LinearModel, actions: Tensor, through: bool = False) -> Tensor:
    """−Σ_j Q(ŝ_j, a_j) from s = 1 with the exact critic."""
    start = torch.ones(1, 1, dtype=torch.float64)
    states = TemporalRecall(model)(start, actions if through else actions.detach()).obs[..., 0]  # J x 1
    taken = actions[..., 0].T
    return (states.square() + taken.square() + 0.99 * P * (states + 0.1 * taken).square()).sum()


@pytest.mark.check("srl-9.4")
@pytest.mark.parametrize(("drift", "ratio"), [(1.0, C), (0.98, 0.8895467108)])
def test_the_optimum_is_the_greedy_policy_rolled_out_in_the_model(drift: float, ratio: float) -> None:
    model = line(drift)
    best = (-K * ratio ** torch.arange(6, dtype=torch.float64)).view(1, 6, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(q_loss(model, best), best)
    assert gradient.abs().max() < (1e-13 if drift == 1.0 else 1e-8)
    if drift == 1.0:
        (through,) = torch.autograd.grad(q_loss(model, best, through=True), best)
        assert through.abs().max() > 1e-2  # through the model the optimum is another
        assert q_loss(model, best).item() == pytest.approx(39.5152724339, abs=1e-9)
        found = torch.zeros(1, 6, 1, dtype=torch.float64, requires_grad=True)
        for _ in range(400):
            (gradient,) = torch.autograd.grad(q_loss(model, found), found)
            found = (found.detach() - 0.2 * gradient).requires_grad_()
        expected = [-0.904533, -0.822715, -0.748298, -0.680612, -0.619048, -0.563053]
        assert found.flatten().tolist() == pytest.approx(expected, abs=1e-6)


class Proportional(BuildablePolicy):
    """−K s, float64."""

    def build(self, task: Task, seed: int = 0) -> None:
        self.task = task

    def sample(self, obs: Tensor, generator: Generator, prev_action: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return -K * obs, obs[..., 0] * 0

    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        return -K * obs


def played(planner: Planner, length: int, obs: Tensor, steps: int, noise: float = 0.0, skip: int = 0) -> Tensor:
    """Mean reward sum of the true integrator after `skip` steps, where `planner` looks every `length` steps."""
    memory, draws = planner.memory(len(obs), make_generator("cpu", "acting")), make_generator("cpu", "noise")
    total, queue = torch.zeros((), dtype=torch.float64), list[Tensor]()
    for step in range(steps):
        if not queue:
            queue = list(planner.decide(obs, memory, length).unbind(1))
        action = queue.pop(0)
        if step >= skip:
            total -= (obs.square() + action.square()).mean()
        obs = obs + 0.1 * action + noise * torch.randn(len(obs), 1, generator=draws, dtype=torch.float64)
    return total


def planners(drift: float = 1.0) -> tuple[ModelRolled, FixedPolicy]:
    rolled, held = ModelRolled(line(drift), Proportional()), FixedPolicy(Proportional())
    rolled.build(LINE)
    held.build(LINE)
    return rolled, held


@pytest.mark.check("srl-9.4")
def test_the_rolled_policy_returns_the_same_whenever_it_looks_and_the_held_one_does_not() -> None:
    rolled, held = planners()
    start = torch.ones(1, 1, dtype=torch.float64)
    for length in (1, 2, 4, 16, 30):
        assert played(rolled, length, start, 200).item() == pytest.approx(-10.5264556919, abs=1e-9)
    expected = {2: -10.5250, 4: -10.6321, 8: -11.5042, 16: -21.9104, 22: -213.2395, 24: -1032.6151}
    assert {n: round(played(held, n, start, 200).item(), 4) for n in expected} == expected


@pytest.mark.check("srl-9.4")
def test_a_rolled_policy_pays_for_noise_that_it_cannot_see() -> None:
    rolled, _ = planners()
    for length, expected in ((1, 0.1052646), (4, 0.1202646), (16, 0.1802646)):
        start = torch.zeros(3000, 1, dtype=torch.float64)
        cost = -played(rolled, length, start, 144, noise=0.1, skip=64).item() / 80
        assert cost == pytest.approx(expected, rel=0.03)


@pytest.mark.check("srl-9.4")
@pytest.mark.parametrize(("drift", "after"), [(1.0, {4: 0.6843843, 16: 0.2193816}), (0.98, {4: 0.6938398, 16: 0.3069489})])
def test_a_biased_model_leaves_the_state_elsewhere(drift: float, after: dict[int, float]) -> None:
    rolled, _ = planners(drift)
    start = torch.ones(1, 1, dtype=torch.float64)
    for length, expected in after.items():
        actions = rolled.decide(start, rolled.memory(1, make_generator("cpu", "acting")), length)
        assert (start + 0.1 * actions.sum(1)).item() == pytest.approx(expected, abs=1e-7)
