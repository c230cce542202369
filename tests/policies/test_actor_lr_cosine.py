"""`SAC(actor_lr_cosine=…)`: the actor's step size falls along half a cosine, and says if that isn't the run's length."""

from __future__ import annotations

import copy
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from mbrl.data import Task, Transitions, make_generator
from mbrl.errors import ConfigError, MbrlWarning, UnsupportedError
from mbrl.planners import Dyna, OfflineDyna, Planner
from mbrl.policies import SAC
from tests.planners.offline import offline_data, record
from tests.training.toy import data, trainer

TASK = Task("", obs_size=3, action_size=2, action_low=(-1, -1), action_high=(1, 1))


def rows(n: int = 16) -> Transitions:
    generator = make_generator("cpu", "rows")
    ends = torch.zeros(n, dtype=torch.bool)
    obs, action = torch.randn(n, 3, generator=generator), torch.rand(n, 2, generator=generator)
    return Transitions(obs, action, torch.randn(n, generator=generator), obs, ends, ends)


def built(cosine: int | None) -> tuple[SAC, list[torch.optim.Optimizer]]:
    learner = SAC(hidden=[8], actor_lr=1e-2, temperature_lr=1e-3, actor_lr_cosine=cosine)
    learner.build(TASK, 0)
    return learner, learner.make_optimizers()


def test_the_step_size_is_half_a_cosine_and_stays_at_nothing() -> None:
    learner, (critic, actor) = built(4)
    found = []
    for _ in range(6):
        before = [parameter.clone() for parameter in learner.policy.parameters()]
        critics, temperature = learner.critics.head_weight.clone(), learner.log_temperature.clone()
        learner.update(rows(), make_generator("cpu", "noise"))
        found.append(actor.param_groups[0]["lr"])
        moved = any(not torch.equal(a, b) for a, b in zip(before, learner.policy.parameters(), strict=True))
        assert moved == (found[-1] > 0)
        assert not torch.equal(critics, learner.critics.head_weight)
        assert not torch.equal(temperature, learner.log_temperature)
    assert found == pytest.approx([1e-2 * 0.5 * (1 + math.cos(math.pi * min(i / 4, 1))) for i in range(6)])
    assert actor.param_groups[1]["lr"] == 1e-3 and critic.param_groups[0]["lr"] == 3e-4
    assert found[4:] == [0.0, 0.0]


def test_none_changes_nothing() -> None:
    learner, (_, actor) = built(None)
    for _ in range(3):
        learner.update(rows(), make_generator("cpu", "noise"))
    assert actor.param_groups[0]["lr"] == 1e-2
    with pytest.raises(
        ConfigError, match=r"SAC\(actor_lr_cosine=…\): expected auto, or a whole number of at least 1, or None"
    ):
        SAC(actor_lr_cosine=0)


def test_continues_as_if_never_stopped() -> None:
    unbroken, optimizers = built(6)
    resumed, others = built(6)
    for _ in range(3):
        unbroken.update(rows(), make_generator("cpu", "noise"))
    resumed.load_state_dict(unbroken.state_dict())
    for ours, theirs in zip(others, optimizers, strict=True):
        ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    for learner in (unbroken, resumed):
        for _ in range(3):
            learner.update(rows(), make_generator("cpu", "noise"))
    assert all(torch.equal(a, b) for a, b in zip(unbroken.parameters(), resumed.parameters(), strict=True))
    assert others[1].param_groups[0]["lr"] == optimizers[1].param_groups[0]["lr"] < 1e-2


def told(folder: Path, planner: Planner, data: Any) -> list[str]:
    """What a fit warns of."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", MbrlWarning)
        trainer(folder).fit(planner, data)
    return [str(one.message) for one in found if one.category is MbrlWarning]


def test_an_offline_run_of_another_length_says_so(tmp_path: Path) -> None:
    rows = offline_data(record(tmp_path / "pendulum.npz"))  # for 60 updates
    planner = OfflineDyna(None, SAC(hidden=[8], actor_lr_cosine=80), real_ratio=1.0, batch_size=8)
    (said,) = told(tmp_path / "run", planner, rows)
    assert said == (
        "SAC: expected actor_lr_cosine to be the run's 60 updates, got 80, so that at its end the actor's step size is 0.15 "
        "of actor_lr; set actor_lr_cosine to auto, or to null for a constant one."
    )
    fitting = OfflineDyna(None, SAC(hidden=[8], actor_lr_cosine=60), real_ratio=1.0, batch_size=8)
    assert told(tmp_path / "fitting", fitting, offline_data(tmp_path / "pendulum.npz")) == []
    assert fitting.learner.updates == 60  # type: ignore[attr-defined]


def test_auto_is_the_length_of_the_run(tmp_path: Path) -> None:
    fitted = []
    record(tmp_path / "pendulum.npz")
    for name, cosine in (("auto", "auto"), ("number", 60)):
        learner = SAC(hidden=[8], actor_lr_cosine=cosine)  # type: ignore[arg-type]
        planner = OfflineDyna(None, learner, real_ratio=1.0, batch_size=8)
        assert told(tmp_path / name, planner, offline_data(tmp_path / "pendulum.npz")) == []
        fitted.append(list(learner.policy.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*fitted, strict=True))


def test_auto_without_a_run_is_refused() -> None:
    learner = SAC(hidden=[8], actor_lr_cosine="auto")
    learner.build(TASK, 0)
    learner.make_optimizers()
    with pytest.raises(UnsupportedError, match=r"SAC\(actor_lr_cosine='auto'\): expected a run, whose length it takes"):
        learner.update(rows(), make_generator("cpu", "noise"))


@pytest.mark.parametrize("envs", [1, 4])
def test_an_online_run_counts_its_updates(envs: int, tmp_path: Path) -> None:
    warmup = 6  # with four environments a tick ends at 8
    updates = 2 * (20 - (6 if envs == 1 else 8))

    def planner(cosine: int) -> Dyna:
        learner = SAC(hidden=[8], actor_lr_cosine=cosine)
        return Dyna(None, learner, warmup_steps=warmup, updates_per_step=2, batch_size=8)

    fitting = planner(updates)
    assert told(tmp_path / "fitting", fitting, data(20, num_envs=envs)) == []
    assert fitting.learner.updates == updates  # type: ignore[attr-defined]
    (said,) = told(tmp_path / "run", planner(7), data(20, num_envs=envs))
    assert f"the run's {updates} updates, got 7" in said


@pytest.mark.parametrize("envs", [1, 4])
def test_auto_counts_updates_whose_number_changes(envs: int, tmp_path: Path) -> None:
    learner = SAC(hidden=[8], actor_lr_cosine="auto")
    planner = Dyna(None, learner, warmup_steps=6, updates_per_step=[0, 2, 1, 3], epoch_steps=4, batch_size=8)
    assert told(tmp_path, planner, data(20, num_envs=envs)) == []
    assert learner.cosine_updates == learner.updates > 20
