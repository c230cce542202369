from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mbrl.data import Generator, ModelState, Task, Transitions, draw_balanced, make_generator
from mbrl.errors import ConfigError, NotBuiltError, ShapeError, UnsupportedError
from mbrl.models import GaussianEnsemble
from mbrl.spec import from_spec
from mbrl.testing.no_sync import NoScalarReadback
from tests.models.linear_task import TASK, A, S, linear_rows


def ensemble(task: Task = TASK, seed: int = 0, **options: Any) -> GaussianEnsemble:
    model = GaussianEnsemble(**{"members": 4, "elites": 2, "hidden": [16, 16], **options})
    model.build(task, seed)
    return model


def generator() -> torch.Generator:
    return make_generator("cpu", 0, "ensemble")


def batch(n: int = 32, members: int = 4) -> Transitions:
    """`E x n` rows."""
    return linear_rows(n * members).map(lambda tensor: tensor.unflatten(0, (members, n)))


# loss ------------------------------------------------------------------------------------------------------------------


@pytest.mark.check("coplanner-8")
@pytest.mark.parametrize(("bounds", "charge"), [("learned", 1.26), ("frozen", 0.0)])
def test_loss_of_a_perfect_member_at_the_lowest_variance(bounds: str, charge: float) -> None:
    task = Task("", 11, 2, (-1.0,) * 2, (1.0,) * 2, known_terminated="mbrl.envs.terminations.never")
    model = ensemble(task, members=7, elites=5, bounds=bounds)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.zero_()
        model.network.biases[-1][..., 12:] = -1e3  # raw log-variances of 12 dimensions
    rows = linear_rows(8, obs_size=11)
    rows = Transitions(rows.obs, rows.action, torch.zeros(8), rows.obs, rows.terminated, rows.truncated)
    loss, metrics = model.loss(rows)
    assert loss.item() == pytest.approx(7 * -10 + charge, abs=1e-4)
    assert metrics["mse"].item() == 0


@pytest.mark.check("coplanner-8")
def test_loss_is_twice_the_gaussian_likelihood_without_its_constant() -> None:
    model, rows = ensemble(bounds="frozen"), batch()
    prediction = model.predict(rows.obs[0], rows.action[0])
    everyone = rows.select(torch.zeros(4, dtype=torch.int64))  # member 0's rows for all
    loss, _ = model.loss(everyone)
    normal = torch.distributions.Normal
    obs_nll = -normal(prediction.mean, prediction.var.sqrt()).log_prob(rows.next_obs[0])  # E x B x S
    assert prediction.reward_mean is not None
    assert prediction.reward_var is not None
    reward_nll = -normal(prediction.reward_mean, prediction.reward_var.sqrt()).log_prob(rows.reward[0])
    nll = torch.cat((obs_nll, reward_nll.unsqueeze(-1)), -1).mean((1, 2)).sum()
    assert (0.5 * (loss + 4 * math.log(2 * math.pi))).item() == pytest.approx(nll.item(), rel=1e-5)


@pytest.mark.check("coplanner-8")
def test_the_best_log_variance_of_a_residual() -> None:
    model = ensemble(bounds="frozen", learn_reward=False, log_var_min=-20.0, log_var_max=10.0)
    e = 0.3
    rows = linear_rows(4)
    rows = Transitions(rows.obs, rows.action, rows.reward, rows.obs + e, rows.terminated, rows.truncated)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.zero_()
    values = {}
    for raw in torch.arange(-4.0, 0.0, 0.01).tolist():
        with torch.no_grad():
            model.network.biases[-1][..., S:] = raw
        values[raw] = model.loss(rows)[0].item() / 4
    at = min(values, key=lambda raw: values[raw])
    assert at == pytest.approx(math.log(e**2), abs=0.011)
    assert values[at] == pytest.approx(1 + math.log(e**2), abs=1e-3)


@pytest.mark.check("coplanner-9")
def test_a_members_data_reach_no_other_members_gradient() -> None:
    gradients = []
    for shift in (0.0, 1.0):
        model, rows = ensemble(bounds="frozen"), batch()
        rows.next_obs[1] += shift
        model.loss(rows)[0].backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for before, after in zip(*gradients, strict=True):
        for member in range(4):
            assert torch.equal(before[member], after[member]) == (member != 1)


@pytest.mark.check("coplanner-10")
@pytest.mark.parametrize(("form", "times"), [("half", 1.0), ("full", 2.0)])
def test_weight_decay_gradient(form: str, times: float) -> None:
    model = ensemble(weight_decay=[0.1, 0.2, 0.3], decay_form=form)
    (optimizer,) = model.make_optimizers()
    weights = [weight.detach().clone() for weight in model.network.weights]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    # with no other gradient, Adam's first moment is a tenth of the decay's gradient
    for weight, parameter, decay in zip(weights, model.network.weights, (0.1, 0.2, 0.3), strict=True):
        torch.testing.assert_close(optimizer.state[parameter]["exp_avg"], 0.1 * times * decay * weight)
    for bias in (*model.network.biases, *model.log_var_bounds.parameters()):
        assert not optimizer.state[bias]["exp_avg"].any()


def test_adams_decay_reaches_all_parameters() -> None:
    model = ensemble(weight_decay=0.5, decay_form="adam")
    (optimizer,) = model.make_optimizers()
    high = model.log_var_bounds.high
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(optimizer.state[high]["exp_avg"], torch.full((S + 1,), 0.1 * 0.5 * 0.5))


def test_default_decay_is_the_authors_and_stretches_to_other_depths() -> None:
    assert GaussianEnsemble().layer_decay == [2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4]
    assert GaussianEnsemble(hidden=[8]).layer_decay == [2.5e-5, 1e-4]
    assert GaussianEnsemble(hidden=[8] * 5).layer_decay == [2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 7.5e-5, 1e-4]
    assert GaussianEnsemble(hidden=[8], weight_decay=0.1).layer_decay == [0.1, 0.1]


def test_the_order_of_outputs_changes_nothing() -> None:
    model, rows = ensemble(), batch()
    first = model.loss(rows)[0].item()
    order = torch.tensor([2, 0, 1])  # observations of the task in another order, and the network's columns with them
    columns = torch.cat((order, torch.tensor([S]), S + 1 + order, torch.tensor([2 * S + 1])))
    with torch.no_grad():
        model.network.weights[-1].copy_(model.network.weights[-1][..., columns])
        model.network.biases[-1].copy_(model.network.biases[-1][..., columns])
        first_layer = model.network.weights[0]
        first_layer[:, :S] = first_layer[:, order]
    moved = Transitions(
        rows.obs[..., order], rows.action, rows.reward, rows.next_obs[..., order], rows.terminated, rows.truncated
    )
    assert model.loss(moved)[0].item() == pytest.approx(first, abs=1e-5)


def test_learned_bounds_move_and_frozen_ones_stay() -> None:
    for bounds, moves in (("learned", True), ("frozen", False)):
        model = ensemble(bounds=bounds)
        model.update(batch())
        assert bool((model.log_var_bounds.high != 0.5).all()) is moves


def test_deterministic_members_have_squared_error_and_no_variance() -> None:
    model, rows = ensemble(deterministic=True), batch()
    loss, metrics = model.loss(rows)
    assert loss.item() == pytest.approx(4 * metrics["mse"].item(), rel=1e-5)
    assert not model.predict(rows.obs, rows.action).var.any()


def test_termination_is_learned_where_it_is_unknown() -> None:
    unknown = Task("", S, A, (-1.0,) * A, (1.0,) * A)
    model = ensemble(unknown, lr=1e-2, weight_decay=0.0)
    rows = batch(128)
    rows.terminated = rows.obs[..., 0] > 0.5
    first = model.update(rows)["terminated_loss"]
    for _ in range(150):
        last = model.update(rows)["terminated_loss"]
    assert last < 0.5 * first
    logit = model.predict(rows.obs[0], rows.action[0]).terminated_logit
    assert logit is not None
    assert ((logit > 0) == rows.terminated[0]).float().mean() > 0.9
    assert ensemble().predict(rows.obs[0], rows.action[0]).terminated_logit is None
    state = model.start(rows.map(lambda tensor: tensor[0]), generator())
    assert model.step(state, rows.action[0]).terminated.any()
    silent = ensemble(unknown, learn_terminated=False)
    with pytest.raises(UnsupportedError, match="termination"):
        silent.step(silent.start(rows.map(lambda tensor: tensor[0]), generator()), rows.action[0])


def test_reward_is_learned_where_it_is_unknown() -> None:
    known = Task("", S, A, (-1.0,) * A, (1.0,) * A, known_reward="mbrl.envs.terminations.never")
    rows = linear_rows(4)
    assert ensemble(known).predict(rows.obs, rows.action).reward_mean is None
    assert ensemble(known, learn_reward=True).predict(rows.obs, rows.action).reward_mean is not None
    assert ensemble(learn_reward=False).predict(rows.obs, rows.action).reward_mean is None
    assert ensemble().outputs == S + 1


# prediction ------------------------------------------------------------------------------------------------------------


@pytest.mark.check("coplanner-12")
def test_change_is_added_to_the_observation_as_it_came() -> None:
    """An oracle member of s' = s + W a, behind a normaliser whose mean and sd are far from 0 and 1."""
    model = ensemble(members=1, elites=1, hidden=[2 * A], activation="relu", learn_reward=False)
    rows = linear_rows(500)
    obs = rows.obs * torch.tensor([1.0, 30.0, 0.1]) + torch.tensor([100.0, -20.0, 5.0])
    model.normalizer.fit(torch.cat((obs, rows.action), -1))
    gain = torch.tensor([[0.5, -1.0, 2.0], [0.0, 3.0, -0.25]])  # A x S
    sd, mean = model.normalizer.sd[S:], model.normalizer.mean_high[S:]
    with torch.no_grad():
        first, last = model.network.weights
        first.zero_()
        last.zero_()
        for i in range(A):
            for sign, unit in ((1.0, 2 * i), (-1.0, 2 * i + 1)):  # a = relu(a) − relu(−a)
                first[0, S + i, unit] = sign * sd[i]
                model.network.biases[0][0, 0, unit] = sign * mean[i]
                last[0, unit, :S] = sign * gain[i]
    predicted = model.predict(obs, rows.action).mean[0]
    torch.testing.assert_close(predicted, obs + rows.action @ gain, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,)])
def test_leading_dims_are_free_and_a_drawn_member_is_the_one_of_all(shape: tuple[int, ...]) -> None:
    model = ensemble()
    model.fit_inputs(model.begin_fit(linear_rows(100), generator()))
    obs = torch.randn(*shape, S, generator=generator())
    action = torch.rand(*shape, A, generator=generator())
    member = torch.randint(4, shape, generator=generator())
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            everyone, drawn = model.predict(obs, action), model.predict(obs, action, member)
        for name, size in (("mean", (S,)), ("var", (S,)), ("reward_mean", ()), ("reward_var", ())):
            all_values, value = getattr(everyone, name), getattr(drawn, name)
            assert all_values.shape == (4, *shape, *size)
            index = member.view(1, *shape, *[1] * len(size)).expand(1, *shape, *size)
            torch.testing.assert_close(value, all_values.gather(0, index)[0], rtol=1e-5, atol=1e-6)


def test_prediction_is_differentiable_in_obs_and_action() -> None:
    model = ensemble().double()
    obs = torch.randn(3, S, generator=generator(), dtype=torch.float64, requires_grad=True)
    action = torch.rand(3, A, generator=generator(), dtype=torch.float64, requires_grad=True)
    member = torch.tensor([2, 0, 2])
    assert torch.autograd.gradcheck(lambda o, a: model.predict(o, a, member).mean, (obs, action))


def test_hot_paths_read_nothing_back() -> None:
    model, rows = ensemble(), batch()
    model.make_optimizers()
    model.update(rows)
    flat = rows.map(lambda tensor: tensor[0])
    with NoScalarReadback():
        model.update(rows)
    with NoScalarReadback(value_sized=False), torch.no_grad():
        model.step(model.start(flat, generator()), flat.action)


def test_shapes_need_no_values() -> None:
    model = ensemble().to("meta")
    obs, action = torch.empty(9, S, device="meta"), torch.empty(9, A, device="meta")
    member = torch.empty(9, dtype=torch.int64, device="meta")
    with torch.no_grad():
        assert model.predict(obs, action, member).mean.shape == (9, S)
        assert model.predict(obs, action).mean.shape == (4, 9, S)


# elites ----------------------------------------------------------------------------------------------------------------


@pytest.mark.check("coplanner-13")
def test_elites_are_the_members_with_the_lowest_scores() -> None:
    model = ensemble(members=7, elites=5)
    scores = torch.tensor([5.0, 1, 4, 2, 7, 3, 6])
    model.rank_members(scores)
    assert model.drawn_members.tolist() == [1, 3, 5, 2, 0]
    order = torch.randperm(7, generator=generator())
    model.rank_members(scores[order])
    assert order[model.drawn_members].tolist() == [1, 3, 5, 2, 0]  # permuting members permutes elites


@pytest.mark.check("coplanner-13")
def test_rollouts_draw_elites_only_and_all_alike() -> None:
    model = ensemble(members=7, elites=5)
    model.rank_members(torch.tensor([5.0, 1, 4, 2, 7, 3, 6]))
    source, counts = generator(), torch.zeros(7)
    for _ in range(300):
        counts += torch.bincount(draw_balanced(source, 7, model.drawn_members), minlength=7)
    assert not counts[[4, 6]].any()
    drawn = counts[[0, 1, 2, 3, 5]]
    assert ((drawn - 420).square() / 420).sum() < 18.5  # χ² with 4 degrees of freedom: 0.1 %


@pytest.mark.parametrize("rows", [1, 7, 40])
@pytest.mark.parametrize("known_reward", [None, "mbrl.envs.rewards.pendulum"])
def test_rollouts_that_keep_a_member_are_their_steps(rows: int, known_reward: str | None) -> None:
    """They lay out their members once; the numbers are those of steps one by one, ragged shares and ends included."""
    task = Task("", 3, 1, (-1.0,), (1.0,), known_reward=known_reward)
    model = ensemble(task, members=3, elites=None, chunk_rows=4)
    starts = Transitions.from_obs(torch.randn(rows, 3, generator=generator()), 1)
    plan = torch.rand(rows, 4, 1, generator=generator()) * 2 - 1
    with torch.no_grad():
        whole = model.rollout(model.start(starts, generator(), follow=True), plan)
        state = model.start(starts, generator(), follow=True)
        for number, action in enumerate(plan.unbind(1)):
            step = model.step(state, action)
            for name in ("obs", "action", "next_obs", "reward"):
                torch.testing.assert_close(getattr(whole[number], name), getattr(step, name), rtol=1e-4, atol=1e-5)
            assert torch.equal(whole[number].terminated, step.terminated)
            torch.testing.assert_close(whole[number].state.obs, step.state.obs, rtol=1e-4, atol=1e-5)
            state = step.state


def test_a_step_asks_elites_only() -> None:
    model = ensemble(members=3, elites=1, deterministic=True, learn_reward=True)
    model.rank_members(torch.tensor([3.0, 1.0, 2.0]))
    rows = linear_rows(20)
    step = model.step(model.start(rows, generator()), rows.action, want=("prediction",))
    assert step.prediction is not None
    torch.testing.assert_close(step.next_obs, step.prediction.mean[1])
    assert ensemble(elites=None).drawn_members.tolist() == [0, 1, 2, 3]


# state -----------------------------------------------------------------------------------------------------------------


class Holder(torch.nn.Module):
    def __init__(self, model: GaussianEnsemble) -> None:
        super().__init__()
        self.model = model


@pytest.mark.parametrize("nested", [False, True])
def test_a_fitted_model_is_rebuilt_from_spec_and_state_dict(nested: bool) -> None:
    model = ensemble(max_epochs=3)
    rows = linear_rows(100)
    model.refit(rows, generator())
    other: GaussianEnsemble = from_spec(model.spec)
    other.build(TASK, seed=1)
    if nested:
        Holder(other).load_state_dict(Holder(model).state_dict())
    else:
        other.load_state_dict(model.state_dict())
    assert torch.equal(other.drawn_members, model.drawn_members)
    for value, again in zip(
        vars(model.predict(rows.obs, rows.action)).values(), vars(other.predict(rows.obs, rows.action)).values(), strict=True
    ):
        assert (value is None and again is None) or torch.equal(value, again)


def test_the_seed_alone_makes_the_parameters() -> None:
    first, again, other = (ensemble(seed=seed).network.weights[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# refusals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"elites": 9}, r"elites=…\): expected a whole number from 1 to 7, got 9"),
        ({"hidden": []}, "hidden=….*at least 1"),
        ({"activation": "swish"}, "activation=….*silu.*got 'swish'"),
        ({"weight_decay": [0.1]}, "weight_decay=….*shape 5, got 1; give one number per hidden layer"),
        ({"decay_form": "adam"}, "weight_decay=….*a number beside decay_form='adam'"),
        ({"log_var_min": 1.0}, "log_var_min=….*below 0.5, got 1.0"),
        ({"bounds": "fixed"}, "bounds=….*learned, frozen, got 'fixed'"),
        ({"holdout": 0.0, "best_weights": "never"}, "elites=….*None beside a holdout of 0"),
        ({"precision": "fp16"}, "precision=….*fp32, bf16"),
        ({"chunk_rows": 0}, "chunk_rows=….*at least 1"),
    ],
)
def test_refused_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GaussianEnsemble(**options)


class OtherState(ModelState):
    obs = torch.zeros(4, S)

    def select(self, rows: torch.Tensor) -> ModelState:
        return self

    def tile(self, n: int) -> ModelState:
        return self

    def fork(self, generator: Generator) -> ModelState:
        return self


def test_a_state_of_another_kind_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"GaussianEnsemble.step: expected an ObsState, got OtherState; override"):
        ensemble().step(OtherState(), torch.zeros(4, A))


def test_wrong_shapes_and_an_unbuilt_model_are_refused() -> None:
    model = ensemble()
    with pytest.raises(
        ShapeError, match=r"predict\(action\): expected shape 4 x 2, got 5 x 2; give one action per observation"
    ):
        model.predict(torch.zeros(4, 3), torch.zeros(5, 2))
    with pytest.raises(ShapeError, match=r"predict\(member\): expected shape 4, got 3; give one member per row"):
        model.predict(torch.zeros(4, 3), torch.zeros(4, 2), torch.zeros(3, dtype=torch.int64))
    for use in (lambda m: m.predict(torch.zeros(4, 3), torch.zeros(4, 2)), lambda m: m.drawn_members):
        with pytest.raises(NotBuiltError, match=r"before build\(task\)"):
            use(GaussianEnsemble())


# termination -------------------------------------------------------------------------------------------------------------


def with_logit(logit: float, **options: Any) -> GaussianEnsemble:
    """An ensemble that says the same termination logit everywhere."""
    model = ensemble(Task("", S, A, (-1.0,) * A, (1.0,) * A), learn_reward=True, **options)
    with torch.no_grad():
        model.network.weights[-1][..., -1] = 0
        model.network.biases[-1][..., -1] = logit
    return model


@pytest.mark.parametrize("follow", [False, True])
def test_a_learned_termination_is_drawn_by_its_probability(follow: bool) -> None:
    """Thresholded, an end of probability 0.2 would never come."""
    plan = torch.zeros(4000, 2, A)
    steps = {}
    for termination in ("drawn", "threshold"):
        model = with_logit(math.log(0.2 / 0.8), termination=termination)
        with torch.no_grad():
            steps[termination] = model.rollout(model.start(linear_rows(4000), generator(), follow=follow), plan)
    share = torch.stack([step.terminated for step in steps["drawn"]]).double().mean().item()
    assert share == pytest.approx(0.2, abs=0.02)
    assert not any(bool(step.terminated.any()) for step in steps["threshold"])
    first, other = steps["drawn"][0], steps["threshold"][0]
    assert torch.equal(first.next_obs, other.next_obs) and torch.equal(first.reward, other.reward)  # it moves no other draw


def test_a_known_termination_draws_nothing() -> None:
    ends = {}
    for termination in ("drawn", "threshold"):
        model, source = ensemble(termination=termination), generator()
        with torch.no_grad():
            model.rollout(model.start(linear_rows(20), source), torch.zeros(20, 3, A))
        ends[termination] = source.get_state()
    assert torch.equal(ends["drawn"], ends["threshold"])


def test_the_score_sees_the_ends() -> None:
    rows = linear_rows(50)
    rows.terminated[:10] = True
    model = with_logit(math.log(0.2 / 0.8))
    entropy = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    without = (model.predict(rows.obs, rows.action).mean - rows.next_obs).square()
    reward = model.predict(rows.obs, rows.action).reward_mean
    assert reward is not None
    square = torch.cat((without, (reward - rows.reward).square()[..., None]), -1).mean((1, 2))
    assert torch.allclose(model.score(rows).float(), square + entropy, atol=1e-5)


def test_an_overridden_sample_is_what_rollouts_do() -> None:
    class Still(GaussianEnsemble):
        def sample(self, state: Any, action: torch.Tensor, drawn: Any) -> Any:
            step = super().sample(state, action, drawn)
            step.next_obs = step.next_obs * 0
            return step

    model = Still(members=4, elites=2, hidden=[16, 16])
    model.build(TASK)
    with torch.no_grad():
        (step,) = model.rollout(model.start(linear_rows(5), generator(), follow=True), torch.zeros(5, 1, A))
    assert not step.next_obs.any()
