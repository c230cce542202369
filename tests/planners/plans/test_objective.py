"""The return of plans, against systems that can be summed by hand."""

from __future__ import annotations

import math
from collections.abc import Collection

import pytest
import torch
from torch import Tensor

from mbrl.data import InterleavedGenerator, ModelState, ModelStep, Prediction, Task, Transitions, make_generator
from mbrl.errors import UnsupportedError
from mbrl.models import Differentiable, DynamicsModel
from mbrl.planners import PlanObjective
from mbrl.planners.plans.propagation import Propagation
from mbrl.testing import LinearModel, linear_task
from mbrl.uncertainty import MeanDisagreement, UncertaintyMeasure
from tests.planners.exact_models import WALK, WalkModel


def beyond_two(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Ends where the count passes 2; never where it isn't a number."""
    return next_obs[..., 0] > 2


COUNT = Task("", 1, 1, (-1.0,), (1.0,), known_terminated=f"{__name__}.beyond_two")


class Counter(DynamicsModel, Differentiable):
    """s' = s + a, reward s' (learned); beyond `hole` it knows nothing."""

    def __init__(self, hole: float = 1e9, hole_in_reward: bool = False) -> None:
        super().__init__()
        self.hole, self.hole_in_reward = hole, hole_in_reward

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        mean = obs + action
        reward = mean[..., 0]
        unknown = obs[..., 0] > self.hole
        if self.hole_in_reward:
            reward = torch.where(unknown, torch.inf, reward)
        else:
            mean = torch.where(unknown[..., None], torch.nan, mean)
        if member is None:
            mean, reward = mean[None], reward[None]
        return Prediction(mean, torch.zeros_like(mean), reward, torch.zeros_like(reward))


def returns(model: DynamicsModel, plans: Tensor, start: float = 0.0, task: Task = COUNT, **options: object) -> Tensor:
    """Returns `N x K` of plans `N x K x H` of one number."""
    model.build(task)
    obs = torch.full((len(plans), task.obs_size), start, dtype=plans.dtype)
    noise = InterleavedGenerator([make_generator("cpu", i) for i in range(len(plans))])
    state = model.start(Transitions.from_obs(obs, task.action_size), noise)
    objective = PlanObjective(model, **options)  # type: ignore[arg-type]
    return objective.returns(state, plans.unsqueeze(-1))


def test_rewards_are_summed_and_discounted() -> None:
    plan = torch.tensor([[[0.5, 0.5, 0.5], [-0.1, 0.0, 0.0]]])  # states 0.5 1 1.5 and −0.1 −0.1 −0.1
    assert returns(Counter(), plan)[0].tolist() == pytest.approx([3.0, -0.3])
    assert returns(Counter(), plan, discount=0.5)[0].tolist() == pytest.approx([0.5 + 0.5 + 0.375, -0.175])


def test_a_terminal_value_is_discounted_and_paid_to_the_living() -> None:
    plan = torch.tensor([[[0.5, 0.5, 0.5], [0.9, 0.9, 0.9]]])  # the second ends at 2.7
    value = {"terminal_value": lambda obs: 10 * obs[:, 0]}
    assert returns(Counter(), plan, **value)[0].tolist() == pytest.approx([3 + 15, 0.9 + 1.8 + 2.7])
    assert returns(Counter(), plan, discount=0.5, **value)[0, 0].item() == pytest.approx(1.375 + 15 / 8)


def test_rewards_stop_after_the_terminating_step() -> None:
    plan = torch.tensor([[[0.9, 0.9, 0.9, 0.9, 0.9]]])  # 0.9 1.8 2.7 | 3.6 4.5
    assert returns(Counter(), plan)[0, 0].item() == pytest.approx(5.4)


@pytest.mark.parametrize("hole_in_reward", [False, True])
@pytest.mark.check("coplanner-21")
def test_a_plan_that_stops_being_finite_is_worth_minus_infinity(hole_in_reward: bool) -> None:
    """Not zero, which would beat the other plan's −3."""
    plans = torch.tensor([[[1.0, 1.0, -1.0], [-0.5, -0.5, -0.5]]])
    found = returns(Counter(1.5, hole_in_reward), plans)[0]
    assert found[0] == -torch.inf and found[1].item() == pytest.approx(-3.0)


def test_a_first_step_to_nowhere_is_worth_minus_infinity() -> None:
    """Though its reward is a number."""
    assert returns(Counter(1.5), torch.tensor([[[0.0]]]), start=1.9)[0, 0] == -torch.inf


def test_a_terminal_value_that_is_not_a_number_loses_the_plan() -> None:
    plans = torch.tensor([[[0.5], [-0.5]]])
    found = returns(Counter(), plans, terminal_value=lambda obs: torch.where(obs[:, 0] > 0, torch.nan, 1.0))[0]
    assert found[0] == -torch.inf and found[1].item() == pytest.approx(0.5)


def test_what_happens_after_termination_can_be_anything() -> None:
    plans = torch.tensor([[[1.0, 1.0, 1.0, 1.0, 1.0]]])  # ends at 3; the model knows nothing beyond 2.5
    assert returns(Counter(2.5), plans)[0, 0].item() == pytest.approx(6.0)
    assert returns(Counter(2.5), plans, terminal_value=lambda obs: obs[:, 0])[0, 0].item() == pytest.approx(6.0)


def test_one_lost_particle_loses_the_plan() -> None:
    model = WalkModel(noise=0.3, bad_above=0.5)
    plans = torch.zeros(1, 200, 3)
    one, many = (returns(model, plans, task=WALK, particles=p)[0] for p in (1, 10))
    assert 0 < one.isinf().float().mean() < many.isinf().float().mean()


def test_particles_are_averaged() -> None:
    """Reward −s'² after one step of noise σ from s: −(s² + …); the walk's reward is of the mean, so take two steps."""
    model, plans = WalkModel(noise=0.1), torch.zeros(1, 1, 2)
    mean = returns(model, plans, start=0.3, task=WALK, particles=40_000)[0, 0].item()
    assert mean == pytest.approx(-(0.3**2) - (0.3**2 + 0.1**2), abs=1e-3)


@pytest.mark.parametrize("rate", [-2.0, 3.0])
def test_uncertainty_is_added_at_its_rate(rate: float) -> None:
    """Members off by −1, 0, 1: the sd of their means is sqrt(2/3) at every step."""
    task, plans = linear_task(ends=False), torch.zeros(1, 1, 4)
    model = LinearModel(members=3, spread=1.0)
    plain = returns(model, plans, task=task, propagation="expectation")
    with_rate = returns(
        model, plans, task=task, propagation="expectation", uncertainty=MeanDisagreement(), uncertainty_rate=rate
    )
    assert (with_rate - plain)[0, 0].item() == pytest.approx(4 * rate * (2 / 3) ** 0.5, rel=1e-5)
    drawn = returns(model, plans, task=task, particles=6, uncertainty=MeanDisagreement(), uncertainty_rate=rate)
    alone = returns(model, plans, task=task, particles=6)
    assert (drawn - alone)[0, 0].item() == pytest.approx(4 * rate * (2 / 3) ** 0.5, rel=1e-4)


def test_a_measure_is_told_which_members_a_rollout_draws() -> None:
    told: list[Tensor] = []

    class Elite(LinearModel):
        @property
        def drawn_members(self) -> Tensor:
            return torch.tensor([2, 0])

    class Asks(UncertaintyMeasure):
        def __call__(self, prediction: Prediction, drawn: Tensor, *_: object) -> Tensor:
            told.append(drawn)
            return prediction.mean[0, :, 0]

    returns(Elite(members=3), torch.zeros(1, 1, 1), task=linear_task(), uncertainty=Asks(), uncertainty_rate=1.0)
    assert told[0].tolist() == [2, 0]


def test_a_model_that_keeps_its_prediction_back_is_refused() -> None:
    class Silent(LinearModel):
        def step(self, state: ModelState, action: Tensor, want: Collection[str] = ()) -> ModelStep:
            return super().step(state, action)

    with pytest.raises(UnsupportedError, match=r"can't use Silent: its step leaves out the prediction that it was asked"):
        returns(
            Silent(members=3), torch.zeros(1, 1, 1), task=linear_task(), uncertainty=MeanDisagreement(), uncertainty_rate=1.0
        )


@pytest.mark.parametrize("propagation", ["ds", "mm", "expectation"])
def test_members_that_agree_leave_a_gradient(propagation: Propagation) -> None:
    """Of a variance that is 0 the root's gradient is infinite, and times 0 not a number."""
    plans = torch.tensor([[[0.1, 0.2, 0.3]]], requires_grad=True)
    returns(Counter(), plans, propagation=propagation, particles=1).sum().backward()
    assert plans.grad is not None and plans.grad.tolist() == [[[3.0, 2.0, 1.0]]]


@pytest.mark.parametrize("propagation", ["ts1", "ts_inf", "expectation", "ds", "mm"])
def test_states_planned_for_together_are_planned_for_alone(propagation: Propagation) -> None:
    """Each environment's noise and members are its own."""
    model = LinearModel(members=3, spread=0.5, noise=0.2)
    model.build(linear_task())
    obs = torch.tensor([[0.1, 0.0], [0.5, -0.2], [-0.3, 0.4]], dtype=torch.float64)
    plans = torch.rand(3, 5, 4, 1, dtype=torch.float64, generator=make_generator("cpu", 0)) * 2 - 1
    objective = PlanObjective(model, 1 if propagation == "expectation" else 6, propagation)

    def found(which: list[int]) -> Tensor:
        noise = InterleavedGenerator([make_generator("cpu", "noise", i) for i in which])
        return objective.returns(model.start(Transitions.from_obs(obs[which], 1), noise), plans[which])

    together = found([0, 1, 2])
    for i in range(3):
        assert torch.allclose(found([i])[0], together[i], rtol=0, atol=1e-9)
    assert not torch.allclose(together[0], found([1])[0])


def test_returns_are_differentiable_in_the_plan() -> None:
    plans = torch.tensor([[[0.1, 0.2, 0.3]]], requires_grad=True)
    returns(Counter(), plans).sum().backward()
    assert plans.grad is not None and plans.grad.tolist() == [[[3.0, 2.0, 1.0]]]


def test_adding_a_constant_to_rewards_shifts_all_plans_alike() -> None:
    class Shifted(Counter):
        def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
            said = super().predict(obs, action, member)
            assert said.reward_mean is not None
            said.reward_mean = said.reward_mean + 7.0
            return said

    plans = torch.tensor([[[0.1, 0.2], [0.3, -0.2]]])
    assert torch.allclose(returns(Shifted(), plans), returns(Counter(), plans) + 14.0)


# the cost of ending -------------------------------------------------------------------------------------------------------


class Chain(DynamicsModel):
    """s' = s + a, and each step costs 1."""

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        mean = obs + action
        mean = mean[None] if member is None else mean
        return Prediction(mean, torch.zeros_like(mean), -torch.ones_like(mean[..., 0]), torch.zeros_like(mean[..., 0]))


STAY_OR_END = torch.tensor([[[0.0] * 4, [0.0, 0.9, 0.9, 0.9]]])  # the second passes 2 with the third step, from 0.5


def test_where_steps_cost_a_plan_that_ends_is_best_unless_ending_costs_more() -> None:
    free = returns(Chain(), STAY_OR_END, start=0.5)[0]
    assert free.tolist() == [-4.0, -3.0]
    costly = returns(Chain(), STAY_OR_END, start=0.5, termination_cost=1.5)[0]
    assert costly.tolist() == [-4.0, -4.5] and free.argmax() == 1 and costly.argmax() == 0


def test_the_cost_of_ending_is_paid_once_and_discounted_like_its_steps_reward() -> None:
    plans = torch.tensor([[[0.9, 0.9, 0.9], [0.9, 0.0, 0.9]]])  # from 1.5: ends at once, and would again and again
    found = returns(Chain(), plans, start=1.5, discount=0.5, termination_cost=8.0)[0]
    assert found.tolist() == [-9.0, -9.0]
    late = returns(Chain(), STAY_OR_END, start=0.5, discount=0.5, termination_cost=8.0)[0]
    assert late.tolist() == [-1.875, -1.75 - 8 / 4]
    valued = returns(Chain(), STAY_OR_END, start=0.5, termination_cost=8.0, terminal_value=lambda obs: 0 * obs[:, 0] + 2)[0]
    assert valued.tolist() == [-2.0, -11.0]


def test_each_particle_that_ends_pays_its_share() -> None:
    model = WalkModel(noise=0.3)
    plans = torch.zeros(1, 1, 1)
    free, costly = (
        returns(model, plans, task=WALK, particles=2000, start=0.8, termination_cost=cost) for cost in (0.0, 10.0)
    )
    share = 0.5 * (math.erfc(0.2 / 0.3 / 2**0.5) + math.erfc(1.8 / 0.3 / 2**0.5))
    assert (free - costly).item() / 10 == pytest.approx(share, abs=0.03)


def test_a_halt_costs_nothing() -> None:
    class Halts(Chain):
        def halted(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
            return next_obs[..., 0] > 1

    assert returns(Halts(), STAY_OR_END, start=0.5, termination_cost=8.0)[0].tolist() == [-4.0, -2.0]
