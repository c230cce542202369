"""UP-MPC: which of the policy's actions it takes, and what it leaves alone (COPlanner)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import (
    Generator,
    InterleavedGenerator,
    ModelStep,
    Prediction,
    RowGenerator,
    Task,
    Transitions,
    draw_normal,
    make_generator,
)
from mbrl.envs import VectorExperience
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.models import DynamicsModel, GaussianEnsemble, HasMembers, Pendulum
from mbrl.planners import UPMPC, Dyna, PolicySample, Situation, best_candidate
from mbrl.policies import SAC, Policy
from mbrl.testing import LinearModel, check_selector, linear_task
from mbrl.uncertainty import MeanDisagreement, SampleSpread

LINE = Task("", 1, 1, (-1.0,), (1.0,), known_terminated="mbrl.envs.terminations.never")
SPREAD = MeanDisagreement()


class AnyAction(Policy):
    """Standard normal actions, whatever the state; symmetric."""

    def sample(self, obs: Tensor, generator: Generator, prev_action: Tensor | None = None) -> tuple[Tensor, Tensor]:
        action = torch.tanh(draw_normal(generator, obs.shape[:-1].numel(), 1, obs)).view(*obs.shape[:-1], 1)
        return action, action.sum(-1)

    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        return obs.new_zeros(len(obs), 1)


class Bandit(DynamicsModel, HasMembers):
    """s' = s; reward `gain`·a; the members' means lie ±1 apart where a > 0, and agree elsewhere."""

    members = 2

    def __init__(self, gain: float = 0.0, shift: float = 0.0, ends: bool = False) -> None:
        super().__init__()
        self.gain, self.shift, self.ends = gain, shift, ends

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        apart = (action > 0).to(obs.dtype)  # B x 1
        both = torch.stack((obs + apart, obs - apart))  # 2 x B x 1
        mean = both if member is None else both[member, torch.arange(len(member))]
        reward = (self.gain * action[..., 0] + self.shift).expand(mean.shape[:-1]).contiguous()
        logit = torch.full_like(reward, 5.0 if self.ends else -5.0)
        return Prediction(mean, torch.zeros_like(mean), reward, torch.zeros_like(reward), logit)

    @property
    def drawn_members(self) -> Tensor:
        return torch.arange(2)


def situation(model: DynamicsModel, n: int = 200, seed: int = 0, task: Task = LINE, **changes: Any) -> Situation:
    if model.task is None:
        model.build(task)
    obs = torch.linspace(-1, 1, n).unsqueeze(-1).expand(n, task.obs_size).contiguous()
    rows = Transitions.from_obs(obs, task.action_size)
    values = {
        "obs": obs,
        "policy": AnyAction(),
        "dynamics": model,
        "start": lambda generator: model.start(rows, generator),
        "policy_generator": RowGenerator(make_generator("cpu", seed, "policy"), n),
        "planning_generator": RowGenerator(make_generator("cpu", seed, "planning"), n),
    }
    return Situation(**{**values, **changes})


def chosen(model: DynamicsModel, rate: float, seed: int = 0, n: int = 200, **options: Any) -> Tensor:
    with torch.no_grad():
        return UPMPC(rate, **{"uncertainty": SPREAD, **options}).select(situation(model, n, seed))


# what it takes -------------------------------------------------------------------------------------------------------


@pytest.mark.check("coplanner-32")
@pytest.mark.parametrize("rate", [-2.0, 0.0, 1.0])
def test_one_candidate_is_the_policys_own_sample(rate: float) -> None:
    plain = PolicySample().select(situation(Bandit()))
    assert torch.equal(chosen(Bandit(), rate, candidates=1), plain)


@pytest.mark.check("coplanner-32")
def test_without_a_rate_the_greatest_return_is_taken() -> None:
    """One step of reward a: the largest of the candidates; rewards further on follow the policy, whatever was taken."""
    with torch.no_grad():
        scores = UPMPC(0.0, horizon=1).scores(situation(Bandit(gain=1.0)))
    assert torch.equal(scores.reward, scores.actions[..., 0])
    assert (scores.uncertainty == 0).all()
    assert torch.equal(chosen(Bandit(gain=1.0), 0.0, horizon=1)[:, 0], scores.actions.amax(0)[:, 0])


@pytest.mark.check("coplanner-32")
def test_one_step_scores_are_reward_and_disagreement_of_that_step() -> None:
    with torch.no_grad():
        scores = UPMPC(1.0, horizon=1, uncertainty=SPREAD).scores(situation(Bandit(gain=3.0)))
    assert torch.allclose(scores.reward, 3 * scores.actions[..., 0])
    assert torch.allclose(scores.uncertainty, (scores.actions[..., 0] > 0).float())


@pytest.mark.check("coplanner-33")
def test_a_greater_rate_never_takes_less_uncertainty() -> None:
    """20,000 random sets of candidates under ascending rates."""
    generator = make_generator("cpu", 0)
    reward, uncertainty = torch.randn(2, 5, 20_000, generator=generator)
    taken = []
    for rate in (-5.0, -1.0, -0.1, 0.0, 0.1, 1.0, 5.0):
        best = best_candidate(reward, uncertainty, rate)
        taken.append(uncertainty.gather(0, best[None])[0])
    assert (torch.stack(taken).diff(dim=0) >= 0).all()
    assert (taken[-1] > taken[0]).float().mean() > 0.9


@pytest.mark.check("coplanner-34")
@pytest.mark.parametrize("rate", [-2.0, 1.0])
def test_a_constant_reward_changes_no_choice(rate: float) -> None:
    assert torch.equal(chosen(Bandit(gain=1.0), rate), chosen(Bandit(gain=1.0, shift=50.0), rate))


@pytest.mark.check("coplanner-34")
def test_permuting_candidates_permutes_the_choice_only() -> None:
    generator = make_generator("cpu", 1)
    reward, uncertainty = torch.randn(2, 5, 300, generator=generator)
    order = torch.tensor([3, 0, 4, 1, 2])
    best = best_candidate(reward, uncertainty, -2.0)
    permuted = best_candidate(reward[order], uncertainty[order], -2.0)
    assert torch.equal(order[permuted], best)


@pytest.mark.check("coplanner-36")
def test_candidates_are_blocks_of_states() -> None:
    """Reshaped to K x B, each row of candidates begins at the same B states; interleaved copies would not."""
    asked: list[Tensor] = []

    class Watching(Bandit):
        def step(self, state: Any, action: Tensor, want: Any = ()) -> ModelStep:
            asked.append(state.obs)
            return super().step(state, action, want)

    here = situation(Watching(), n=3)
    with torch.no_grad():
        UPMPC(1.0, candidates=5, horizon=1, uncertainty=SPREAD).scores(here)
    tiled = asked[0].view(5, 3, 1)
    assert all(torch.equal(block, here.obs) for block in tiled)
    assert not torch.equal(here.obs.repeat_interleave(5, 0).view(5, 3, 1)[0], here.obs)


@pytest.mark.check("coplanner-37")
def test_exploration_seeks_and_rollouts_avoid_what_members_disagree_on() -> None:
    """No reward, disagreement for a > 0 only, a symmetric policy, five candidates: 31 of 32 times the sought side."""
    n = 20_000
    for rate, sign in ((1.0, 1), (-2.0, -1)):
        share = (sign * chosen(Bandit(), rate, n=n, horizon=1) > 0).float().mean().item()
        assert share == pytest.approx(31 / 32, abs=5 * math.sqrt(31 / 32 / 32 / n))


@pytest.mark.check("coplanner-38")
def test_sums_are_discounted() -> None:
    """Unit reward and uncertainty: 4.708866 over five steps at 0.97, five at 1."""
    model = Bandit(shift=1.0)
    for discount, expected in ((0.97, 4.708866), (1.0, 5.0)):
        options = {"reward_discount": discount, "uncertainty_discount": discount, "horizon": 5}
        with torch.no_grad():
            scores = UPMPC(1.0, uncertainty=SPREAD, **options).scores(situation(model, policy=Positive()))  # type: ignore[arg-type]
        for sums in (scores.reward, scores.uncertainty):
            assert torch.allclose(sums, torch.full_like(sums, expected), rtol=0, atol=1e-5)


class Positive(AnyAction):
    def sample(self, obs: Tensor, generator: Generator, prev_action: Tensor | None = None) -> tuple[Tensor, Tensor]:
        action, log_prob = super().sample(obs, generator, prev_action)
        return action.abs(), log_prob


# options -------------------------------------------------------------------------------------------------------------


def scores(**options: Any) -> Any:
    changes = {name: options.pop(name) for name in ("policy", "value") if name in options}
    model = options.pop("model", Bandit(shift=1.0))
    with torch.no_grad():
        return UPMPC(1.0, **{"uncertainty": SPREAD, "horizon": 3, **options}).scores(situation(model, 8, **changes))


def test_the_first_steps_alone_can_count_as_uncertain() -> None:
    assert scores(policy=Positive(), uncertainty_steps=1).uncertainty.unique().tolist() == [1.0]
    assert scores(policy=Positive()).uncertainty.unique().tolist() == pytest.approx([1 + 0.97 + 0.97**2])


class Apart(Bandit):
    """Five members whose means lie at 0, 1, 10, 100, 1000 above the state; rollouts draw the last three."""

    members = 5

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        above = torch.tensor([0.0, 1.0, 10.0, 100.0, 1000.0])
        lead = 5 if member is None else 1
        self.asked += lead * len(obs)
        mean = obs + above.view(5, 1, 1) if member is None else obs + above[member].unsqueeze(-1)
        reward = mean[..., 0] - obs[:, 0]
        return Prediction(mean, torch.zeros_like(mean), reward, torch.zeros_like(reward))

    @property
    def drawn_members(self) -> Tensor:
        return torch.tensor([4, 2, 3])


def test_a_few_members_can_stand_for_all() -> None:
    """Of the drawn members 4, 2, 3 the first two: means 1000 and 10 above, sd 495, and each row draws one of them."""
    model = Apart()
    few = scores(model=model, horizon=1, uncertainty_members=2)
    assert torch.allclose(few.uncertainty, torch.tensor(495.0))
    assert sorted(few.reward.unique().tolist()) == [10.0, 1000.0]
    assert model.asked == 5 * 8 * 2
    model = Apart()
    everyone = scores(model=model, horizon=1)
    spread = torch.tensor([0.0, 1.0, 10.0, 100.0, 1000.0]).std(correction=0)
    assert torch.allclose(everyone.uncertainty, spread)
    assert sorted(everyone.reward.unique().tolist()) == [10.0, 100.0, 1000.0]
    assert model.asked == 5 * 8 * 5


def test_elites_of_a_few_are_the_few() -> None:
    """A measure of elites alone counts all that were asked."""
    few = scores(model=Apart(), horizon=1, uncertainty_members=2, uncertainty=MeanDisagreement(members="elites"))
    assert torch.allclose(few.uncertainty, torch.tensor(495.0))


def test_steps_whose_uncertainty_does_not_count_draw_from_all_again() -> None:
    model = Apart()
    mixed = scores(model=model, horizon=2, uncertainty_members=2, uncertainty_steps=1, reward_discount=1.0)
    assert model.asked == 5 * 8 * (2 + 1)
    assert {110.0, 1100.0} & set(mixed.reward.unique().tolist())  # the second step's 100 is of the third drawn member


@pytest.mark.parametrize(("number", "said"), [(1, "expected 2 to 3 of the members that rollouts draw, got 1"), (4, "got 4")])
def test_a_few_members_are_at_least_two_of_those_drawn(number: int, said: str) -> None:
    model = Apart()
    model.build(LINE)
    with pytest.raises(UnsupportedError, match=said):
        UPMPC(1.0, uncertainty=SPREAD, uncertainty_members=number).check(model)


def test_predicted_terminations_are_masked_on_request() -> None:
    ends = Bandit(shift=1.0, ends=True)
    ends.build(Task("", 1, 1, (-1.0,), (1.0,)))
    assert scores(model=ends).reward.unique().tolist() == pytest.approx([1 + 0.97 + 0.97**2])
    masked = scores(model=ends, mask_terminations=True, policy=Positive())
    assert masked.reward.unique().tolist() == [1.0] and masked.uncertainty.unique().tolist() == [1.0]


def test_a_terminal_value_is_discounted_and_reduced() -> None:
    class Worth:
        def value(self, obs: Tensor) -> Tensor:
            return torch.stack((torch.full_like(obs[:, 0], 10.0), torch.full_like(obs[:, 0], 20.0)))

    plain = scores().reward
    for reduce, worth in (("mean", 15.0), ("min", 10.0)):
        valued = scores(terminal_value=reduce, value=Worth())
        assert torch.allclose(valued.reward - plain, torch.tensor(0.97**3 * worth))
    with pytest.raises(UnsupportedError, match="expected a planner with critics, got one without"):
        scores(terminal_value="mean")


def test_normalized_scores_do_not_depend_on_units() -> None:
    generator = make_generator("cpu", 2)
    reward, uncertainty = torch.randn(2, 5, 500, generator=generator)
    plain = best_candidate(reward, uncertainty, -1.0, normalize=True)
    assert torch.equal(best_candidate(reward * 1000, uncertainty / 50, -1.0, normalize=True), plain)
    assert not torch.equal(best_candidate(reward * 1000, uncertainty / 50, -1.0), plain)
    same = torch.ones(5, 3)  # without a spread there is nothing to divide by
    assert best_candidate(same, same, 1.0, normalize=True).tolist() == [0, 0, 0]


def test_spreads_say_what_the_rate_makes_of_them() -> None:
    """Reward 3 a, so three times the actions' sd; disagreement 1 where a > 0; normalised, the rate alone is their ratio."""
    told: dict[str, Tensor] = {}
    chosen_with = {"uncertainty": SPREAD, "horizon": 1}
    with torch.no_grad():
        sums = UPMPC(-2.0, **chosen_with).scores(situation(Bandit(gain=3.0)))  # type: ignore[arg-type]
        UPMPC(-2.0, **chosen_with).select(situation(Bandit(gain=3.0), report=told.update))  # type: ignore[arg-type]
    reward = 3 * sums.actions[..., 0].std(0, correction=0).mean()
    assert torch.allclose(told["reward_spread"], reward)
    above = (sums.actions[..., 0] > 0).float()
    assert torch.allclose(told["uncertainty_spread"], 2 * above.std(0, correction=0).mean())
    with torch.no_grad():
        UPMPC(-2.0, normalize=True, **chosen_with).select(situation(Bandit(gain=3.0), report=told.update))  # type: ignore[arg-type]
    assert torch.allclose(told["uncertainty_spread"], 2 * reward)


def test_candidates_that_are_not_finite_come_last() -> None:
    reward = torch.tensor([[math.nan, 1.0], [-5.0, math.inf]])
    assert best_candidate(reward, torch.zeros(2, 2), 0.0).tolist() == [1, 0]


class Faulty(Bandit):
    """Reward a, but `value` where |a| > ½."""

    def __init__(self, value: Any, least: float = 0.5) -> None:
        super().__init__(gain=1.0)
        self.value, self.least = value, least

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        said = super().predict(obs, action, member)
        assert said.reward_mean is not None
        said.reward_mean = torch.where(action[..., 0].abs() > self.least, self.value, said.reward_mean)
        return said


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_action_that_the_model_fails_at_is_avoided_and_spoils_no_spread(value: float, normalize: bool) -> None:
    """The best of the others is taken, as if the bad ones hadn't been drawn, and the spreads are those of the others."""
    told: dict[str, Tensor] = {}
    planner = UPMPC(-0.5, uncertainty=SPREAD, horizon=1, normalize=normalize)
    model = Faulty(value)
    with torch.no_grad():
        sums = planner.scores(situation(model))
        took = planner.select(situation(model, report=told.update))[:, 0]
    spreads = []
    for row in range(200):
        good = sums.reward[:, row].isfinite()
        if not good.any():
            continue
        reward, unsure = sums.reward[good, row], sums.uncertainty[good, row]
        spreads.append(reward.std(correction=0))
        best = best_candidate(reward[:, None], unsure[:, None], -0.5, normalize)
        assert took[row] == sums.actions[good, row, 0][best]
    assert len(spreads) > 150
    assert torch.allclose(told["reward_spread"], torch.stack(spreads).mean())
    assert told["uncertainty_spread"].isfinite()


@pytest.mark.parametrize("normalize", [False, True])
def test_a_state_without_a_finite_candidate_takes_the_first(normalize: bool) -> None:
    """What its step then brings tells of the divergence; the spread of nothing is 0."""
    told: dict[str, Tensor] = {}
    planner = UPMPC(1.0, uncertainty=SPREAD, horizon=1, normalize=normalize)
    model = Faulty(math.nan, least=-1.0)
    with torch.no_grad():
        first = planner.scores(situation(model)).actions[0]
        assert torch.equal(planner.select(situation(model, report=told.update)), first)
    assert [told[name].item() for name in ("reward_spread", "uncertainty_spread")] == [0.0, 0.0]


def test_spreads_are_of_living_rows() -> None:
    """Rows of finished rollouts, which stay in the batch on CUDA, count no longer."""
    told: dict[str, Tensor] = {}
    alive = torch.arange(200) < 20
    planner = UPMPC(-2.0, uncertainty=SPREAD, horizon=1)
    with torch.no_grad():
        sums = planner.scores(situation(Bandit(gain=3.0)))
        planner.select(situation(Bandit(gain=3.0), report=told.update, alive=alive))
    assert torch.allclose(told["reward_spread"], sums.reward[:, :20].std(0, correction=0).mean())
    assert torch.allclose(told["uncertainty_spread"], 2 * sums.uncertainty[:, :20].std(0, correction=0).mean())


def test_the_released_measure_is_the_default() -> None:
    """Noisy samples, reward included: members that agree on a noise still count as uncertain."""
    model = LinearModel([[1.0]], [[0.1]], noise=0.5, members=7, learn_reward=True)
    model.build(LINE)
    with torch.no_grad():
        default = UPMPC(1.0, horizon=1).scores(situation(model, 4000))
        explicit = UPMPC(1.0, horizon=1, uncertainty=SampleSpread(reward=True)).scores(situation(model, 4000))
        clean = UPMPC(1.0, horizon=1, uncertainty=SPREAD).scores(situation(model, 4000))
    assert torch.equal(default.uncertainty, explicit.uncertainty)
    assert default.uncertainty.mean().item() == pytest.approx(0.888 * 0.5 / 2, rel=0.02)  # of two dims one has the noise
    assert (clean.uncertainty < 1e-6).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidates": 0}, r"UPMPC\(candidates=…\): expected a whole number of at least 1, got 0"),
        ({"horizon": 0}, r"UPMPC\(horizon=…\): expected a whole number of at least 1, got 0"),
        ({"rate": math.inf}, r"UPMPC\(rate=…\): expected a finite number, got inf"),
        ({"rate": math.nan}, r"UPMPC\(rate=…\): expected a finite number, got nan"),
        ({"reward_discount": 1.1}, r"UPMPC\(reward_discount=…\): expected a number from 0 to 1, got 1.1"),
        ({"uncertainty_discount": -0.1}, r"UPMPC\(uncertainty_discount=…\): expected a number from 0 to 1"),
        (
            {"uncertainty_members": 0},
            r"UPMPC\(uncertainty_members=…\): expected a whole number of at least 1, or None, got 0",
        ),
        ({"uncertainty_steps": 6}, r"UPMPC\(uncertainty_steps=…\): expected a whole number from 1 to 5, got 6"),
        ({"terminal_value": "max"}, r"UPMPC\(terminal_value=…\): expected one of mean, min, or None, got 'max'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        UPMPC(**{"rate": 1.0, **options})


def test_a_model_without_members_is_refused_where_it_is_asked() -> None:
    model = Pendulum()
    with pytest.raises(UnsupportedError, match=r"UPMPC\(uncertainty=SampleSpread\) can't use Pendulum"):
        UPMPC(1.0).check(model)
    UPMPC(0.0).check(model)
    UPMPC(1.0, candidates=1).check(model)


def test_it_keeps_the_selectors_contract() -> None:
    check_selector(lambda: UPMPC(-2.0, candidates=3, horizon=2), linear_task())


class Noisy(Bandit):
    """The bandit's reward with noise of sd 3, and states that noise moves."""

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        found = super().predict(obs, action, member)
        assert found.reward_mean is not None
        found.var, found.reward_var = torch.ones_like(found.mean), torch.full_like(found.reward_mean, 9.0)
        return found


GENERATORS: dict[str, Callable[[], Generator]] = {
    "one": lambda: make_generator("cpu", 0, "planning"),
    "rows": lambda: RowGenerator(make_generator("cpu", 0, "planning"), 20),
    "living rows": lambda: RowGenerator(make_generator("cpu", 0, "planning"), 30).select(torch.arange(5, 25)),
    "environments": lambda: InterleavedGenerator([make_generator("cpu", seed, "planning") for seed in range(4)]),
}


@pytest.mark.parametrize("kind", list(GENERATORS))
@pytest.mark.parametrize("members", [None, 2])
def test_candidates_with_common_noise_differ_by_their_actions_alone(kind: str, members: int | None) -> None:
    """Where actions do nothing, the members, the noise and the policy's later actions that follow are all the same."""

    def spreads(common: bool) -> tuple[Tensor, Tensor]:
        here = situation(Noisy(), n=20, planning_generator=GENERATORS[kind]())
        plan = UPMPC(1.0, horizon=3, uncertainty=SPREAD, common_noise=common, uncertainty_members=members)
        with torch.no_grad():
            found = plan.scores(here)
        assert found.actions.std(0).min() > 0  # the candidates themselves stay apart
        return found.reward.std(0), found.reward.std(1)

    among, over_states = spreads(common=True)
    assert among.max() < 1e-5 and over_states.min() > 1
    assert spreads(common=False)[0].min() > 0.5


def test_common_noise_takes_the_action_that_no_noise_would() -> None:
    exact = chosen(Bandit(gain=1.0), 0.0, horizon=1)
    assert torch.equal(chosen(Noisy(gain=1.0), 0.0, horizon=1, common_noise=True), exact)
    assert (chosen(Noisy(gain=1.0), 0.0, horizon=1) == exact).float().mean() < 0.5  # of a fifth by chance alone


# in Dyna -------------------------------------------------------------------------------------------------------------


def trained(rollout: UPMPC | None = None, explore: UPMPC | None = None) -> tuple[Dyna, dict[str, float]]:
    task = linear_task()
    planner = Dyna(
        GaussianEnsemble(hidden=[8], members=3, elites=2, weight_decay=0.0, max_epochs=2, batch_size=16),
        SAC(hidden=[8, 8]),
        warmup_steps=10,
        refit_every=6,
        rollouts_per_step=4,
        rollout_length=[0, 1, 2, 2],
        updates_per_step=1,
        batch_size=16,
        rollout_selector=rollout,
        explore_selector=explore,
    )
    planner.build(task)
    planner.make_optimizers()
    experience = VectorExperience(task, 2)
    for _ in range(12):
        planner.tick(experience)
    experience.close()
    return planner, planner.metrics.pop()


def rows(planner: Dyna) -> tuple[Tensor, Tensor]:
    return planner.real_buffer.all().action, planner.model_buffer.all().action


def test_one_candidate_or_no_selector_is_mbpo_bit_for_bit() -> None:
    plain = trained()[0]
    single = trained(UPMPC(-2.0, candidates=1), UPMPC(1.0, candidates=1))[0]
    for a, b in zip(rows(plain), rows(single), strict=True):
        assert torch.equal(a, b)
    for p, q in zip(plain.parameters(), single.parameters(), strict=True):
        assert torch.equal(p, q)


def test_each_selector_is_a_switch_of_its_own() -> None:
    plain = rows(trained()[0])
    _, metrics = trained(UPMPC(-2.0))
    assert {"rollout/reward_spread", "rollout/uncertainty_spread"} <= set(metrics)
    assert not any(name.startswith("explore/") for name in metrics)
    explored, metrics = trained(None, UPMPC(1.0))
    assert {"explore/reward_spread", "explore/uncertainty_spread"} <= set(metrics)
    assert not torch.equal(rows(explored)[0], plain[0])
    assert torch.equal(rows(explored)[0][:10], plain[0][:10])  # the warm-up is uniform


@pytest.mark.check("coplanner-39")
def test_stored_rewards_carry_no_penalty_and_evaluation_does_not_plan() -> None:
    """Rollouts keep the model's own reward (the task's, which is known); evaluation takes the policy's mode."""
    planner, _ = trained(UPMPC(-2.0), UPMPC(1.0))
    stored = planner.model_buffer.all()
    known = planner.built_task.reward(stored.obs, stored.action, stored.next_obs)
    assert known is not None and torch.equal(stored.reward, known)

    def refuse(*_: Any) -> Tensor:
        raise AssertionError("evaluation asked a selector")

    planner.explore_selector.select = planner.rollout_selector.select = refuse  # type: ignore[method-assign]
    obs = stored.obs[:2]
    action, _ = planner.act(obs, planner.memory(2, torch.Generator()), explore=False)
    assert torch.equal(action, planner.learner.policy.mode(obs))
