"""How plans are followed: the published variants against systems whose spread is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mbrl.data import InterleavedGenerator, Prediction, Task, Transitions, make_generator
from mbrl.errors import UnsupportedError
from mbrl.models import DynamicsModel, HasMembers
from mbrl.planners.plans.propagation import Propagation, follow_plans, mixture
from mbrl.testing import LinearModel

LINE = Task("", 1, 1, (-1.0,), (1.0,), known_terminated="mbrl.envs.terminations.never")
PARTICLES, PLANS, STATES, HORIZON = 20, 300, 2, 4


def built(model: DynamicsModel, task: Task = LINE) -> DynamicsModel:
    model.build(task)
    return model


def opposed() -> DynamicsModel:
    """Two deterministic members: s' = s + 1 and s' = s − 1."""
    return built(LinearModel([[1.0]], [[0.0]], members=2, spread=2.0, learn_reward=True))


def followed(model: DynamicsModel, propagation: Propagation, particles: int = PARTICLES) -> list[Tensor]:
    """Next observations of `HORIZON` steps from 0, `P x K x N` each."""
    obs = torch.zeros(STATES, 1)
    noise = InterleavedGenerator([make_generator("cpu", i) for i in range(STATES)])
    state = model.start(Transitions.from_obs(obs, 1), noise)
    plans = torch.zeros(STATES, PLANS, HORIZON, 1)
    steps = follow_plans(model, state, plans, particles, propagation)
    return [step.next_obs[:, 0].view(particles, PLANS, STATES) for step in steps]


@pytest.mark.check("coplanner-17")
def test_spread_after_four_steps_of_two_opposed_members() -> None:
    """TS1 is a random walk of variance 4, TS∞ keeps its direction (±4, variance 16), the expectation stays at 0."""
    walk = followed(opposed(), "ts1")[-1]
    assert walk.var(correction=0).item() == pytest.approx(4, rel=0.05)
    kept = followed(opposed(), "ts_inf")
    assert set(kept[-1].unique().tolist()) == {-4.0, 4.0}
    assert kept[-1].var(correction=0).item() == 16
    for depth, states in enumerate(kept):  # a particle's member never changes
        assert torch.equal(states, (depth + 1) * kept[0])
    mean = followed(opposed(), "expectation", particles=1)
    assert all((states == 0).all() for states in mean)


@pytest.mark.check("coplanner-17")
@pytest.mark.parametrize("propagation", ["ts1", "ts_inf"])
def test_each_plans_particles_are_split_evenly_over_the_members(propagation: Propagation) -> None:
    first = followed(opposed(), propagation)[0]  # P x K x N
    assert torch.equal((first > 0).sum(0), torch.full((PLANS, STATES), PARTICLES // 2))
    if propagation == "ts1":
        steps = torch.stack(followed(opposed(), "ts1"))
        ups = steps.diff(dim=0) > 0  # H−1 x P x K x N
        assert (ups.sum(1) == PARTICLES // 2).all()  # again at every later step, though another split
        assert not torch.equal(ups[0], ups[1])


def test_moment_variants_spread_as_the_mixture_does() -> None:
    """One step of ±1 has variance 1: DS draws Gaussians of it, whose variances add up; MM fits the particles each time."""
    drawn = followed(opposed(), "ds")
    assert drawn[0].var().item() == pytest.approx(1, rel=0.05)
    assert drawn[-1].var().item() == pytest.approx(4, rel=0.05)
    assert len(drawn[0].unique()) > 1000  # not the two values of the members
    matched = followed(opposed(), "mm")
    # fitting P particles and drawing again adds the fit's own error: 2 − 1/P a step of variance 1, a little more later
    assert matched[0].var().item() == pytest.approx(1, rel=0.1)
    plan_spread = matched[0].var(0, correction=0).mean().item()  # inside a plan: (1 − 1/P)² of 1
    assert plan_spread == pytest.approx((1 - 1 / PARTICLES) ** 2, rel=0.05)


class NoisyReward(DynamicsModel, HasMembers):
    """Two members at rest whose rewards are −1 ± 2 and 1 ± 2, and who expect the end with logits −1 and 3."""

    members = 2

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        number = torch.arange(2.0) if member is None else member.to(obs)
        size = obs.shape[:-1]
        sign = (2 * number - 1).view(-1, *[1] * len(size)).expand(2, *size) if member is None else 2 * number - 1
        mean = obs.expand(*sign.shape, 1)
        return Prediction(mean, torch.zeros_like(mean), sign, torch.full_like(sign, 4.0), 1 + 2 * sign)

    @property
    def drawn_members(self) -> Tensor:
        return torch.arange(2)


@pytest.mark.parametrize(
    ("propagation", "variance"), [("ts1", 5.0), ("ts_inf", 5.0), ("expectation", 0.0), ("ds", 5.0), ("mm", 5.0)]
)
def test_a_learned_reward_is_spread_as_the_state_is(propagation: Propagation, variance: float) -> None:
    """Noise of variance 4 and members ±1; its mean is 0 in all variants, and the expectation has none of the spread."""
    model = built(NoisyReward(), Task("", 1, 1, (-1.0,), (1.0,)))
    model.draws_termination = False
    state = model.start(Transitions.from_obs(torch.zeros(1, 1), 1), make_generator("cpu", 0))
    particles = 1 if propagation == "expectation" else 20
    steps = list(follow_plans(model, state, torch.zeros(1, 500, 2, 1), particles, propagation))
    for step in steps:
        assert step.reward.mean().item() == pytest.approx(0, abs=0.1)
        assert step.reward.var().item() == pytest.approx(variance, rel=0.1)
    if propagation in ("expectation", "ds", "mm"):
        assert bool(steps[0].terminated.all())  # the mean logit is 1
    if propagation == "mm":
        within = steps[0].reward.view(20, 500).var(0, correction=0).mean().item()
        assert within == pytest.approx(5 * (1 - 1 / 20) ** 2, rel=0.05)  # of a plan's own fit


def test_matched_particles_of_a_plan_share_one_gaussian_and_plans_do_not() -> None:
    """After a step from spread-out particles, MM forgets which particle stood where; DS doesn't."""

    def correlation(propagation: Propagation) -> float:
        steps = followed(built(LinearModel([[3.0]], [[0.0]], noise=0.1, learn_reward=True)), propagation)
        before, after = (states - states.mean(0) for states in steps[1:3])
        return torch.corrcoef(torch.stack((before.flatten(), after.flatten())))[0, 1].item()

    assert correlation("ds") > 0.9
    assert abs(correlation("mm")) < 0.05


class MarkedMembers(DynamicsModel, HasMembers):
    """Member i says mean i and standard deviation i / 1000."""

    members = 4

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        number = torch.arange(self.members).to(obs)
        if member is None:
            mean = number.view(-1, *[1] * obs.ndim).expand(self.members, *obs.shape)
        else:
            mean = number[member].unsqueeze(-1).expand(obs.shape)
        reward = mean[..., 0]
        return Prediction(mean, (mean / 1000) ** 2, reward, torch.zeros_like(reward))

    @property
    def drawn_members(self) -> Tensor:
        return torch.arange(self.members)


@pytest.mark.check("coplanner-18")
def test_mean_variance_and_reward_come_from_the_same_member() -> None:
    """With mean i and sd i/1000 every draw lies within 6 sd of its own member's mean; member 0 has no noise at all."""
    model = built(MarkedMembers())
    state = model.start(Transitions.from_obs(torch.zeros(1, 1), 1), make_generator("cpu", 0))
    rows = model.particles(state, 500, 20)
    step = model.step(rows, torch.zeros(10_000, 1))
    member = step.reward  # the reward's mean is the member's number, without noise
    gap = (step.next_obs[:, 0] - member).abs()
    assert (gap[member == 0] == 0).all()
    for number in (1, 2, 3):
        own = gap[member == number]
        assert own.max() < 6 * number / 1000
        assert own.square().mean().sqrt().item() == pytest.approx(number / 1000, rel=0.05)


def test_mixture_of_gaussians() -> None:
    """Members N(0, 1), N(2, 3) and one that isn't asked: mean 1, variance (1 + 3)/2 + 1."""
    mean, var = torch.tensor([0.0, 9.0, 2.0]).view(3, 1, 1), torch.tensor([1.0, 9.0, 3.0]).view(3, 1, 1)
    said = Prediction(mean, var, mean[..., 0], var[..., 0], mean[..., 0])
    mixed = mixture(said, torch.tensor([0, 2]))
    assert mixed.mean.tolist() == [[1.0]] and mixed.var.tolist() == [[3.0]]
    assert mixed.reward_mean is not None and mixed.reward_mean.tolist() == [1.0]
    assert mixed.reward_var is not None and mixed.reward_var.tolist() == [3.0]
    share = (torch.sigmoid(torch.tensor(0.0)) + torch.sigmoid(torch.tensor(2.0))) / 2
    assert mixed.terminated_logit is not None and torch.sigmoid(mixed.terminated_logit).item() == pytest.approx(share.item())
    alone = mixture(Prediction(mean, var), torch.tensor([0]))
    assert alone.reward_mean is None and alone.var.tolist() == [[1.0]]


def test_rows_are_blocks_of_plans_never_interleaved() -> None:
    """Each step's rows are P blocks of K blocks of N: another order would plan for the wrong state."""
    model = built(LinearModel([[1.0]], [[1.0]], learn_reward=True))
    obs = torch.tensor([[10.0], [20.0]])
    state = model.start(Transitions.from_obs(obs, 1), make_generator("cpu", 0))
    plans = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1) + torch.tensor([0.0, 0.5]).view(2, 1, 1, 1)  # N x K x H x A
    (step,) = follow_plans(model, state, plans, 2, "ts1")
    assert torch.allclose(step.next_obs.view(2, 3, 2)[1], torch.tensor([[10.1, 20.6], [10.2, 20.7], [10.3, 20.8]]))


def test_moments_of_a_model_with_a_state_of_its_own_are_refused() -> None:
    class Latent(LinearModel):
        def particles(self, state, plans, particles, *, follow=False):  # type: ignore[no-untyped-def]
            return object()

    model = built(Latent([[1.0]], [[1.0]], learn_reward=True))
    state = model.start(Transitions.from_obs(torch.zeros(1, 1), 1), make_generator("cpu", 0))
    with pytest.raises(UnsupportedError, match="steps its own state; use ts1 or ts_inf"):
        list(follow_plans(model, state, torch.zeros(1, 1, 1, 1), 1, "ds"))


def test_a_step_that_brings_the_prediction_asks_the_model_once() -> None:
    """The drawn members' answers are picked from all members', which costs E evaluations and not E + 1."""
    asked: list[bool] = []

    class Counting(LinearModel):
        def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
            asked.append(member is None)
            return super().predict(obs, action, member)

    model = built(Counting([[1.0]], [[1.0]], members=3, spread=0.5, noise=0.1, learn_reward=True))
    rows, action = Transitions.from_obs(torch.zeros(6, 1), 1), torch.ones(6, 1)
    plain = model.step(model.start(rows, make_generator("cpu", 0)), action)
    wanted = model.step(model.start(rows, make_generator("cpu", 0)), action, ("prediction",))
    assert asked == [False, True]
    assert torch.allclose(wanted.next_obs, plain.next_obs) and torch.allclose(wanted.reward, plain.reward)
