"""Rewards that the temperature can't be weighed against are said before the first update, and by `mbrl check`."""

from __future__ import annotations

import inspect
import re
import warnings
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from mbrl.cli import main
from mbrl.data import Task, Transitions
from mbrl.data.minds.reward_size import TEMPERATURE, TEMPERATURE_LR, reward_size
from mbrl.envs import OnlineData, collect, make_task
from mbrl.errors import MbrlWarning
from mbrl.planners import Dyna, OfflineDyna
from mbrl.policies import SAC
from tests.planners.offline import offline_data, record
from tests.training.toy import trainer

TASK = Task("", obs_size=3, action_size=2, action_low=(-1, -1), action_high=(1, 1))
SAID = (
    r"no larger than 1000 times the temperature, got .* multiply rewards by about [\d.e-]+ in the dataset or the environment"
)


def seen(size: float, updates: int = 0, **options: object) -> list[str]:
    learner = SAC(hidden=[8], **options)  # type: ignore[arg-type]
    learner.build(TASK, 0)
    learner.updates = updates
    obs, ends = torch.zeros(4, 3), torch.zeros(4, dtype=torch.bool)
    rows = Transitions(obs, torch.zeros(4, 2), size * torch.tensor([1.0, -1.0, 0.5, -1.5]), obs, ends, ends)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", MbrlWarning)
        learner.fit_inputs(rows)
        learner.fit_inputs(rows)  # an offline planner shows the dataset, and shows it again after the fit: it is said once
    return [str(one.message) for one in told]


def test_numbers_and_advice() -> None:
    (said,) = seen(2e4)
    assert "got 2e+04 at a temperature of 1" in said
    assert "needs 33012 updates to follow" in said  # ln(2e4) / 3e-4
    assert "multiply rewards by about 0.0001" in said
    (fixed,) = seen(1e3, temperature=0.2)
    assert "at a temperature of 0.2, which stays so, being fixed" in fixed


def test_another_temperature_moves_limits_and_advice() -> None:
    said = str(reward_size(torch.full((9,), 2e3), 0.2, 1e-3))
    assert "needs 9210 updates to follow" in said and "multiply rewards by about 0.0001" in said  # ln(1e4) / 1e-3
    assert reward_size(torch.full((9,), 199.0), 0.2) is None and reward_size(torch.full((9,), 201.0), 0.2) is not None
    assert reward_size(torch.full((9,), 2.1e-4), 0.2) is None and reward_size(torch.full((9,), 1.9e-4), 0.2) is not None


def test_rewards_that_the_entropy_drowns() -> None:
    (said,) = seen(1e-5)
    assert "on average, where they aren't 0, no smaller than 0.001 times the temperature, got 1e-05" in said
    assert "needs 38376 updates to follow" in said  # -ln(1e-5) / 3e-4
    assert "learns of its entropy alone; multiply rewards by about 100000 in" in said
    assert seen(1e-3) == [] and seen(1e-5, temperature=1e-3) == []


def test_rare_rewards_are_not_small_ones() -> None:
    rare = torch.zeros(10_000)
    assert reward_size(rare) is None, "what never pays is said in another way"
    rare[7] = 1.0
    assert reward_size(rare) is None
    rare[7] = 1e5
    assert reward_size(rare) is None, "nor large ones, of an average of 10"
    rare[7] = 1e-4
    assert "got 0.0001 at" in str(reward_size(rare))


def test_check_says_it_at_the_defaults_of_the_learner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    defaults = inspect.signature(SAC).parameters
    assert (defaults["initial_temperature"].default, defaults["temperature_lr"].default) == (TEMPERATURE, TEMPERATURE_LR)
    gymnasium.register("LargePendulum-v0", large_pendulum, max_episode_steps=10)
    try:
        path = collect(make_task("LargePendulum-v0"), str(tmp_path / "large.npz"), steps=20)
        for asked in (["LargePendulum-v0", "--steps", "20"], ["--dataset", str(path)]):
            assert main(["check", *asked]) == 0
            assert re.search(f"Mind, with SAC at its defaults: .*{SAID}", capsys.readouterr().out)
    finally:
        gymnasium.registry.pop("LargePendulum-v0")
    assert main(["check", "Pendulum-v1", "--steps", "20"]) == 0
    assert "SAC" not in capsys.readouterr().out


def test_who_has_nothing_to_hear() -> None:
    assert seen(1000.0) == []
    assert seen(2e4, initial_temperature=100.0) == []
    assert seen(2e4, temperature=0.0) == [], "who asks for no entropy misses none"
    assert seen(2e4, updates=1) == [], "a run that goes on has heard it"
    assert seen(float("nan")) == []


def test_an_offline_run_says_it(tmp_path: Path) -> None:
    path = record(tmp_path / "pendulum.npz")
    data = offline_data(path)
    data.setup("fit")
    planner = OfflineDyna(None, SAC(hidden=[8]), real_ratio=1.0, batch_size=8)
    planner.build(data.task)
    large = replace(data.transitions, reward=data.transitions.reward * 1e4)
    with pytest.warns(MbrlWarning, match=SAID):
        planner.take(large)


class Large(gymnasium.RewardWrapper):  # type: ignore[type-arg]
    """Rewards in another unit."""

    def reward(self, reward: object) -> float:
        return float(np.asarray(reward)) * 1e4


def large_pendulum() -> gymnasium.Env:  # type: ignore[type-arg]
    return Large(gymnasium.make("Pendulum-v1"))


def test_an_online_run_says_it(tmp_path: Path) -> None:
    gymnasium.register("LargePendulum-v0", large_pendulum, max_episode_steps=10)
    try:
        planner = Dyna(None, SAC(hidden=[8]), warmup_steps=5, batch_size=8)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", MbrlWarning)
            trainer(tmp_path / "run").fit(planner, OnlineData("LargePendulum-v0", steps=12, eval_episodes=1))
        (said,) = (str(one.message) for one in told if one.category is MbrlWarning)
        assert re.search(SAID, said)
    finally:
        gymnasium.registry.pop("LargePendulum-v0")
