"""A planner used as a policy: environment units in and out, a memory of its own, nothing of training moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

import mbrl
import mbrl.testing
from mbrl.data import make_generator
from mbrl.envs import OfflineData, OnlineData, collect, make_task, snapshot_of
from mbrl.errors import CheckpointError, DataError, NotBuiltError, ShapeError, UnsupportedError
from mbrl.models import GaussianEnsemble, SimulatorModel
from mbrl.planners import CEM, PETS, Dyna, RandomShooting
from mbrl.policies import SAC
from mbrl.testing import LinearModel
from mbrl.testing.clauses import through_bytes
from tests.training.test_kill_and_resume import dyna
from tests.training.toy import ToyPlanner, data, trainer


class Slide(gymnasium.Env[np.ndarray, np.ndarray]):
    """Position in mm, and a force of −300 … 500 N that moves it."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-300.0, 500.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-2000.0, 2000.0, 2)
        return self.state.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.state = np.array([self.state[0] + 0.1 * self.state[1], self.state[1] + float(action[0])])
        return self.state.copy(), -abs(float(self.state[0])), False, False, {}


gymnasium.register("TestSlide-v0", entry_point=Slide, max_episode_steps=10)


def trained(folder: Path) -> Dyna:
    planner = Dyna(
        GaussianEnsemble(hidden=[8], members=2, elites=2, max_updates=2), SAC(hidden=[8]),
        warmup_steps=20, refit_every=10, rollouts_per_step=2, updates_per_step=1, batch_size=8,
    )  # fmt: skip
    online = OnlineData("TestSlide-v0", steps=30, terminated="mbrl.envs.terminations.never", eval_episodes=1)
    trainer(folder).fit(planner, online)
    return planner


def pets() -> PETS:
    planner = PETS(LinearModel(noise=0.1, members=3), CEM(candidates=12, elites=3, iterations=2), horizon=3, particles=3)
    planner.build(mbrl.testing.linear_task(), 5)
    return planner


@pytest.mark.filterwarnings("ignore:SAC. expected rewards that are on average no larger than 1000 times")
def test_odd_units(tmp_path: Path) -> None:
    planner = trained(tmp_path)
    policy = mbrl.load_policy(tmp_path)
    env = gymnasium.make("TestSlide-v0")
    obs, _ = env.reset(seed=0)
    for _ in range(10):
        action = policy.predict(obs)
        assert isinstance(action, np.ndarray) and action.dtype == np.float32 and action.shape == (1,)
        acted, _ = planner.act(torch.tensor(obs[None]).float(), planner.memory(1, torch.Generator()), explore=False)
        assert action == pytest.approx(float(acted) * 400 + 100, rel=1e-5)
        obs, *_ = env.step(action)
    env.close()
    many = np.random.default_rng(0).uniform(-1e9, 1e9, (50, 2))
    actions = policy.predict(many)
    assert actions.shape == (50, 1) and actions.min() >= -300 and actions.max() <= 500 and np.ptp(actions) > 100
    tensors = policy.predict(torch.from_numpy(many))
    assert isinstance(tensors, Tensor) and np.array_equal(tensors.numpy(), actions)
    assert policy.task == planner.task


def test_memory_draws_and_reset() -> None:
    planner, obs = pets(), np.array([[0.3, 0.1], [-0.2, 0.4]])
    first, second = planner.predict(obs), planner.predict(obs)
    assert not np.array_equal(first, second)  # the plan goes on
    planner.reset()
    assert np.array_equal(planner.predict(obs), first)
    assert np.array_equal(pets().predict(obs), first)
    planner.reset(np.array([True, False]))
    third = planner.predict(obs)
    memory = planner.memory(2, make_generator("cpu", 5, "predict"))
    for ended in ([True, False], [False, False]):
        expected, memory = planner.act(torch.tensor(obs).float(), memory, explore=False)
        memory.reset(torch.tensor(ended))
    assert np.array_equal(third, expected.numpy())
    assert planner.predict(obs[0]).shape == (1,)  # another number begins anew
    with pytest.raises(ShapeError, match=r"PETS.reset: expected a mask of 1 episodes, as many as predict was asked for"):
        planner.reset([True, False])


@pytest.mark.parametrize("deterministic", [True, False])
def test_nothing_of_training_moves(deterministic: bool) -> None:
    for planner in (pets(), dyna()):
        planner.build(mbrl.testing.linear_task())
        planner.collect_memory(2)
        before: dict[str, Any] = {}
        planner.on_save_checkpoint(before)
        before = through_bytes({**before, "weights": planner.state_dict()})
        planner.predict(np.zeros((3, 2)), deterministic=deterministic)
        after: dict[str, Any] = {}
        planner.on_save_checkpoint(after)
        after = through_bytes({**after, "weights": planner.state_dict()})
        assert repr(after) == repr(before)
        assert planner.training


def test_what_cannot_be_used_is_refused() -> None:
    planner = pets()
    for wrong in (np.zeros(3), np.zeros((2, 3)), np.zeros((1, 1, 2)), np.zeros((0, 2)), np.float64(1.0)):
        with pytest.raises(ShapeError, match=r"PETS.predict: expected obs of shape 2 or N x 2, got"):
            planner.predict(wrong)
    for bad in (np.array([np.nan, 0.0]), torch.tensor([0.0, torch.inf])):
        with pytest.raises(DataError, match=r"PETS.predict\(obs=…\): expected finite numbers, got NaN or infinity"):
            planner.predict(bad)
    with pytest.raises(DataError, match=r"expected numbers, got str"):
        planner.predict("left")  # type: ignore[type-var]
    with pytest.raises(ShapeError, match="expected a snapshot per observation, 2 x W, got"):
        planner.predict(np.zeros((2, 2)), snapshot=np.zeros(5))
    with pytest.raises(NotBuiltError):
        ToyPlanner().predict(np.zeros(3))


def test_a_simulator_takes_a_snapshot() -> None:
    planner = PETS(SimulatorModel(threads=1), RandomShooting(4), horizon=2, warmup_steps=0)
    planner.build(make_task("Walker2d-v5"))
    env = gymnasium.make("Walker2d-v5")
    obs, _ = env.reset(seed=0)
    with pytest.raises(UnsupportedError, match=r"PETS.predict: expected snapshot, since SimulatorModel can't start"):
        planner.predict(obs)
    snapshot = snapshot_of([env])
    assert snapshot is not None
    action = planner.predict(obs, snapshot=snapshot[0].numpy())
    assert env.action_space.contains(action)
    env.close()


def test_a_model_alone_is_no_policy(tmp_path: Path) -> None:
    rows = collect(make_task("Pendulum-v1"), str(tmp_path / "rows.npz"), steps=50)
    model = GaussianEnsemble(hidden=[4], members=2, elites=2, max_epochs=1)
    trainer(tmp_path / "run").fit(model, OfflineData(str(rows)))
    assert isinstance(mbrl.load(tmp_path / "run"), GaussianEnsemble)
    with pytest.raises(CheckpointError, match=r"expected a planner, which can act, in .*, got GaussianEnsemble"):
        mbrl.load_policy(tmp_path / "run")


def test_a_run_of_a_user_is_loaded_to_act(tmp_path: Path) -> None:
    planner = ToyPlanner()
    trainer(tmp_path).fit(planner, data(20))
    obs = np.array([0.1, 0.2, 0.3], np.float32)
    assert np.array_equal(mbrl.load_policy(tmp_path, allow=["tests"]).predict(obs), planner.predict(obs))
