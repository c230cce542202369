"""SRL: when it looks, what it stores, who learns from which batch, and what it refuses."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Transitions, make_generator
from mbrl.envs import VectorExperience, make_task
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.models import GaussianEnsemble, GaussianProcess, NextObsNetwork, SimulatorModel, SINDy, VaGraM
from mbrl.networks import Library
from mbrl.planners import PETS, SRL, Dyna, OfflineDyna, evaluate
from mbrl.planners.plans import CEM
from mbrl.policies import SAC, SequenceSAC
from mbrl.testing import LinearModel, linear_task
from mbrl.testing.no_sync import NoScalarReadback

TASK = linear_task(ends=False, time_limit=10)


def made(length: int = 4, seed: int = 0, model: Any = None, task: Any = TASK, **options: Any) -> SRL:
    learner = options.pop("learner", None) or SequenceSAC(length, hidden=[8, 8])
    settings = {"warmup_steps": 4, "refit_every": 100, "batch_size": 8, **options}
    planner = SRL(model or NextObsNetwork([8]), learner, **settings)
    planner.build(task, seed)
    planner.make_optimizers()
    return planner


def ticked(planner: SRL, ticks: int, envs: int = 1) -> Transitions:
    """All rows after so many ticks."""
    experience = VectorExperience(TASK, envs, seed=0)
    experience.reset(0)
    for _ in range(ticks):
        planner.tick(experience)
    return planner.real_buffer.all()


class Looks:
    """Counts the decisions of a policy by the number of actions asked for, and keeps what it said."""

    def __init__(self, planner: SRL, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lengths: list[int] = []
        self.said: list[Tensor] = []
        self.before: list[Tensor] = []
        policy = planner.learner.policy
        for name, place in (("sequence", 2), ("mode_sequence", 2)):
            monkeypatch.setattr(policy, name, self.watched(getattr(policy, name), place))

    def watched(self, method: Any, place: int) -> Any:
        def noted(*given: Any) -> Any:
            said = method(*given)
            if not torch.is_grad_enabled():  # an update asks with gradients
                self.lengths.append(given[place])
                self.before.append(given[1].clone())
                self.said.append(said[0] if isinstance(said, tuple) else said)
            return said

        return noted


def test_members_that_are_updated_are_ranked_where_statistics_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model = GaussianEnsemble(members=4, elites=2, hidden=[8], holdout=0.5, batch_size=4)
    planner = made(model=model, task=TASK, model_target=False, refit_every=10)
    assert model.drawn_members.tolist() == [0, 1]
    scores = torch.tensor([3.0, 1.0, 4.0, 2.0])
    monkeypatch.setattr(type(model), "score", lambda self, rows, value=None: scores)
    ticked(planner, 12)
    assert model.drawn_members.tolist() == [1, 3]


# acting --------------------------------------------------------------------------------------------------------------


def test_open_loop_plays_whole_sequences_and_stores_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = made(4, updates_per_step=1)
    looks = Looks(planner, monkeypatch)
    rows = ticked(planner, 24)
    assert len(rows) == 24  # each step of the environment
    # the warm-up ends after 4 steps, and episodes after 10 and 20
    assert looks.lengths == [4, 4, 4, 4, 4, 4]
    played = torch.cat([looks.said[0][0], looks.said[1][0, :2], looks.said[2][0], looks.said[3][0], looks.said[4][0, :2]])
    assert torch.equal(rows.action[4:20], played)
    before = rows.extras["prev_action"]
    assert torch.equal(torch.cat(looks.before), before[[4, 8, 10, 14, 18, 20]])  # where it looked
    begins = torch.arange(24) % 10 == 0
    assert not bool(before[begins].any())
    assert torch.equal(before[1:][~begins[1:]], rows.action[:-1][~begins[1:]])


def test_closed_loop_looks_at_each_step_and_evaluations_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = made(4, collect="closed_loop")
    looks = Looks(planner, monkeypatch)
    ticked(planner, 12)
    assert looks.lengths == [1] * 8
    assert planner.metrics.pop()["train/decisions_per_step"] == 1.0
    looks.lengths.clear()
    memory = planner.memory(2, make_generator("cpu", "evaluation"))
    obs = torch.ones(2, 2) * 0.1
    actions = [planner.act(obs, memory, explore=False)[0] for _ in range(8)]
    assert looks.lengths == [4, 4]
    before = torch.zeros(2, 1)
    assert torch.equal(torch.stack(actions[:4], 1), planner.learner.policy.mode_sequence(obs, before, 4))
    assert torch.equal(torch.stack(actions[4:], 1), planner.learner.policy.mode_sequence(obs, actions[3], 4))


def test_decisions_are_counted_for_each_step() -> None:
    planner = made(4)
    ticked(planner, 24)
    said = planner.metrics.pop()
    assert said["train/decisions_per_step"] == pytest.approx(6 / 20)  # 2 + 3 + 1 after the warm-up
    assert said["train/actor_updates_per_step"] == 1.0
    dyna = Dyna(None, SAC(hidden=[8]), warmup_steps=4, updates_per_step=2, real_ratio=1.0, batch_size=8)
    dyna.build(TASK)
    dyna.make_optimizers()
    ticked(dyna, 8)  # type: ignore[arg-type]
    said = dyna.metrics.pop()
    assert (said["train/decisions_per_step"], said["train/actor_updates_per_step"]) == (1.0, 2.0)


def test_an_evaluation_counts_how_often_it_looked() -> None:
    experience = VectorExperience(TASK, 2, seed=0)
    found = evaluate(made(4), experience, 3, seed=0)
    assert found.lengths.tolist() == [10] * 3
    assert found.decisions is not None and found.decisions.tolist() == [3] * 3


def test_episodes_end_one_by_one_and_only_theirs_is_dropped() -> None:
    planner = made(4)
    memory = planner.memory(3, make_generator("cpu", "acting"))
    obs = torch.ones(3, 2) * 0.1
    planner.act(obs, memory, explore=True)
    assert memory.tensors["left"].tolist() == [3, 3, 3]
    queue = memory.tensors["queue"].clone()
    memory.reset(torch.tensor([False, True, False]))
    assert memory.tensors["left"].tolist() == [3, 0, 3] and not bool(memory.tensors["prev_action"][1].any())
    action, _ = planner.act(obs, memory, explore=True)
    assert torch.equal(action[::2], queue[::2, 0])
    assert memory.tensors["left"].tolist() == [2, 3, 2]


def test_a_sequence_that_was_drawn_to_explore_is_not_played_in_an_evaluation() -> None:
    planner = made(4)
    memory, obs = planner.memory(1, make_generator("cpu", "acting")), torch.ones(1, 2)
    first, _ = planner.act(obs, memory, explore=True)
    assert torch.equal(planner.act(obs, memory, explore=False)[0], planner.learner.policy.mode(obs, first))
    assert planner.decision_length == 4


@pytest.mark.parametrize(
    ("warmup", "changes"), [("uniform", [True] * 7), ("held", [False, False, True, False, False, True, False])]
)
def test_the_warm_up_draws_each_action_or_holds_it(warmup: Any, changes: list[bool]) -> None:
    planner = made(3, warmup_steps=20, warmup=warmup)
    action = ticked(planner, 8).action[:, 0]
    assert (action[1:] != action[:-1]).tolist() == changes
    assert "train/decisions_per_step" not in planner.metrics.pop()


def test_the_warm_up_may_play_sequences_of_the_first_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = made(3, warmup_steps=20, warmup="policy")
    looks = Looks(planner, monkeypatch)
    ticked(planner, 7)
    assert looks.lengths == [3, 3, 3]


def test_a_decision_drops_a_sequence_that_is_still_played() -> None:
    planner = made(4)
    memory, obs = planner.memory(1, make_generator("cpu", "acting")), torch.ones(1, 2) * 0.1
    planner.act(obs, memory, explore=False)
    last = planner.decide(obs, memory, 2)[:, 1]
    assert torch.equal(planner.act(-obs, memory, explore=False)[0], planner.learner.policy.mode(-obs, last))


def test_predict_gives_an_action_at_a_time() -> None:
    planner = made(3)
    obs = torch.tensor([0.1, -0.2])
    said = [planner.predict(obs) for _ in range(4)]
    expected = planner.learner.policy.mode_sequence(obs[None], torch.zeros(1, 1), 3)[0]
    torch.testing.assert_close(torch.stack(said[:3]), expected)
    torch.testing.assert_close(said[3], planner.learner.policy.mode(obs[None], expected[2:])[0])
    planner.reset()
    assert torch.equal(planner.predict(obs), said[0])


# learning ------------------------------------------------------------------------------------------------------------


@pytest.mark.check("srl-9.3")
def test_critics_learn_from_one_batch_and_model_and_actor_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = made(2)
    ticked(planner, 6)
    seen: dict[str, Tensor] = {}
    order: list[str] = []
    for owner, name in (
        (planner.learner, "update_critics"),
        (planner.dynamics, "update"),
        (planner.learner, "update_actor"),
    ):
        method = getattr(owner, name)

        def noted(rows: Transitions, *rest: Any, name: str = name, method: Any = method) -> Any:
            seen[name] = rows.row  # type: ignore[assignment]
            order.append(name)
            return method(rows, *rest)

        monkeypatch.setattr(owner, name, noted)
    planner.learn(1)
    assert order == ["update_critics", "update", "update_actor"]
    assert torch.equal(seen["update"], seen["update_actor"]) and not torch.equal(seen["update"], seen["update_critics"])


def test_time_aware_critics_get_segments_of_one_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = made(3, learner=SequenceSAC(3, hidden=[8], time_aware_critic=True), warmup_steps=14)
    ticked(planner, 14)
    seen: list[Transitions] = []
    update = planner.learner.update_critics
    monkeypatch.setattr(planner.learner, "update_critics", lambda rows, *rest: (seen.append(rows), update(rows, *rest))[1])
    planner.learn(1)
    (rows,) = seen
    assert rows.row is not None
    place, row = rows.extras["place"].long().view(3, 8), rows.row.view(3, 8)
    real = planner.real_buffer.all()
    last = torch.where(row[0] < 10, 9, 13)  # of the episode, of which the second goes on
    steps = torch.arange(3).unsqueeze(-1)
    assert torch.equal(place, torch.minimum(steps, last - row[0])) and bool((place[2] < 2).any())
    assert torch.equal(row, row[0] + place)
    assert torch.equal(rows.reward, real.reward[rows.row]) and torch.equal(rows.obs[:8], real.obs[row[0]])
    said = planner.recall(real.obs[row[0]], real.action[torch.minimum(row[0] + steps, last).T]).obs
    for number in range(8):
        torch.testing.assert_close(rows.obs.view(3, 8, -1)[:, number], said[place[:, number], number])


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_time_aware_critics_see_terminations_at_every_place(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else values, which bootstrap from place 0, would go on beyond them."""
    planner = made(3, learner=SequenceSAC(3, hidden=[8], time_aware_critic=True), batch_size=64)
    flags = (torch.arange(12) + 1) % steps == 0
    before = torch.zeros(12, 1)
    extras = {"episode": torch.arange(12) // steps, "prev_action": before}
    obs = torch.zeros(12, 2)
    planner.real_buffer.add(Transitions(obs, before, before[:, 0], obs, flags, torch.zeros_like(flags), extras=extras))
    rows = planner._critics_batch(make_generator("cpu", "replay"))
    assert set(rows.extras["place"][rows.terminated].tolist()) == {float(place) for place in range(min(3, steps))}


@pytest.mark.check("srl-9.3")
def test_averages_of_critics_and_model_follow_once_an_update() -> None:
    planner = made(2, model_target_rate=0.25, learner=SequenceSAC(2, hidden=[8], target_rate=0.25))
    ticked(planner, 4)  # the warm-up
    pairs = [
        (dict(planner.dynamics.named_parameters()), planner.model_average.weights()),
        (dict(planner.learner.critics.named_parameters()), dict(planner.learner.target_critics.named_parameters())),
    ]
    before = copy.deepcopy(pairs)
    planner.learn(1)
    for (now, average), (old, _) in zip(pairs, before, strict=True):
        for name, value in now.items():
            assert not torch.equal(value, old[name])
            torch.testing.assert_close(average[name], 0.75 * old[name] + 0.25 * value)


@pytest.mark.check("srl-9.3")
@pytest.mark.parametrize("through", [False, True])
@pytest.mark.parametrize("target", [False, True])
def test_the_actors_step_leaves_no_gradient_in_the_model(through: bool, target: bool) -> None:
    planner = made(3, model_target=target, learner=SequenceSAC(3, hidden=[8], bp_through_time=through))
    ticked(planner, 6)
    planner.dynamics.zero_grad()
    rows = planner.real_buffer.sample(8, make_generator("cpu", "replay"))
    planner.learner.update_actor(rows, make_generator("cpu", "noise"), planner.recall)
    assert all(parameter.grad is None for parameter in planner.dynamics.parameters())
    assert all(parameter.grad is not None for parameter in planner.learner.policy.parameters())


@pytest.mark.parametrize("ends", [False, True])
def test_predicted_ends_count_if_they_are_asked_for(ends: bool) -> None:
    planner = made(3, model=LinearModel(), task=linear_task(), model_target=False, recall_ends=ends)  # ends beyond ±2
    alive = planner.recall(torch.tensor([[1.9, 1.9], [0.0, 0.0]]), torch.zeros(2, 3, 1)).alive
    assert alive.T.tolist() == [[True, not ends, not ends], [True] * 3]


@pytest.mark.check("srl-9.2")
def test_the_average_is_asked_for_two_actions_and_nothing_for_one() -> None:
    for length in (1, 2):
        found = []
        for shift in (0.0, 1.0):
            planner = made(length)
            ticked(planner, 4)
            with torch.no_grad():
                for average in planner.model_average.buffers():
                    average.add_(shift)
            planner.learn(1)
            found.append(copy.deepcopy(dict(planner.learner.policy.named_parameters())))
        same = all(torch.equal(a, b) for a, b in zip(found[0].values(), found[1].values(), strict=True))
        assert same is (length == 1)


def test_the_actor_may_be_updated_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = made(2, actor_update_every=3, updates_per_step=2)
    ticked(planner, 4)
    calls: list[str] = []
    for name in ("update_critics", "update_actor", "end_update"):
        method = getattr(planner.learner, name)
        monkeypatch.setattr(planner.learner, name, lambda *a, n=name, m=method: (calls.append(n), m(*a))[1])
    planner.metrics.pop()
    planner.learn(3)
    seldom = ["update_critics", "end_update"] * 2
    assert calls == ["update_critics", "update_actor", "end_update", *seldom] * 2  # the first update has one
    said = planner.metrics.pop()
    assert said["train/actor_updates_per_step"] == pytest.approx(2 / 3)
    assert "learner/actor_loss" in said  # though the last update has none


def test_the_actor_is_updated_where_planner_and_learner_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = SequenceSAC(2, hidden=[8, 8], actor_every=3)
    planner = made(learner=learner, actor_update_every=2, updates_per_step=6)
    ticked(planner, 4)
    at: list[int] = []
    update = planner.learner.update_actor
    monkeypatch.setattr(planner.learner, "update_actor", lambda *a: (at.append(planner.learner.updates), update(*a))[1])
    planner.learn(3)
    assert at == [0, 6, 12]


def test_closed_forms_are_refitted_and_gradient_models_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    for model, expected in (
        (NextObsNetwork([8], normalize=True), {"begin_fit": 2, "update": 6, "refit": 0}),
        (SINDy(library=Library(degree=1)), {"refit": 2}),
        (LinearModel(), {}),
    ):
        planner = made(2, model=model, refit_every=4, warmup_steps=6, model_target=isinstance(model, NextObsNetwork))
        calls: Counter[str] = Counter(dict.fromkeys(expected, 0))
        for name in expected:
            method = getattr(model, name)
            monkeypatch.setattr(model, name, lambda *a, n=name, m=method, c=calls: (c.update([n]), m(*a))[1])
        rows = ticked(planner, 12)
        assert calls == expected
        if isinstance(model, NextObsNetwork):
            assert torch.equal(model.normalizer.sd[:2].cpu(), rows.obs[:10].double().std(0, correction=0).float())


def test_nothing_is_read_back_in_an_update() -> None:
    planner = made(3)
    ticked(planner, 6)
    with NoScalarReadback():
        planner.learn(2)


def test_a_run_may_go_on_with_another_length() -> None:
    planner = made(3)
    ticked(planner, 6)
    checkpoint: dict[str, Any] = {}
    planner.on_save_checkpoint(checkpoint)
    longer = made(5)
    longer.on_load_checkpoint(checkpoint)
    longer.load_state_dict(planner.state_dict())
    longer.restore(training=True)
    assert longer.env_steps == 6 and longer.collect_memory(1).tensors["left"].tolist() == [0]
    assert len(ticked(longer, 7)) == 13


def test_it_learns_to_push_a_mass_to_the_origin_by_looking_every_fourth_step() -> None:
    task = linear_task(ends=False, time_limit=50)
    rates = {"actor_lr": 3e-3, "critic_lr": 3e-3, "temperature": 0.05, "target_rate": 0.05, "discount": 0.9}
    learner = SequenceSAC(4, hidden=[32, 32], **rates)
    model = NextObsNetwork([32, 32], lr=3e-3)
    planner = made(learner=learner, model=model, task=task, warmup_steps=200, batch_size=32, model_target_rate=0.03)
    training, testing = VectorExperience(task, 1, seed=0), VectorExperience(task, 10, seed=1)
    training.reset(0)
    before = evaluate(planner, testing, 10, 5).returns.mean().item()
    for _ in range(400):
        planner.tick(training)
    after = evaluate(planner, testing, 10, 5).returns.mean().item()
    assert before < -3 and after > -1.5  # -3.5 and -0.9


# refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: SRL(LinearModel(), SequenceSAC()), "can't use LinearModel: it is fixed"),
        (lambda: SRL(GaussianProcess(), SequenceSAC()), "can't use GaussianProcess: it is fitted as a whole"),
        (lambda: SRL(GaussianEnsemble(loss=VaGraM()), SequenceSAC()), "can't use GaussianEnsemble with VaGraM"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_made(make: Any, sentence: str) -> None:
    with pytest.raises(UnsupportedError, match=sentence):
        make()


def test_models_that_cannot_be_asked_are_refused_when_it_is_built() -> None:
    planner = SRL(SimulatorModel(threads=1), SequenceSAC(), model_target=False)
    with pytest.raises(UnsupportedError, match="temporal recall can't use SimulatorModel"):
        planner.build(make_task("Walker2d-v5"))

    class Blunt(GaussianProcess):
        """Not differentiable."""

        lacks = (__import__("mbrl.models", fromlist=["Differentiable"]).Differentiable,)

    planner = SRL(Blunt(), SequenceSAC(bp_through_time=True), model_target=False)
    with pytest.raises(UnsupportedError, match="the gradient is to pass through it"):
        planner.build(TASK)


@pytest.mark.parametrize(
    "options",
    [
        {"updates_per_step": 0},
        {"collect": "both"},
        {"warmup": "none"},
        {"model_target_rate": 0.0},
        {"actor_update_every": 0},
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected a SequenceSAC, got SAC"):
        SRL(NextObsNetwork(), SAC())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=next(iter(options))):
        SRL(NextObsNetwork(), SequenceSAC(), **options)


def test_planners_without_recall_refuse_its_learner_when_they_are_built() -> None:
    for planner in (
        Dyna(None, SequenceSAC(4), real_ratio=1.0),
        Dyna(GaussianEnsemble(), SequenceSAC(4)),
        OfflineDyna(GaussianEnsemble(), SequenceSAC(4)),
        PETS(GaussianEnsemble(), CEM(), learner=SequenceSAC(4), terminal_value="min"),
    ):
        with pytest.raises(UnsupportedError, match=r"SequenceSAC\(length=4\).* planner mbrl\.planners\.SRL"):
            planner.build(TASK)
