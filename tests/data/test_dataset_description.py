"""What `mbrl check` says to mind about rewards and observations, of a dataset and of an environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl.cli import main
from mbrl.data import Transitions
from mbrl.data.dataset_description import minds_of_values
from mbrl.envs import collect, make_task


def rows(reward: list[float], ends: list[int] = [], obs: list[list[float]] | None = None) -> Transitions:  # noqa: B006
    number = len(reward)
    states = torch.tensor(obs) if obs is not None else torch.arange(2.0 * (number + 1)).view(-1, 2)
    terminated = torch.zeros(number, dtype=torch.bool)
    terminated[ends] = True
    none = torch.zeros(number, dtype=torch.bool)
    return Transitions(states[:-1], torch.zeros(number, 1), torch.tensor(reward), states[1:], terminated, none)


def test_nothing_is_said_of_rewards_and_observations_that_vary() -> None:
    assert minds_of_values(rows([1.0, -2.0, 3.0], [2])) == []
    assert minds_of_values(rows([-1.0, -2.0, -3.0])) == [], "nothing ends the task"
    assert minds_of_values(rows([-1.0, -2.0, 3.0, -1.0], [3])) == [], "going on may earn"
    assert minds_of_values(rows([-1.0])) == [], "one row varies in nothing"


@pytest.mark.parametrize(("at_end", "pays"), [(-1.0, True), (0.0, True), (-90.0, True), (-140.0, False), (100.0, True)])
def test_ends_that_pay_where_rewards_are_negative(at_end: float, pays: bool) -> None:
    """Rewards of −1 and −1.4, −1.2 on average, for ever are −120 at a discount of 0.99: a dearer end is shunned."""
    said = minds_of_values(rows([-1.0, -1.4, -1.0, -1.4, at_end], [4]))
    assert (len(said) == 1) == pays
    if pays:
        assert said[0].startswith(
            "Mind: rewards are negative, -1.2 on average where the task goes on, and an end stops them"
        )
        assert f"({at_end:.4g} at ends, then 0)" in said[0] and "learns to end the task" in said[0]


def test_it_does_not_depend_on_units() -> None:
    for scale in (1e-6, 1e6):
        pays, dear, size = (
            minds_of_values(rows([-1.0 * scale, -1.4 * scale, last * scale], ends))
            for last, ends in ((-90, [2]), (-140, [2]), (-1, []))
        )
        assert len(size) == 1 and "SAC" in size[0], "whose temperature has the rewards' unit"
        assert len(pays) == 2 and "learns to end the task" in pays[0] and dear != size and len(dear) == 1


def test_a_constant_reward_and_constant_observations() -> None:
    assert minds_of_values(rows([2.0, 2.0])) == ["Mind: every reward is 2, so that nothing says which action is better."]
    (ends,) = minds_of_values(rows([2.0, 2.0], [1]))
    assert ends.endswith("which action is better but for how long an episode lasts.")
    still = [[0.0, 273.15, 5.0, 1.0], [1.0, 273.15, 5.0, 1.0], [2.0, 273.15, 5.0, 2.0]]
    (said,) = minds_of_values(rows([1.0, 2.0], obs=still))
    assert said.startswith("Mind: observation [1, 2] never changes"), "the last one moved at the end"


class Cart(gymnasium.Env):
    """A position in millimetres and a constant; a reward of −1e4 and an end beyond a metre."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-500.0, 500.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-900, 900)
        return np.array([self.x, 273.15]), {}

    def step(self, action: Any) -> Any:
        self.x += float(action[0])
        return np.array([self.x, 273.15]), -1e4 - abs(self.x), abs(self.x) > 1000, False, {}


@pytest.fixture
def cart() -> Iterator[str]:
    gymnasium.register("Minds-v0", entry_point=Cart, max_episode_steps=50)
    yield "Minds-v0"
    gymnasium.registry.pop("Minds-v0")


def test_check_says_so_of_an_environment_and_of_its_dataset(
    cart: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = collect(make_task(cart), str(tmp_path / "cart.npz"), steps=200)
    for asked in ([cart, "--steps", "200"], ["--dataset", str(path)]):
        assert main(["check", *asked]) == 0
        told = capsys.readouterr().out
        assert "learns to end the task" in told and "observation [1] never changes" in told
