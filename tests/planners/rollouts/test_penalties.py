"""Uncertainty in the rewards of rollouts and plans, and the models of which a measure says nothing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import InterleavedGenerator, ModelState, ModelStep, Prediction, Task, Transitions, make_generator
from mbrl.errors import ConfigError, ShapeError, UnsupportedError
from mbrl.models import DynamicsModel, GaussianEnsemble, HasMembers
from mbrl.planners import PlanObjective, RolloutHook, UncertaintyBonus, UncertaintyPenalty, check_measure
from mbrl.planners.rollouts.imagination import Imagination
from mbrl.planners.rollouts.selectors import PolicySample
from mbrl.testing import LinearModel, linear_task
from mbrl.uncertainty import (
    DistanceToMean,
    LeaveOneOutKL,
    LikelihoodSpread,
    MaxAleatoric,
    MeanDisagreement,
    Sample,
    SampleSpread,
    TotalSpread,
    UncertaintyMeasure,
)
from tests.planners.exact_models import PendulumModel, WalkModel
from tests.planners.rollouts.test_imagination import NoisyPolicy
from tests.planners.test_dyna import dyna, run
from tests.planners.test_pets import pets

LINEAR = linear_task(ends=False)
PENDULUM = Task(
    "", 3, 1, (-2.0,), (2.0,), known_reward="mbrl.envs.rewards.pendulum", known_terminated="mbrl.envs.terminations.never"
)
DRAWING = (SampleSpread(), LeaveOneOutKL(), LikelihoodSpread("sd"))


def model(**options: Any) -> LinearModel:
    made = LinearModel(**{"noise": 0.1, "members": 3, "spread": 0.2, **options})
    made.build(LINEAR)
    return made


def imagined(dynamics: DynamicsModel, *hooks: RolloutHook, drop: bool = True, task: Task = LINEAR) -> Transitions:
    """Four steps from 50 states, on which a hook may act."""
    obs = torch.rand(50, task.obs_size, generator=make_generator("cpu", "starts")) * 2 - 1
    stored: list[Transitions] = []
    rollouts = Imagination(dynamics, NoisyPolicy(), PolicySample(), hooks, seed=3, chunk_rows=30, drop=drop)
    rollouts.run(Transitions.from_obs(obs, task.action_size), 4, 0, stored.append)
    return Transitions.cat(stored)


# rollouts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hook", "sign"), [(UncertaintyPenalty, -1.0), (UncertaintyBonus, 1.0)])
def test_a_penalty_comes_off_and_a_bonus_goes_on(hook: type[UncertaintyPenalty], sign: float) -> None:
    """Members off by −0.2, 0, 0.2 in each dim: the sd is 0.2 · sqrt(2/3); and nothing else changes."""
    plain, changed = imagined(model()), imagined(model(), hook(MeanDisagreement(), weight=3.0))
    expected = plain.reward + sign * 3 * 0.2 * (2 / 3) ** 0.5
    assert torch.allclose(changed.reward, expected, atol=1e-6)
    for name in ("obs", "action", "next_obs", "terminated", "truncated"):
        assert torch.equal(getattr(changed, name), getattr(plain, name))


def test_dyna_learns_from_penalised_rollouts_and_plain_real_steps() -> None:
    """The walk's noise is 0.01 throughout."""
    plain, penalised = dyna(), dyna(rollout_hooks=[UncertaintyPenalty(MaxAleatoric(), weight=7.0)])
    for planner in (plain, penalised):
        run(planner, 20)
    before, after = plain.model_buffer.all(), penalised.model_buffer.all()
    assert torch.equal(after.next_obs, before.next_obs) and torch.allclose(after.reward, before.reward - 0.07)
    assert torch.equal(penalised.real_buffer.all().reward, plain.real_buffer.all().reward)


@pytest.mark.parametrize("measure", DRAWING)
def test_no_weight_changes_no_bit(measure: UncertaintyMeasure) -> None:
    """Nor asks all members; and a measure that draws moves no other draw."""
    hook = UncertaintyPenalty(measure, weight=0.0)
    assert hook.want == () and UncertaintyPenalty(measure, weight=1.0).want == ("prediction",)
    plain = imagined(model())
    assert torch.equal(imagined(model(), hook).reward, plain.reward)
    penalised = imagined(model(), UncertaintyPenalty(measure, weight=1.0))
    assert torch.equal(penalised.next_obs, plain.next_obs) and torch.equal(penalised.action, plain.action)
    assert (penalised.reward < plain.reward).all()


def test_no_weight_is_none_of_what_is_undefined_either() -> None:
    """Members without noise have no divergence, and 0 times that is not a number."""
    idle, other = UncertaintyPenalty(LeaveOneOutKL(), weight=0.0), UncertaintyPenalty(MeanDisagreement(), weight=1.0)
    assert torch.equal(imagined(model(noise=0.0), idle, other).reward, imagined(model(noise=0.0), other).reward)


def test_a_model_that_keeps_its_prediction_back_is_refused() -> None:
    class Silent(LinearModel):
        def step(self, state: ModelState, action: Tensor, want: Collection[str] = ()) -> ModelStep:
            return super().step(state, action)

    silent = Silent(members=3)
    silent.build(LINEAR)
    with pytest.raises(UnsupportedError, match="UncertaintyPenalty can't use Silent: its step leaves out the prediction"):
        imagined(silent, UncertaintyPenalty(MeanDisagreement(), weight=1.0))


def test_hooks_draw_from_streams_of_their_own() -> None:
    """A second hook's draws are as they were without the first's, and their numbers are independent."""
    first, second = (UncertaintyPenalty(SampleSpread(), weight=weight) for weight in (1.0, 10.0))
    idle = UncertaintyPenalty(MeanDisagreement(), weight=0.0)
    plain, with_both, with_second = imagined(model()), imagined(model(), first, second), imagined(model(), idle, second)
    by_first = plain.reward - imagined(model(), first).reward
    by_second = plain.reward - with_second.reward
    assert torch.allclose(with_both.reward, plain.reward - by_first - by_second, atol=1e-5)
    assert not torch.allclose(by_second, 10 * by_first, atol=1e-2)


@pytest.mark.parametrize("measure", DRAWING)
def test_dropping_and_masking_penalise_alike(measure: UncertaintyMeasure) -> None:
    task = linear_task()
    ends = LinearModel(noise=1.0, members=3, spread=0.2)
    ends.build(task)
    hook = UncertaintyPenalty(measure, weight=1.0)
    dropped, masked = (imagined(ends, hook, drop=drop, task=task) for drop in (True, False))
    assert 50 + 20 < len(dropped) == len(masked) < 200 - 20  # many went on, and many were dropped on the way
    # to rounding: some processors add a vector's last elements up in other steps than the others
    assert torch.allclose(dropped.next_obs, masked.next_obs, atol=1e-6)
    assert torch.allclose(dropped.reward, masked.reward, atol=1e-5)


class Elites(LinearModel):
    """Rollouts draw only the last two of four members."""

    @property
    def drawn_members(self) -> Tensor:
        return torch.tensor([3, 2])


def test_elites_are_the_models_own_at_that_time() -> None:
    elites = Elites(members=4, spread=1.0)
    elites.build(LINEAR)
    plain = imagined(elites)
    for members, expected in (("elites", 0.5), ("all", 1.25**0.5)):
        changed = imagined(elites, UncertaintyPenalty(MeanDisagreement(members=members), weight=1.0))  # type: ignore[arg-type]
        assert torch.allclose(plain.reward - changed.reward, torch.tensor(expected), atol=1e-5)


class Spy(UncertaintyMeasure):
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def __call__(self, prediction: Prediction, drawn: Tensor, sample: Sample | None = None, generator: Any = None) -> Tensor:
        self.given.append((prediction, drawn, sample))
        return prediction.var.new_zeros(prediction.var.shape[1])


def test_a_measure_sees_the_step_that_was_taken_and_who_took_it() -> None:
    """Without noise a step is its member's mean."""
    spy = Spy()
    stored = imagined(model(noise=0.0), UncertaintyPenalty(spy, weight=1.0))
    seen = 0
    for said, drawn, sample in spy.given:
        assert drawn.tolist() == [0, 1, 2] and sample.member.unique().tolist() == [0, 1, 2]
        assert torch.equal(said.of_member(sample.member).mean, sample.next_obs)
        seen += len(sample.reward)
    assert seen == len(stored) == 200 and torch.equal(spy.given[0][2].reward, stored.reward[:30])


@pytest.mark.parametrize(("propagation", "followed"), [("ts1", False), ("ts_inf", True)])
def test_a_plans_measure_sees_the_member_of_each_particle(propagation: Any, followed: bool) -> None:
    spy, dynamics = Spy(), model(noise=0.0)
    plans = torch.zeros(2, 5, 4, 1)
    noise = [InterleavedGenerator([make_generator("cpu", name, i) for i in range(2)]) for name in ("model", "measure")]
    state = dynamics.start(Transitions.from_obs(torch.zeros(2, 2), 1), noise[0])
    PlanObjective(dynamics, 3, propagation, uncertainty=spy, uncertainty_rate=1.0).returns(state, plans, noise[1])
    members = [sample.member for _, _, sample in spy.given]
    assert all(torch.equal(said.of_member(s.member).mean, s.next_obs) for said, _, s in spy.given)
    assert followed == all(torch.equal(members[0], later) for later in members)


@pytest.mark.parametrize("propagation", ["ts1", "ts_inf", "expectation", "ds", "mm"])
@pytest.mark.parametrize("measure", DRAWING)
def test_states_planned_for_together_are_measured_alone(propagation: Any, measure: UncertaintyMeasure) -> None:
    dynamics = model()
    obs = torch.tensor([[0.1, 0.0], [0.5, -0.2], [-0.3, 0.4]], dtype=torch.float64)
    plans = torch.rand(3, 5, 4, 1, dtype=torch.float64, generator=make_generator("cpu", 0)) * 2 - 1
    particles = 1 if propagation == "expectation" else 6

    def found(which: list[int], rate: float) -> Tensor:
        told = measure if rate else None
        objective = PlanObjective(dynamics, particles, propagation, uncertainty=told, uncertainty_rate=rate)
        noise = [InterleavedGenerator([make_generator("cpu", name, i) for i in which]) for name in ("model", "measure")]
        return objective.returns(dynamics.start(Transitions.from_obs(obs[which], 1), noise[0]), plans[which], noise[1])

    together = found([0, 1, 2], -1.0)
    assert (together < found([0, 1, 2], 0.0)).all()
    for i in range(3):
        assert torch.allclose(found([i], -1.0)[0], together[i], rtol=0, atol=1e-9)


@pytest.mark.parametrize("measure", DRAWING)
def test_pets_plans_with_a_measure_that_draws(measure: UncertaintyMeasure) -> None:
    """Each environment as if it were alone, and the same again with the same memory."""
    options: dict[str, Any] = {"dynamics": LinearModel(noise=0.1, members=3, spread=0.2), "particles": 3}
    planner = pets(uncertainty=measure, uncertainty_rate=-1.0, **options)
    obs = torch.tensor([[0.5, 0.1], [-0.5, 0.1]])
    found, again = (planner.plan(obs, planner.memory(2, torch.Generator().manual_seed(0)), explore=False) for _ in range(2))
    assert torch.equal(found.value, again.value)
    alone = planner.plan(obs[:1], planner.memory(1, torch.Generator().manual_seed(0)), explore=False)
    assert torch.allclose(found.actions[:1], alone.actions, atol=1e-5)
    plain = pets(**options).plan(obs, planner.memory(2, torch.Generator().manual_seed(0)), explore=False)
    assert (found.value < plain.value).all()


# refusals ------------------------------------------------------------------------------------------------------------


def refused(measure: UncertaintyMeasure, dynamics: DynamicsModel, task: Task = LINEAR) -> str:
    dynamics.build(task)
    with pytest.raises((UnsupportedError, ConfigError, ShapeError)) as caught:
        check_measure("PETS", "uncertainty", measure, dynamics)
    return str(caught.value)


@pytest.mark.parametrize("measure", [MaxAleatoric(), MeanDisagreement()])
def test_exact_models_have_no_uncertainty(measure: UncertaintyMeasure) -> None:
    message = refused(measure, PendulumModel(), PENDULUM)
    assert message.startswith(f"PETS(uncertainty={type(measure).__name__}) can't use PendulumModel: it is exact")


def test_members_that_are_missing() -> None:
    assert "it needs 2 members and there is 1; raise members" in refused(DistanceToMean(), LinearModel(noise=0.1))

    class Alone(DynamicsModel):
        def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
            mean = obs if member is not None else obs[None]
            return Prediction(mean, torch.ones_like(mean))

    assert "take a model with members that can disagree" in refused(TotalSpread(), Alone())
    assert not issubclass(Alone, HasMembers)
    alone = Alone()
    alone.build(LINEAR)
    check_measure("PETS", "uncertainty", MaxAleatoric(), alone)  # noise needs no company
    one_elite = GaussianEnsemble(hidden=[4], members=3, elites=1, weight_decay=0.0)
    assert "expected 2 elites or more" in refused(MeanDisagreement(members="elites"), one_elite)
    check_measure("PETS", "uncertainty", MeanDisagreement(), one_elite)


@pytest.mark.parametrize("measure", [MaxAleatoric(), LeaveOneOutKL(), LikelihoodSpread()])
def test_noise_that_is_missing(measure: UncertaintyMeasure) -> None:
    still = GaussianEnsemble(hidden=[4], members=3, elites=2, deterministic=True, weight_decay=0.0)
    assert "it predicts no noise; take a measure of disagreement" in refused(measure, still)
    check_measure("PETS", "uncertainty", MeanDisagreement(), still)
    noisy = GaussianEnsemble(hidden=[4], members=3, elites=2, weight_decay=0.0)
    noisy.build(LINEAR)
    check_measure("PETS", "uncertainty", measure, noisy)


def test_choices_that_the_model_cannot_follow_are_refused_before_training() -> None:
    assert "set learn_reward: true on the model" in refused(TotalSpread(reward=True), LinearModel(noise=0.1, members=3))
    assert "(scale=…): expected shape 2, got 1" in refused(TotalSpread(scale=[1.0]), LinearModel(noise=0.1, members=3))


def test_a_model_in_closed_form_answers_from_build_on_and_is_asked() -> None:
    class Fitted(LinearModel):
        fitting = "closed_form"

    late = Fitted(members=3)
    late.build(LINEAR)
    check_measure("PETS", "uncertainty", MeanDisagreement(), late)
    with pytest.raises(ConfigError, match="set learn_reward: true on the model"):
        check_measure("PETS", "uncertainty", TotalSpread(reward=True), late)
    with pytest.raises(UnsupportedError, match="it predicts no noise; take a measure of disagreement"):
        check_measure("PETS", "uncertainty", MaxAleatoric(), late)


def test_dyna_refuses_what_a_penalty_cannot_use() -> None:
    with pytest.raises(
        UnsupportedError, match=r"UncertaintyPenalty\(measure=MaxAleatoric\) can't use WalkModel: it predicts no"
    ):
        dyna(dynamics=WalkModel(), rollout_hooks=[UncertaintyPenalty(MaxAleatoric(), weight=1.0)])
    exact = dyna(rollout_hooks=[UncertaintyBonus(MeanDisagreement(), weight=1.0)])
    exact.dynamics = PendulumModel()
    with pytest.raises(UnsupportedError, match=r"UncertaintyBonus\(measure=MeanDisagreement\) can't use PendulumModel"):
        exact.build(PENDULUM)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_below_zero_are_refused(weight: float) -> None:
    with pytest.raises(ConfigError, match=r"UncertaintyBonus\(weight=…\): expected a finite number of at least 0, got"):
        UncertaintyBonus(MeanDisagreement(), weight)
