"""SequenceSAC: SAC at J = 1, temporal recall in the actor's loss, and who gets which gradient."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Task, Transitions, make_generator
from mbrl.errors import ConfigError, NotBuiltError, UnsupportedError
from mbrl.networks import SpectralClip
from mbrl.policies import SAC, Recalled, SequenceSAC
from mbrl.testing import check_learner
from mbrl.testing.no_sync import NoScalarReadback

TASK = Task("", obs_size=3, action_size=2, action_low=(-1, -1), action_high=(1, 1))


def built(length: int = 3, seed: int = 0, **options: Any) -> SequenceSAC:
    learner = SequenceSAC(length, **{"hidden": [16, 12], **options})
    learner.build(TASK, seed)
    learner.make_optimizers()
    return learner


def batch(rows: int = 8, seed: int = 0) -> Transitions:
    generator = make_generator("cpu", "batch", seed)
    return Transitions(
        obs=torch.randn(rows, 3, generator=generator),
        action=torch.rand(rows, 2, generator=generator) * 2 - 1,
        reward=torch.randn(rows, generator=generator),
        next_obs=torch.randn(rows, 3, generator=generator),
        terminated=torch.rand(rows, generator=generator) < 0.3,
        truncated=torch.zeros(rows, dtype=torch.bool),
        extras={"prev_action": torch.rand(rows, 2, generator=generator) * 2 - 1},
    )


def noise() -> torch.Generator:
    return make_generator("cpu", "noise")


def stays(obs: Tensor, actions: Tensor) -> Recalled:
    """The model of a task in which nothing happens."""
    states = obs.expand(actions.shape[1], *obs.shape)
    return Recalled(states, torch.ones(states.shape[:2], dtype=torch.bool))


def moves(obs: Tensor, actions: Tensor) -> Recalled:
    """The model in which actions move the first two dims."""
    pushed = torch.cat((actions.cumsum(1), torch.zeros_like(actions[..., :1])), -1).transpose(0, 1)
    states = obs + torch.cat((torch.zeros_like(pushed[:1]), pushed[:-1]))
    return Recalled(states, torch.ones(states.shape[:2], dtype=torch.bool))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cell": "rnn", "log_sigma": "tanh", "temperature": 0.2, "critic_loss": "full", "normalize_obs": True},
        {"time_aware_critic": True},
        {"actor_reduce": "mean", "temperature_reduce": "first", "critics": 3, "target_every": 2, "bp_through_time": True},
    ],
)
def test_it_keeps_the_contract_of_learners(options: dict[str, Any]) -> None:
    check_learner(lambda: SequenceSAC(1, hidden=[8, 8], **options), TASK)


# J = 1 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.check("srl-9.2")
def test_one_action_is_sac_bit_for_bit() -> None:
    ours, sac = built(1), SAC(hidden=[16, 12])
    sac.build(TASK)
    sac.policy = copy.deepcopy(ours.policy)  # type: ignore[assignment]
    sac.critics.load_state_dict(ours.critics.state_dict())
    sac.target_critics.load_state_dict(ours.critics.state_dict())
    sac.make_optimizers()
    first, second = noise(), noise()
    for seed in range(3):
        rows = batch(seed=seed)
        said, expected = ours.update(rows, first), sac.update(rows, second)
        for name, value in expected.items():
            assert torch.equal(said[name], value), name
    for (name, value), expected in zip(ours.state_dict().items(), sac.state_dict().values(), strict=True):
        if isinstance(value, Tensor):
            assert torch.equal(value, expected), name


@pytest.mark.check("srl-9.2")
def test_the_model_counts_from_the_second_action_on() -> None:
    for length in (1, 2):
        gradients = []
        for recall in (stays, moves):
            learner = built(length)
            learner.update_actor(batch(), noise(), recall)
            gradients.append([parameter.grad.clone() for parameter in learner.policy.parameters()])  # type: ignore[union-attr]
        same = all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
        assert same is (length == 1)


# the loss ------------------------------------------------------------------------------------------------------------


def terms_of(learner: SequenceSAC, rows: Transitions, recall: Any) -> tuple[Tensor, Tensor]:
    """α log π_j − min Q(ŝ_j, a_j) one action at a time, `J x B`, and the log-probabilities."""
    actions, log_prob = learner.policy.sequence(rows.obs, rows.extras["prev_action"], learner.length, noise())
    states = recall(rows.obs, actions.detach()).obs
    found = []
    for place in range(learner.length):
        value = learner.critics(states[place], actions[:, place]).amin(0)
        found.append(learner.log_temperature.detach().exp() * log_prob[:, place] - value)
    return torch.stack(found), log_prob


@pytest.mark.check("srl-9.3")
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_one_call_of_the_critics_is_a_loop_over_actions(reduce: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, learner = batch(), built(actor_reduce=reduce, initial_temperature=0.3)
    twin = copy.deepcopy(learner)
    twin.make_optimizers()
    terms, _ = terms_of(twin, rows, moves)
    expected = terms.mean(1).sum() if reduce == "sum" else terms.mean()
    expected.backward()
    calls: list[int] = []
    forward = type(learner.critics).forward
    monkeypatch.setattr(type(learner.critics), "forward", lambda *given, **kw: (calls.append(1), forward(*given, **kw))[1])
    report = learner.update_actor(rows, noise(), moves)
    assert len(calls) == 1
    torch.testing.assert_close(report["actor_loss"], expected.detach())
    for ours, theirs in zip(learner.policy.parameters(), twin.policy.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)
    assert all(parameter.grad is None for parameter in learner.critics.parameters())


@pytest.mark.check("srl-9.3")
def test_equal_terms_make_j_times_the_loss_and_the_same_temperature() -> None:
    found = []
    for length in (1, 4):
        learner = built(length, temperature=0.0, critics=1)
        with torch.no_grad():
            learner.critics.head_weight.zero_()
            learner.critics.head_bias.fill_(2.5)  # each action is worth as much, wherever it is taken
        found.append(learner.update_actor(batch(), noise(), stays)["actor_loss"].item())
    assert found == pytest.approx([-2.5, -10.0], rel=1e-6)
    drifts = []
    for reduce in ("sum", "mean"):
        learner = built(4, actor_reduce=reduce)
        learner.update_actor(batch(), noise(), stays)
        drifts.append(learner.log_temperature.grad.clone())  # type: ignore[union-attr]
    assert torch.equal(*drifts)


@pytest.mark.check("srl-9.1")
def test_the_temperature_has_the_published_gradient_and_first_step() -> None:
    task = Task("", 2, 3, (-1,) * 3, (1,) * 3)
    learner = SequenceSAC(1, hidden=[4])
    learner.build(task)
    learner.make_optimizers()
    learner.descend_actor(sum(p.sum() for p in learner.policy.parameters()), torch.tensor(1.0), torch.tensor(1.0))  # type: ignore[arg-type]
    assert learner.log_temperature.grad is not None
    assert learner.log_temperature.grad.item() == pytest.approx(4.0)
    assert learner.log_temperature.exp().item() == pytest.approx(0.99970004, abs=1e-7)


@pytest.mark.check("srl-9.1")
@pytest.mark.parametrize(("terminated", "expected"), [(False, 3.277), (True, 1.0)])
def test_the_critics_target_has_the_published_values(terminated: bool, expected: float, monkeypatch: Any) -> None:
    learner = built(temperature=0.2)
    with torch.no_grad():
        learner.target_critics.head_weight.zero_()
        learner.target_critics.head_bias.copy_(torch.tensor([[3.0], [2.0]]))
    rows = batch(2)
    rows.reward.fill_(1.0)
    rows.terminated.fill_(terminated)
    monkeypatch.setattr(
        learner.policy, "sample", lambda obs, generator, prev_action: (prev_action, torch.tensor([-1.5, -1.5]))
    )
    torch.testing.assert_close(learner.target(rows, noise()), torch.full((2,), expected))


def test_the_target_asks_for_the_first_action_after_the_one_that_was_taken() -> None:
    learner, rows = built(), batch()
    action, log_prob = learner.policy.sample(rows.next_obs, noise(), rows.action)
    value = learner.target_critics(rows.next_obs, action).amin(0) - log_prob
    expected = torch.where(rows.terminated, rows.reward, rows.reward + 0.99 * value).detach()
    torch.testing.assert_close(learner.target(rows, noise()), expected)


@pytest.mark.check("srl-9.3")
def test_the_critics_step_does_not_know_the_model() -> None:
    rows, found = batch(), []
    for recall in (stays, moves):
        learner = built()
        learner.update_critics(rows, noise())
        learner.update_actor(rows, noise(), recall)
        found.append(copy.deepcopy(learner.critics.state_dict()))
    assert all(torch.equal(a, b) for a, b in zip(found[0].values(), found[1].values(), strict=True))


def test_actions_behind_an_end_do_not_count() -> None:
    def ends(obs: Tensor, actions: Tensor) -> Recalled:
        said = moves(obs, actions)
        said.alive[1:, ::2] = False
        return said

    rows, learner = batch(), built(initial_temperature=0.3)
    terms, log_prob = terms_of(copy.deepcopy(learner), rows, moves)
    kept = ends(rows.obs, rows.action.unsqueeze(1).expand(-1, 3, -1)).alive
    report = learner.update_actor(rows, noise(), ends)
    torch.testing.assert_close(report["actor_loss"], (terms * kept).mean(1).sum().detach())
    torch.testing.assert_close(report["entropy"], -(log_prob.mT * kept).sum().detach() / kept.sum())
    torch.testing.assert_close(report["recalled"], kept.float().mean())


@pytest.mark.parametrize("through", [False, True])
def test_values_behind_an_end_may_be_anything(through: bool) -> None:
    def overflows(obs: Tensor, actions: Tensor) -> Recalled:
        said = moves(obs, actions)
        said.alive[1:, ::2] = False
        said.obs[1:, ::2] = 3e38
        return said

    rows, learner = batch(), built(bp_through_time=through)
    assert torch.isfinite(learner.update_actor(rows, noise(), overflows)["actor_loss"])
    assert all(bool(parameter.isfinite().all()) for parameter in learner.policy.parameters())


def test_alpha_holds_the_entropy_of_what_is_scored_and_counts() -> None:
    """With a gradient through time that is the last action's, where the sequence gets there."""
    rows = batch()
    for reduce, place in (("mean", 2), ("first", 0)):
        learner = built(bp_through_time=True, temperature_reduce=reduce)
        log_prob = terms_of(learner, rows, moves)[1].detach()

        def ends(obs: Tensor, actions: Tensor) -> Recalled:
            said = moves(obs, actions)
            said.alive[2, ::2] = False
            return said

        counts = torch.arange(len(rows)) % 2 == 1 if place == 2 else torch.ones(len(rows), dtype=torch.bool)
        report = learner.update_actor(rows, noise(), ends)
        torch.testing.assert_close(report["entropy"], -log_prob[counts, place].mean())


def test_the_entropy_that_alpha_holds_is_the_mean_or_the_first_actions() -> None:
    rows = batch()
    log_prob = terms_of(built(), rows, stays)[1].detach()
    for reduce, expected in (("mean", -log_prob.mean()), ("first", -log_prob[:, 0].mean())):
        report = built(temperature_reduce=reduce).update_actor(rows, noise(), stays)
        torch.testing.assert_close(report["entropy"], expected)
        torch.testing.assert_close(report["entropy_first"], -log_prob[:, 0].mean())
        torch.testing.assert_close(report["entropy_last"], -log_prob[:, -1].mean())


def test_back_propagation_through_time_scores_the_last_action_where_it_is_taken() -> None:
    rows, learner = batch(), built(bp_through_time=True)
    twin = copy.deepcopy(learner)
    actions, log_prob = twin.policy.sequence(rows.obs, rows.extras["prev_action"], 3, noise())
    states = moves(rows.obs, actions).obs
    expected = (log_prob[:, -1] - twin.critics(states[-1], actions[:, -1]).amin(0)).mean()
    expected.backward()
    torch.testing.assert_close(learner.update_actor(rows, noise(), moves)["actor_loss"], expected.detach())
    for ours, theirs in zip(learner.policy.parameters(), twin.policy.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_time_aware_critics_learn_at_predicted_states_and_score_each_action_at_its_place() -> None:
    rows, learner = batch(12), built(time_aware_critic=True, critic_loss="full")
    windows = rows.map(lambda column: column.unflatten(0, (4, 3)))  # 4 windows of 3 steps
    segments = learner.segments(windows, torch.arange(3).expand(4, 3), moves)
    states = moves(windows.obs[:, 0], windows.action).obs  # J x W x S
    expected = torch.zeros(())
    draws = learner.policy.sample(segments.next_obs, noise(), segments.action)
    for place in range(3):
        at = slice(4 * place, 4 * place + 4)
        assert torch.equal(segments.reward[at], windows.reward[:, place])
        value = learner.target_critics(windows.next_obs[:, place], draws[0][at], place=torch.zeros(4)).amin(0) - draws[1][at]
        target = windows.reward[:, place] + 0.99 * value * ~windows.terminated[:, place]
        said = learner.critics(states[place], windows.action[:, place], place=torch.full((4,), float(place)))
        expected = expected + (said - target.detach()).square().mean(1).sum() / 3
    torch.testing.assert_close(learner.update_critics(segments, noise())["critic_loss"], expected.detach())
    actions, log_prob = learner.policy.sequence(rows.obs, rows.extras["prev_action"], 3, noise())
    recalled = moves(rows.obs, actions.detach()).obs
    loss = torch.zeros(())
    for place in range(3):
        value = learner.critics(recalled[place], actions[:, place], place=torch.full((12,), float(place))).amin(0)
        loss = loss + (log_prob[:, place] - value).mean()
    torch.testing.assert_close(learner.update_actor(rows, noise(), moves)["actor_loss"], loss.detach())
    slopes = learner.critics.action_slopes(rows.obs, rows.action)
    at = rows.action.clone().requires_grad_()
    (found,) = torch.autograd.grad(learner.critics(rows.obs, at)[0].sum(), at)
    torch.testing.assert_close(slopes[0], found)


def test_nothing_is_read_back() -> None:
    learner, rows = built(), batch()
    with NoScalarReadback():
        learner.update_critics(rows, noise())
        learner.update_actor(rows, noise(), moves)
        learner.end_update()


# wrong use -----------------------------------------------------------------------------------------------------------


def test_sequences_without_a_model_are_refused() -> None:
    learner = built(2)
    for call in (learner.update, learner.update_actor):
        with pytest.raises(UnsupportedError, match=r"train it with the planner mbrl\.planners\.SRL, or set length to 1"):
            call(batch(), noise())  # type: ignore[operator]


def test_wrong_options_are_refused() -> None:
    for options in ({"length": 0}, {"length": 2.5}, {"cell": "lstm"}, {"actor_reduce": "max"}, {"initial": "ravl"}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            SequenceSAC(**options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected no critic_constraint beside it"):
        SequenceSAC(time_aware_critic=True, critic_constraint=SpectralClip(3.0))
    with pytest.raises(NotBuiltError, match="SequenceSAC"):
        SequenceSAC(2).update_actor(batch(), noise(), stays)
