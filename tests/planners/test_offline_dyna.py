"""`OfflineDyna`: fits once, keeps exactly the newest rounds of rollouts, and refuses what can't be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mbrl.data import Transitions
from mbrl.errors import ConfigError, MbrlWarning
from mbrl.models import Blend, GaussianEnsemble, Pendulum
from mbrl.planners import BatchContext, BatchHook, OfflineDyna, UncertaintyPenalty
from mbrl.policies import SAC
from mbrl.uncertainty import MeanDisagreement
from tests.planners.offline import offline_data, record


def made(**options: Any) -> OfflineDyna:
    model = GaussianEnsemble(hidden=[8], members=2, elites=1, weight_decay=0.0, max_epochs=1, batch_size=16)
    small = {"rollout_batch": 8, "rollout_length": 2, "rollout_every": 3, "retain": 2, "batch_size": 16}
    return OfflineDyna(model, SAC(hidden=[8]), **{**small, **options})


def began(path: Path, **options: Any) -> OfflineDyna:
    data = offline_data(record(path / "pendulum.npz"))
    planner = made(**options)
    planner.build(data.task)
    planner.make_optimizers()
    planner.take(data.transitions)
    return planner


def test_the_newest_rounds_are_kept_and_no_others(tmp_path: Path) -> None:
    planner = began(tmp_path)
    for updates in range(1, 13):
        planner.tick()
        assert len(planner.model_buffer) == 16 * min((updates + 2) // 3, 2)
    rows = planner.model_buffer.all()
    assert bool(rows.obs.any(-1).all()), "no row is left empty"


def test_rounds_of_unequal_length_are_forgotten_whole(tmp_path: Path) -> None:
    planner = began(tmp_path, rollout_length=[0, 3, 1, 3], retain=2)  # one step more in each epoch of three updates
    kept, before = [], torch.zeros(0, 3)
    for _ in range(12):
        if planner.updates % 3 == 0 and planner.updates:
            before = planner.model_buffer.all().obs[-planner._rounds[-1] :].clone()
        planner.tick()
        kept.append(len(planner.model_buffer))
        assert torch.equal(planner.model_buffer.all().obs[: len(before)], before), "of the round before all rows, first"
    assert kept[::3] == [8 * 1, 8 * (1 + 1), 8 * (1 + 2), 8 * (2 + 3)]
    rows = planner.model_buffer.all()
    assert set(rows.extras["depth"].flatten().tolist()) == {0.0, 1.0, 2.0}


def test_a_penalty_of_nothing_changes_nothing(tmp_path: Path) -> None:
    """Equal members, as an exact model's, don't disagree, so that two weights train the same parameters."""
    found = []
    for weight in (0.0, 100.0):
        penalty = UncertaintyPenalty(MeanDisagreement(), weight=weight)
        exact = Blend(GaussianEnsemble(members=2, elites=2, hidden=[8]), Pendulum(), weight=1.0)
        planner = OfflineDyna(exact, SAC(hidden=[8]), rollout_hooks=[penalty], rollout_batch=8, batch_size=16)
        planner.build(offline_data(record(tmp_path / f"{weight}.npz")).task)
        planner.make_optimizers()
        planner.take(offline_data(tmp_path / f"{weight}.npz").transitions)
        for _ in range(5):
            planner.tick()
        found.append(list(planner.learner.parameters()))
    assert found[0] and all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_what_is_refused_says_nothing_else(tmp_path: Path) -> None:
    """Here a warning is an error, and SAC would warn of these rewards."""
    data = offline_data(record(tmp_path / "pendulum.npz"))
    rows = replace(data.transitions, reward=data.transitions.reward * 1e6)
    planner = made(rollout_length=26)
    planner.build(data.task)
    with pytest.raises(ConfigError, match="longest episode, 25 steps, got rollout_length 26"):
        planner.take(rows)
    planner = made()
    planner.build(data.task)
    with pytest.warns(MbrlWarning, match="SAC: expected rewards"):
        planner.take(rows)


def test_rollouts_longer_than_any_episode_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="longest episode, 25 steps, got rollout_length 26"):
        began(tmp_path, rollout_length=26)


@pytest.mark.parametrize("ratio", [-0.1, 1.1])
def test_a_share_outside_0_to_1_is_refused(ratio: float) -> None:
    with pytest.raises(ConfigError, match="real_ratio"):
        made(real_ratio=ratio)


def test_settings_of_rollouts_without_a_model_are_refused() -> None:
    OfflineDyna(None, SAC(hidden=[8]), real_ratio=1)
    with pytest.raises(ConfigError, match="without a model there are none, got retain 3"):
        OfflineDyna(None, SAC(hidden=[8]), retain=3)


class OfModelRows(BatchHook):
    """Changes nothing but the model's rows, and asks no model for it."""

    needs_dynamics = False
    needs_model_rows = True

    def __call__(self, batch: Transitions, context: BatchContext) -> Transitions:
        return batch


def test_a_hook_for_model_rows_is_refused_where_there_are_none(tmp_path: Path) -> None:
    task = offline_data(record(tmp_path / "rows.npz")).task
    hooks = [OfModelRows()]
    made(batch_hooks=hooks).build(task)
    for idle in (made(batch_hooks=hooks, real_ratio=1.0), OfflineDyna(None, SAC(hidden=[8]), batch_hooks=hooks)):
        with pytest.raises(ConfigError, match="expected batches with rows of the model for OfModelRows"):
            idle.build(task)


def test_rollouts_as_long_as_the_longest_episode_are_taken(tmp_path: Path) -> None:
    began(tmp_path, rollout_length=25)
    for number, schedule in enumerate(([0, 1, 26, 1], [0, 1, 1, 26])):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(ConfigError, match="got rollout_length 26"):
            began(tmp_path / str(number), rollout_length=schedule)
    (tmp_path / "real").mkdir()
    began(tmp_path / "real", rollout_length=26, real_ratio=1.0)  # which rolls nothing out


def test_the_share_of_real_rows_follows_its_schedule(tmp_path: Path) -> None:
    planner = began(tmp_path, real_ratio=[0, 2, 1.0, 0.25])  # epochs of three updates
    seen, kept = [], []
    for _ in range(9):
        planner.tick()
        seen.append(planner.learning.real_rows)
        kept.append(len(planner.model_buffer))
    assert seen == [16] * 3 + [10] * 3 + [4] * 3
    assert kept == [0] * 3 + [16] * 3 + [32] * 3, "nothing is imagined that no batch holds"
