"""SAC's options that make updates cheaper or steadier: what each changes, and that it changes nothing else."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Task, Transitions, make_generator
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.models import GaussianEnsemble
from mbrl.networks import SpectralClip
from mbrl.planners import BatchPenalty, Dyna, OfflineDyna
from mbrl.policies import (
    SAC,
    BoundCriticTerm,
    Conservative,
    CriticContext,
    Critics,
    CriticTerm,
    Diversity,
    RobustValue,
    SequenceSAC,
)
from mbrl.testing import check_learner
from mbrl.uncertainty import ValueSpread
from tests.planners.offline import offline_data, record
from tests.planners.test_dyna import WALK, run
from tests.policies.test_sac import TASK, batch, built, states_equal
from tests.training.toy import data, lines, trainer

ALL: dict[str, Any] = {
    "critics": 4, "actor_every": 2, "critic_norm": "layer", "critic_dropout": 0.1, "target_subset": 2,
}  # fmt: skip
EACH: dict[str, dict[str, Any]] = {
    "actor_every": {"actor_every": 3},
    "critic_norm": {"critic_norm": "layer"},
    "critic_dropout": {"critic_dropout": 0.1},
    "target_subset": {"critics": 4, "target_subset": 2},
    "all": ALL,
}


def noise() -> torch.Generator:
    return make_generator("cpu", "noise")


def copied(parameters: Any) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", EACH)
def test_each_keeps_the_contract_of_learners(name: str) -> None:
    check_learner(lambda: SAC(hidden=[8, 8], **EACH[name]), TASK)


def test_all_keep_it_in_sequences_too() -> None:
    check_learner(lambda: SequenceSAC(1, hidden=[8, 8], **ALL), TASK)


@pytest.mark.parametrize("name", EACH)
def test_each_continues_as_if_never_stopped(name: str) -> None:
    learners, streams = [built(**EACH[name]), built(seed=9, **EACH[name])], [noise(), torch.Generator()]
    for i in range(4):
        learners[0].update(batch(seed=i), streams[0])
    learners[1].load_state_dict(copy.deepcopy(learners[0].state_dict()))
    for ours, theirs in zip(learners[1].make_optimizers(), learners[0].make_optimizers(), strict=True):
        ours.load_state_dict(theirs.state_dict())  # both begin anew
    streams[1].set_state(streams[0].get_state())
    for i in range(4, 9):
        for learner, stream in zip(learners, streams, strict=True):
            learner.update(batch(seed=i), stream)
    assert states_equal(*learners)


# actor_every ---------------------------------------------------------------------------------------------------------


def test_actor_and_temperature_learn_at_every_third_update_and_critics_at_each() -> None:
    learner, moved = built(actor_every=3), []
    for i in range(7):
        actor = copied([*learner.policy.parameters(), learner.log_temperature])
        critics, targets = copied(learner.critics.parameters()), copied(learner.target_critics.parameters())
        said = learner.update(batch(seed=i), noise())
        assert not same(critics, learner.critics.parameters()) and not same(targets, learner.target_critics.parameters())
        moved.append(not same(actor, [*learner.policy.parameters(), learner.log_temperature]))
        assert ("actor_loss" in said) == ("entropy" in said) == moved[-1]
    assert moved == [True, False, False, True, False, False, True]


def alone(**options: Any) -> Dyna:
    """A planner that shows its learner real rows alone."""
    learner = SAC(**{"hidden": [8], **options})
    return Dyna(None, learner, warmup_steps=20, updates_per_step=3, batch_size=8)


def test_runs_count_and_report_the_actor_though_a_steps_last_update_has_none(tmp_path: Path) -> None:
    """Updates 0, 2, 4, … have one; those of a step are three, so that the last is every second step's."""
    for every in (1, 2):
        planner = alone(actor_every=every)
        trainer(tmp_path / str(every)).fit(planner, data(24))
        found = [line for line in lines(tmp_path / str(every)) if "learner/critic_loss" in line]
        assert found and all("learner/actor_loss" in line for line in found)
        assert all(line["train/actor_updates_per_step"] == 3 / every for line in found)


@pytest.mark.parametrize("name", EACH)
def test_no_other_stream_of_a_run_moves(name: str) -> None:
    found = []
    for options in ({}, EACH[name]):
        planner = Dyna(None, SAC(hidden=[8], **options), warmup_steps=20, updates_per_step=2, batch_size=8)
        planner.build(WALK, seed=1)
        planner.make_optimizers()
        run(planner, 30)
        found.append(planner.streams.state_dict())
        if "actor_every" in EACH[name]:  # then the learner itself samples fewer actions
            found[-1] = {key: state for key, state in found[-1].items() if key != "updates"}
            found[0].pop("updates", None)
    assert found[0].keys() == found[1].keys() and "replay" in found[0]
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


# critic_norm and critic_dropout --------------------------------------------------------------------------------------


def test_critics_are_normalised_and_targets_follow_gains_too() -> None:
    learner = built(critic_norm="layer", critic_lr=1e-2, target_rate=0.5)
    assert learner.critics.hidden.norm is not None and learner.target_critics.hidden.norm is not None
    assert not any("norm" in name for name in learner.policy.state_dict())
    before = learner.target_critics.hidden.norm.gains[1].clone()
    learner.update(batch(), noise())
    gains, followed = learner.critics.hidden.norm.gains[1], learner.target_critics.hidden.norm.gains[1]
    assert not torch.equal(before, gains)
    torch.testing.assert_close(followed, (before + gains) / 2)


def test_normalised_values_stay_bounded_far_from_the_data() -> None:
    """A normalised last layer has rows of one length, so that |Q| ≤ |w| √units + |b| wherever it is asked (gain 1)."""
    obs, action = 1e6 * torch.randn(50, 3, generator=noise()), torch.zeros(50, 2)
    free, held = built().critics(obs, action), built(critic_norm="layer").critics
    bound = held.head_weight[:, 0].norm(dim=-1, keepdim=True) * 4.0  # 16 units
    assert bool((held(obs, action).abs() <= bound + 1e-4).all()) and bool((free.abs() > bound).any())


def test_dropout_is_part_of_updates_alone() -> None:
    learner, plain, rows = built(critic_dropout=0.5), built(), batch()
    for asked in ("online", "target"):
        assert torch.equal(learner.value(rows.obs, rows.action, asked), plain.value(rows.obs, rows.action, asked))
    streams = noise(), noise()
    dropped, whole = learner.target(rows, streams[0]), plain.target(rows, streams[1])
    assert torch.equal(dropped == whole, rows.terminated), "where nothing ends, targets have masks"
    assert torch.equal(learner.target(rows, noise()), dropped), "the same masks in the same update"
    assert torch.equal(streams[0].get_state(), streams[1].get_state()), "masks move no other draws"
    reports = learner.update(rows, noise()), plain.update(rows, noise())
    assert all(reports[0][name] != reports[1][name] for name in ("critic_loss", "actor_loss", "q_mean"))
    other = built(seed=1, critic_dropout=0.5)
    other.load_state_dict({**plain.state_dict(), "_extra_state": {"updates": 1, "seed": 1}})
    learner.load_state_dict({**plain.state_dict(), "_extra_state": {"updates": 1, "seed": 0}})
    assert not torch.equal(learner.target(rows, noise()), other.target(rows, noise())), "each seed has its own"


class Values(CriticTerm):
    """Keeps the values that it is handed and those that it asks for."""

    def __call__(self, batch: Transitions, context: CriticContext) -> Tensor:
        self.found = context.batch_values(batch), context.critics(batch.obs, batch.action)
        return batch.reward.new_zeros(())


def test_critic_terms_compare_values_among_which_nothing_is_dropped() -> None:
    term = Values()
    bound = BoundCriticTerm(term, slice(0, 0), noise(), lambda metrics: None)
    built(critic_dropout=0.5).update(batch(), noise(), [bound])
    assert torch.equal(*term.found)


# target_subset -------------------------------------------------------------------------------------------------------


def test_the_target_is_the_least_of_a_pair_drawn_anew_for_each_update() -> None:
    learner, rows = built(critics=4, target_subset=2), batch(32)
    action, log_prob = learner.policy.sample(rows.next_obs, noise())
    soft = learner.target_critics(rows.next_obs, action) - log_prob  # J x B, α = 1
    said: dict[tuple[int, ...], Tensor] = {
        pair: torch.where(rows.terminated, rows.reward, rows.reward + 0.99 * soft[list(pair)].amin(0))
        for pair in itertools.combinations(range(4), 2)
    }
    drawn = []
    for learner.updates in range(60):
        found = learner.target(rows, noise())
        drawn.append([pair for pair, each in said.items() if torch.allclose(found, each, rtol=1e-5, atol=1e-5)])
    assert all(len(pairs) == 1 for pairs in drawn), "exactly one pair explains each"
    assert {pair for pairs in drawn for pair in pairs} == set(said)
    assert torch.equal(learner.target(rows, noise()), found), "one pair for all of an update"


def test_the_actor_ascends_the_mean_of_all_critics() -> None:
    rows = batch()
    learner, least = built(critics=4, target_subset=2, critic_lr=1e-30), built(critics=4, critic_lr=1e-30)
    action, log_prob = learner.policy.sample(rows.obs, noise())
    values = learner.critics(rows.obs, action)
    torch.testing.assert_close(
        learner.update_actor(rows, noise())["actor_loss"], (log_prob - values.mean(0)).mean().detach()
    )
    torch.testing.assert_close(least.update_actor(rows, noise())["actor_loss"], (log_prob - values.amin(0)).mean().detach())


def test_all_of_them_leave_the_target_as_it_was() -> None:
    """Hiraoka2022's setting: the least of both is the target, their mean the actor's aim."""
    whole, plain, rows = built(target_subset=2), built(), batch()
    assert torch.equal(whole.target(rows, noise()), plain.target(rows, noise()))
    assert whole.update(rows, noise())["actor_loss"] != plain.update(rows, noise())["actor_loss"]


# refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"target_subset": 3},
            r"SAC\(target_subset=…\): expected at most the 2 critics that there are, got 3; raise critics",
        ),
        ({"target_subset": 0}, r"SAC\(target_subset=…\): expected a whole number of at least 1, or None, got 0"),
        ({"actor_every": 0}, r"SAC\(actor_every=…\): expected a whole number of at least 1, got 0"),
        ({"critic_dropout": 1.0}, r"SAC\(critic_dropout=…\): expected a number of at least 0 and below 1, got 1.0"),
        ({"critic_norm": "batch"}, r"SAC\(critic_norm=…\): expected one of none, layer, got 'batch'"),
        (
            {"critic_norm": "layer", "critic_constraint": SpectralClip(1.0)},
            r"SAC\(critic_norm=…\): expected none beside a critic_constraint, whose bound it would break, got 'layer'",
        ),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SAC(**options)


def test_normalised_critics_have_no_bound() -> None:
    made = Critics(3, 2, noise(), (8,), norm="layer")
    with pytest.raises(UnsupportedError, match=r"Critics.lipschitz_bound: expected critics without a norm"):
        made.lipschitz_bound()
    with pytest.raises(UnsupportedError, match=r"Critics\(norm=…\): expected none beside SpectralClip"):
        Critics(3, 2, noise(), (8,), constraint=SpectralClip(1.0), norm="layer")


# together with other parts -------------------------------------------------------------------------------------------


def test_diversity_spreads_normalised_critics() -> None:
    learner, rows = built(**ALL, critic_lr=1e-2), batch(32)
    half = (learner.critics, learner.target_critics, learner.policy, torch.tensor(0.1), 0.99)
    context = CriticContext(*half, slice(0, 0), noise(), lambda metrics: None)
    before = Diversity(1.0)(rows, context).item()
    bound = BoundCriticTerm(Diversity(100.0), slice(0, 0), noise(), lambda metrics: None)
    for _ in range(30):
        learner.update(rows, noise(), [bound])
    assert Diversity(1.0)(rows, context).item() < before - 0.1


def test_parts_of_offline_methods_work_with_all_of_them(tmp_path: Path) -> None:
    """COMBO's, EDAC's (where there are actions enough) and MOBILE's parts, and those of robust values."""
    rows = offline_data(record(tmp_path / "pendulum.npz"))
    model = GaussianEnsemble(hidden=[8], members=2, elites=2, weight_decay=0.0, max_epochs=1, batch_size=16)
    planner = OfflineDyna(
        model,
        SAC(hidden=[8], **ALL),
        critic_terms=[Conservative(1.0, actions=2), RobustValue()],
        batch_hooks=[BatchPenalty(ValueSpread(samples=2), 1.0)],
        rollout_batch=8,
        rollout_length=2,
        rollout_every=3,
        retain=2,
        batch_size=16,
        real_ratio=0.5,
    )
    planner.build(rows.task)
    planner.make_optimizers()
    planner.take(rows.transitions)
    for _ in range(6):
        planner.tick()
    found = planner.metrics.pop()
    assert all(torch.isfinite(torch.as_tensor(float(value))) for value in found.values())
    assert {"learner/actor_loss", "critic_term/conservative_gap", "critic_term/robust_gap"} <= set(found)


def test_sequences_take_all_of_them_where_places_count_too() -> None:
    task = Task("", obs_size=3, action_size=2, action_low=(-1, -1), action_high=(1, 1))
    learner = SequenceSAC(1, hidden=[8, 8], time_aware_critic=True, **ALL)
    learner.build(task, 0)
    learner.make_optimizers()
    rows = batch()
    rows.extras["prev_action"] = torch.zeros(8, 2)
    before = copied(learner.policy.parameters())
    first, second = learner.update(rows, noise()), learner.update(rows, noise())
    assert "actor_loss" in first and "actor_loss" not in second
    assert not same(before, learner.policy.parameters())
