"""SAC: known answers of its parts, who gets which gradient, repeatability, and a task that it must learn."""

from __future__ import annotations

import copy
import io
import math
from typing import Any

import pytest
import torch

from mbrl.data import Task, Transitions, make_generator
from mbrl.errors import ConfigError, NotBuiltError
from mbrl.networks import JacobianPenalty, LipMLP, LipschitzConstraint, Orthogonal, SpectralClip, SpectralNorm
from mbrl.policies import SAC, BoundCriticTerm, CriticContext, CriticTerm
from mbrl.policies.sac import soft_target
from mbrl.spec import from_spec
from mbrl.testing.no_sync import NoScalarReadback

TASK = Task("", obs_size=3, action_size=2, action_low=(-1, -1), action_high=(1, 1))
BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def built(seed: int = 0, **options: Any) -> SAC:
    learner = SAC(**{"hidden": [16, 16], **options})
    learner.build(TASK, seed)
    learner.make_optimizers()
    return learner


def batch(rows: int = 8, seed: int = 0, dtype: torch.dtype = torch.float32) -> Transitions:
    generator = make_generator("cpu", "batch", seed)
    return Transitions(
        obs=torch.randn(rows, 3, generator=generator, dtype=dtype),
        action=torch.rand(rows, 2, generator=generator, dtype=dtype) * 2 - 1,
        reward=torch.randn(rows, generator=generator, dtype=dtype),
        next_obs=torch.randn(rows, 3, generator=generator, dtype=dtype),
        terminated=torch.rand(rows, generator=generator) < 0.3,
        truncated=torch.zeros(rows, dtype=torch.bool),
    )


# known answers -------------------------------------------------------------------------------------------------------


@pytest.mark.check("coplanner-1")
@BOTH
def test_target_has_the_published_values(dtype: torch.dtype) -> None:
    def row(value: float) -> torch.Tensor:
        return torch.full((2,), value, dtype=dtype)

    terminated = torch.tensor([False, True])
    y = soft_target(row(1.0), terminated, row(10.0), row(-1.5), torch.tensor(0.2, dtype=dtype), 0.99)
    torch.testing.assert_close(y, torch.tensor([11.197, 1.0], dtype=dtype))
    assert y.dtype is dtype


@pytest.mark.check("coplanner-1")
@pytest.mark.check("coplanner-31")
@BOTH
def test_target_of_a_learner_bootstraps_through_truncation_only(dtype: torch.dtype) -> None:
    learner = built(temperature=0.2).to(dtype)
    with torch.no_grad():
        learner.target_critics.head_weight.zero_()
        learner.target_critics.head_bias.copy_(torch.tensor([[12.0], [10.0]]))  # the smallest is 10
    rows = batch(dtype=dtype)
    rows.reward.fill_(1.0)
    rows.terminated.fill_(False)
    through = learner.target(rows, make_generator("cpu", "noise"))
    _, log_prob = learner.policy.sample(rows.next_obs, make_generator("cpu", "noise"))
    torch.testing.assert_close(through, 1.0 + 0.99 * (10.0 - 0.2 * log_prob.detach()))
    rows.truncated.fill_(True)
    assert torch.equal(learner.target(rows, make_generator("cpu", "noise")), through)
    rows.terminated.fill_(True)
    assert torch.equal(learner.target(rows, make_generator("cpu", "noise")), rows.reward)


def test_a_terminated_row_is_not_touched_by_a_value_that_is_not_finite() -> None:
    nan = torch.full((1,), math.nan)
    y = soft_target(torch.ones(1), torch.tensor([True]), nan, nan, torch.tensor(0.2), 0.99)
    assert y.item() == 1.0


@pytest.mark.check("coplanner-4")
@BOTH
def test_targets_close_the_gap_geometrically(dtype: torch.dtype) -> None:
    learner = built().to(dtype)
    for parameter in learner.critics.parameters():
        parameter.detach().fill_(1.0)
    for parameter in learner.target_critics.parameters():
        parameter.detach().fill_(0.0)
    gaps = []
    for _ in range(1000):
        learner.update_targets()
        gaps.append(1.0 - learner.target_critics.head_bias[0, 0].item())
    for n in (1, 10, 138, 1000):
        assert gaps[n - 1] == pytest.approx(0.995**n, abs=1e-4 if dtype is torch.float32 else 1e-12)
    assert gaps[137] > 0.5 > gaps[138]  # half-life 138.3 updates
    assert gaps[999] == pytest.approx(0.00665, abs=5e-5)


@pytest.mark.check("coplanner-5")
@pytest.mark.parametrize(("offset", "sign"), [(1.0, 1.0), (-1.0, -1.0)])
def test_temperature_rises_when_entropy_is_below_its_target(offset: float, sign: float) -> None:
    rows, noise = batch(), make_generator("cpu", "noise")
    entropy = built().update(rows, noise)["entropy"].item()
    learner = built(entropy_target=entropy + offset)
    learner.update(rows, make_generator("cpu", "noise"))
    gradient = learner.log_temperature.grad
    assert gradient is not None
    assert gradient.item() == pytest.approx(-offset, abs=1e-5)
    assert math.copysign(1.0, learner.log_temperature.item()) == sign


def test_actor_gradient_is_that_of_the_written_loss() -> None:
    rows = batch()
    learner = built()
    before = copy.deepcopy(learner)
    learner.update(rows, make_generator("cpu", "noise"))
    generator = make_generator("cpu", "noise")
    before.policy.sample(rows.next_obs, generator)  # the target's draw
    action, log_prob = before.policy.sample(rows.obs, generator)
    (log_prob - learner.critics(rows.obs, action).min(0).values).mean().backward()  # α = 1, critics already stepped
    for (name, ours), expected in zip(learner.policy.named_parameters(), before.policy.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, expected.grad, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(("form", "weight"), [("half", 0.5), ("full", 1.0)])
def test_critic_loss_forms(form: str, weight: float) -> None:
    rows = batch()
    learner = built(critic_loss=form)
    target = learner.target(rows, make_generator("cpu", "noise"))
    error = learner.critics(rows.obs, rows.action) - target
    expected = weight * (error[0].square().mean() + error[1].square().mean())
    got = learner.update(rows, make_generator("cpu", "noise"))["critic_loss"]
    torch.testing.assert_close(got, expected.detach())


# who changes what ----------------------------------------------------------------------------------------------------


def test_policy_step_leaves_critics_without_gradient() -> None:
    """The critics' gradients after an update are those of the critic loss alone."""
    rows, learner = batch(), built()
    before = copy.deepcopy(learner)
    learner.update(rows, make_generator("cpu", "noise"))
    target = before.target(rows, make_generator("cpu", "noise"))
    (0.5 * (before.critics(rows.obs, rows.action) - target).square().mean(-1).sum()).backward()
    for ours, expected in zip(learner.critics.parameters(), before.critics.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, expected.grad)


def test_gradients_left_by_others_do_not_enter_an_update() -> None:
    rows, learner, stained = batch(), built(), built()
    for parameter in stained.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.full_like(parameter, 3.0)
    for one in (learner, stained):
        one.update(rows, make_generator("cpu", "noise"))
    assert states_equal(learner, stained)


def test_an_update_changes_every_parameter_and_the_targets() -> None:
    learner = built()
    before = {name: value.clone() for name, value in learner.state_dict().items() if isinstance(value, torch.Tensor)}
    learner.update(batch(), make_generator("cpu", "noise"))
    after = learner.state_dict()
    unchanged = [name for name, value in before.items() if torch.equal(value, after[name])]
    assert unchanged == []


def test_fixed_temperature_stays() -> None:
    learner = built(temperature=0.2)
    for _ in range(3):
        metrics = learner.update(batch(), make_generator("cpu", "noise"))
    assert metrics["temperature"].item() == pytest.approx(0.2)
    assert learner.log_temperature.exp().item() == pytest.approx(0.2)
    none = built(temperature=0.0)
    assert torch.isfinite(none.update(batch(), make_generator("cpu", "noise"))["critic_loss"])


def test_targets_move_every_so_many_updates() -> None:
    learner = built(target_every=3)
    moved = []
    for _ in range(6):
        before = learner.target_critics.head_weight.clone()
        learner.update(batch(), make_generator("cpu", "noise"))
        moved.append(not torch.equal(before, learner.target_critics.head_weight))
    assert moved == [False, False, True, False, False, True]


def test_a_learner_that_is_built_again_counts_anew() -> None:
    learner = built(target_every=2)
    learner.update(batch(), make_generator("cpu", "noise"))
    learner.build(TASK)
    learner.make_optimizers()
    before = learner.target_critics.head_weight.clone()
    learner.update(batch(), make_generator("cpu", "noise"))
    assert torch.equal(before, learner.target_critics.head_weight)


def test_learning_rates_are_separate() -> None:
    rows = batch()
    learner = built(actor_lr=1e-1, critic_lr=1e-2, temperature_lr=1e-3)
    before = copy.deepcopy(learner)
    learner.update(rows, make_generator("cpu", "noise"))
    for name, lr in (("policy.head_bias", 1e-1), ("critics.head_bias", 1e-2), ("log_temperature", 1e-3)):
        step = (learner.get_parameter(name) - before.get_parameter(name)).abs().max().item()
        assert step == pytest.approx(lr, rel=1e-3), name  # Adam's first step is its learning rate


def test_automatic_entropy_target_is_minus_the_action_size() -> None:
    assert built().entropy_target == -2.0
    assert built(entropy_target=-0.5).entropy_target == -0.5


def test_critic_terms_are_added_to_the_critics_loss() -> None:
    rows = batch()
    plain, pushed = built(), built()
    first = plain.update(rows, make_generator("cpu", "noise"))
    term = BoundCriticTerm(Push(), slice(0, 0), make_generator("cpu", "term"), lambda metrics: None)
    second = pushed.update(rows, make_generator("cpu", "noise"), [term])
    expected = first["critic_loss"] + 1e4 * first["q_mean"]
    torch.testing.assert_close(second["critic_loss"], expected)
    assert pushed.critics(rows.obs, rows.action).mean() < plain.critics(rows.obs, rows.action).mean()


class Push(CriticTerm):
    """Pushes values down."""

    def __call__(self, batch: Transitions, context: CriticContext) -> torch.Tensor:
        return 1e4 * context.critics(batch.obs, batch.action).mean()


class Noting(CriticTerm):
    """Keeps its context."""

    def __call__(self, batch: Transitions, context: CriticContext) -> torch.Tensor:
        self.context = context
        return batch.reward.new_zeros(())


def test_a_critic_term_sees_the_learner_as_it_is() -> None:
    learner, term, own, reports = built(discount=0.9), Noting(), make_generator("cpu", "term"), []
    place = (slice(2, 5), own, reports.append)
    learner.update(batch(), make_generator("cpu", "noise"), [BoundCriticTerm(term, *place)])
    context = term.context
    assert context.critics is learner.critics and context.target_critics is learner.target_critics
    assert context.policy is learner.policy
    assert context.temperature == 1.0 and context.discount == 0.9  # before the update's own step
    assert (context.model_rows, context.generator) == place[:2]
    context.report({"size": context.temperature})
    assert reports == [{"size": context.temperature}]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_of_critics(count: int) -> None:
    learner = built(critics=count)
    metrics = learner.update(batch(), make_generator("cpu", "noise"))
    assert learner.value(torch.zeros(5, 3)).shape == (count, 5)
    assert all(value.shape == () and torch.isfinite(value) for value in metrics.values())


def test_value_is_differentiable_in_obs_and_leaves_no_other_gradient() -> None:
    learner = built().double()
    obs = batch(dtype=torch.float64).obs.requires_grad_()
    expected = learner.critics(obs, learner.policy.mode(obs))
    torch.testing.assert_close(learner.value(obs), expected)
    learner.value(obs).sum().backward()
    assert obs.grad is not None
    assert all(parameter.grad is None for parameter in learner.parameters())
    assert torch.autograd.gradcheck(learner.value, (obs,))
    assert learner.value(torch.zeros(2, 4, 3, dtype=torch.float64)).shape == (2, 2, 4)


def test_value_of_an_action_by_online_and_target_critics() -> None:
    learner, rows = built(), batch()
    learner.update(rows, make_generator("cpu", "noise"))
    online, target = learner.critics(rows.obs, rows.action), learner.target_critics(rows.obs, rows.action)
    assert not torch.equal(online, target)
    assert torch.equal(learner.value(rows.obs, rows.action), online)
    assert torch.equal(learner.value(rows.obs, rows.action, "target"), target)
    assert torch.equal(learner.value(rows.obs, rows.action, "both"), torch.cat((online, target)))
    mode = learner.policy.mode(rows.obs)
    assert torch.equal(learner.value(rows.obs, critics="target"), learner.value(rows.obs, mode, "target"))
    with pytest.raises(ConfigError, match=r"SAC.value: expected critics to be online, target or both, got 'slow'"):
        learner.value(rows.obs, critics="slow")  # type: ignore[arg-type]


# repeatability -------------------------------------------------------------------------------------------------------


def states_equal(one: SAC, other: SAC) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name]
        for name, value in first.items()
    )


@pytest.mark.parametrize("options", [{}, {"precision": "bf16"}, {"target_every": 4}])
def test_same_generator_same_parameters(options: dict[str, Any]) -> None:
    learners = [built(**options), built(**options)]
    for learner in learners:
        noise = make_generator("cpu", "noise")
        torch.rand(1)  # a global draw changes nothing
        for i in range(3):
            learner.update(batch(seed=i), noise)
    assert states_equal(*learners)
    other = built(seed=1, **options)
    assert not states_equal(learners[0], other)


@pytest.mark.parametrize("options", [{}, {"target_every": 4}, {"temperature": 0.1}, {"log_sigma": "tanh"}])
def test_continues_from_spec_state_and_optimizers_as_if_never_stopped(options: dict[str, Any]) -> None:
    unbroken, noise = built(**options), make_generator("cpu", "noise")
    optimizers = unbroken.make_optimizers()
    for i in range(3):
        unbroken.update(batch(seed=i), noise)
    file = io.BytesIO()
    saved = {
        "spec": unbroken.spec,
        "state": unbroken.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "noise": noise.get_state(),
    }
    torch.save(saved, file)
    for i in range(3, 6):
        unbroken.update(batch(seed=i), noise)

    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    resumed = from_spec(loaded["spec"])
    resumed.build(TASK, seed=123)  # other parameters, all of which the state replaces
    for optimizer, state in zip(resumed.make_optimizers(), loaded["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    resumed.load_state_dict(loaded["state"])
    noise = torch.Generator()
    noise.set_state(loaded["noise"])
    for i in range(3, 6):
        resumed.update(batch(seed=i), noise)
    assert states_equal(unbroken, resumed)


def test_update_reads_nothing_back_and_leaves_the_batch_alone() -> None:
    learner, rows, noise = built(), batch(), make_generator("cpu", "noise")
    kept = rows.map(torch.clone)
    with NoScalarReadback():
        metrics = learner.update(rows, noise)
        learner.value(rows.obs)
    assert {"critic_loss", "actor_loss", "temperature", "entropy", "q_mean"} == set(metrics)
    assert not any(value.requires_grad for value in metrics.values())
    for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated"):
        assert torch.equal(getattr(rows, name), getattr(kept, name))


def test_optimizers_follow_a_move_to_another_dtype_and_device() -> None:
    learner = SAC(hidden=[8])
    learner.build(TASK)
    learner.double()
    learner.make_optimizers()
    learner.update(batch(dtype=torch.float64), make_generator("cpu", "noise"))
    assert all(parameter.dtype is torch.float64 for parameter in learner.parameters())


def test_bf16_stays_near_fp32() -> None:
    exact, quick = built(hidden=[64, 64]), built(hidden=[64, 64], precision="bf16")
    one, other = make_generator("cpu", "noise"), make_generator("cpu", "noise")
    for i in range(20):
        first, second = exact.update(batch(64, i), one), quick.update(batch(64, i), other)
    assert first["critic_loss"].item() != second["critic_loss"].item()
    assert second["critic_loss"].item() == pytest.approx(first["critic_loss"].item(), rel=0.05)
    assert second["entropy"].item() == pytest.approx(first["entropy"].item(), abs=0.05)
    assert all(parameter.dtype is torch.float32 for parameter in quick.parameters())


# learning ------------------------------------------------------------------------------------------------------------


def test_learns_a_bandit() -> None:
    """Reward −(a − 0.5)², one step: the mode goes to 0.5 and Q to the reward."""
    task = Task("", 1, 1, (-1,), (1,))
    learner = SAC(hidden=[32, 32], actor_lr=3e-3, critic_lr=3e-3, temperature=0.01)
    learner.build(task, seed=0)
    learner.make_optimizers()
    noise = make_generator("cpu", "noise")
    for _ in range(300):
        obs = torch.ones(64, 1)
        action = torch.rand(64, 1, generator=noise) * 2 - 1
        reward = -(action[:, 0] - 0.5).square()
        ends = torch.ones(64, dtype=torch.bool)
        learner.update(Transitions(obs, action, reward, obs, ends, ~ends), noise)
    assert learner.policy.mode(torch.ones(1, 1)).item() == pytest.approx(0.5, abs=0.1)
    actions = torch.tensor([[-0.5], [0.5]])
    values = learner.critics(torch.ones(2, 1), actions).mean(0)
    torch.testing.assert_close(values, torch.tensor([-1.0, 0.0]), atol=0.1, rtol=0)


# refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"critics": 0}, r"SAC\(critics=…\): expected a whole number of at least 1, got 0"),
        ({"discount": 1.0}, r"SAC\(discount=…\): expected a number of at least 0 and below 1, got 1.0"),
        ({"critic_lr": 0.0}, r"SAC\(critic_lr=…\): expected a finite number above 0"),
        ({"target_rate": 2.0}, r"SAC\(target_rate=…\): expected a number above 0 and at most 1"),
        ({"target_every": 0}, r"SAC\(target_every=…\): expected a whole number of at least 1"),
        ({"temperature": "auto"}, r"SAC\(temperature=…\): expected a finite number of at least 0, or learned, got 'auto'"),
        ({"temperature": -1.0}, r"SAC\(temperature=…\)"),
        ({"initial_temperature": 0.0}, r"SAC\(initial_temperature=…\): expected a finite number above 0"),
        ({"entropy_target": "-3"}, r"SAC\(entropy_target=…\): expected a finite number, or auto"),
        ({"critic_loss": "huber"}, r"SAC\(critic_loss=…\): expected one of half, full, got 'huber'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SAC(**options)


def test_use_before_build_is_refused() -> None:
    learner = SAC()
    for use in (learner.make_optimizers, lambda: learner.value(torch.zeros(1, 3))):
        with pytest.raises(NotBuiltError, match=r"before build\(task\)"):
            use()
    learner.build(TASK)
    with pytest.raises(NotBuiltError, match=r"before make_optimizers\(\)"):
        learner.update(batch(), make_generator("cpu"))


@pytest.mark.parametrize(
    "constraint",
    [SpectralClip(3.0), SpectralNorm(3.0), Orthogonal(3.0), LipMLP(0.1), JacobianPenalty(10.0, 0.1)],
    ids=lambda part: type(part).__name__,
)
def test_constrained_critics_learn_online_and_target_alike(constraint: LipschitzConstraint) -> None:
    steep, free = built(critic_constraint=constraint, critic_lr=3e-2), built(critic_lr=3e-2)
    rows = batch(64)
    rows.reward *= 100
    for learner in (steep, free):
        for _ in range(60):
            learner.update(rows, make_generator("cpu", 1))
    bound, plain = float(steep.critics.lipschitz_bound().max()), float(free.critics.lipschitz_bound().max())
    if constraint.budget == 3.0:
        assert bound <= 3.0 * 1.5  # power iteration runs one step behind, and these steps are large
        for critics in (steep.critics, steep.target_critics):
            for _ in range(50):
                critics.follow()
            assert float(critics.lipschitz_bound().max()) <= 3.0 * (1 + 1e-3)
        assert plain > 6.0
    else:
        assert bound < 0.8 * plain
    assert not hasattr(steep.policy, "constrained")
    twin = built(critic_constraint=constraint, critic_lr=3e-2)
    twin.load_state_dict(steep.state_dict())
    assert torch.equal(twin.value(rows.obs), steep.value(rows.obs))
    assert from_spec(steep.spec).spec == steep.spec


def test_a_budget_from_data_is_no_budget_of_critics() -> None:
    with pytest.raises(ConfigError, match=r"SAC\(critic_constraint=…\): expected a number for its budget, got 'auto'"):
        SAC(critic_constraint=SpectralClip())


def test_a_target_without_entropy_and_with_a_floor() -> None:
    rows = batch()
    plain, without = built(), built(backup_entropy=False)
    action, log_prob = plain.policy.sample(rows.next_obs, make_generator("cpu", 4))
    smallest = plain.target_critics(rows.next_obs, action).amin(0)
    free = torch.where(rows.terminated, rows.reward, rows.reward + 0.99 * smallest)
    torch.testing.assert_close(without.target(rows, make_generator("cpu", 4)), free)
    alive = ~rows.terminated
    lost = (plain.target(rows, make_generator("cpu", 4)) - free)[alive]
    torch.testing.assert_close(lost, (-0.99 * log_prob)[alive].detach())  # α = 1: minus, not plus
    floored = built(backup_entropy=False, target_floor=0.0).target(rows, make_generator("cpu", 4))
    assert (free < 0).any() and (free > 0).any()
    torch.testing.assert_close(floored, free.clamp(min=0))


@pytest.mark.check("ravl-9.3")
@pytest.mark.parametrize(("start", "end"), [((1.0,), 11487.72), ((1.0, -0.5), -5743.86)])
def test_a_target_at_a_state_that_is_never_updated_diverges_either_way(start: tuple[float, ...], end: float) -> None:
    weights, zero = (
        torch.tensor(start, dtype=torch.float64),
        torch.zeros(1, dtype=torch.float64),
    )  # Q_j(A) = w_j, Q_j(B) = 2 w_j
    patched = weights.clone()
    for _ in range(100):
        target = soft_target(zero, zero.bool(), 2 * weights.amin(0, keepdim=True), zero, zero[0], 0.99)
        weights = weights + 0.1 * (target - weights)
        patched = patched + 0.1 * (0 - patched)
    assert weights[0].item() == pytest.approx(end, rel=1e-6)
    assert patched[0].item() == pytest.approx(2.656e-5, rel=1e-3)
