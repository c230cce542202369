"""Evaluation: which episodes count, and the interval of their mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from mbrl.data import Transitions
from mbrl.planners import EpisodeReturns, evaluate, evaluating
from tests.planners.test_dyna import Line, dyna


class Scripted(Line):
    """Environment i ends its k-th episode after a scripted number of steps; each step earns 1."""

    def __init__(self, lengths: list[list[int]]) -> None:
        super().__init__(len(lengths))
        self.lengths = [list(part) for part in lengths]

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self.left = [part.pop(0) for part in self.lengths]

    def step(self, action: Tensor) -> Transitions:
        self.left = [n - 1 for n in self.left]
        ended = torch.tensor([n == 0 for n in self.left])
        self.left = [n or self.lengths[i].pop(0) for i, n in enumerate(self.left)]
        self.ended = ended
        one = torch.ones(self.num_envs)
        return Transitions(self.obs, action, one, self.obs, ended, torch.zeros_like(ended))


@pytest.mark.parametrize(
    ("script", "episodes", "expected"),
    [
        ([[3, 5, 9]], 2, [3, 5]),
        ([[10, 99], [2, 3, 99], [4, 99]], 3, [10, 2, 4]),  # short episodes that come later don't count
        ([[10, 99], [2, 3, 4, 99]], 4, [10, 2, 3, 4]),
        ([[7, 99], [2, 99], [1, 99]], 2, [7, 2]),  # more environments than episodes
    ],
)
def test_episodes_count_in_the_order_of_their_start(script: Any, episodes: int, expected: list[int]) -> None:
    result = evaluate(dyna(), Scripted(script), episodes, seed=0)
    assert result.lengths.tolist() == expected
    assert result.returns.tolist() == expected


@pytest.mark.parametrize(
    ("script", "episodes", "expected"),
    [
        ([[3, 5, 9]], 2, [0, 1]),
        ([[10, 99], [2, 3, 4, 99]], 4, [0, 1, 3, 5]),  # the second environment plays the later ones
        ([[2, 3, 99], [10, 99]], 3, [0, 1, 2]),
        ([[7, 99], [2, 99], [1, 99]], 2, [0, 1]),
    ],
)
def test_an_episode_is_known_by_its_environment_and_its_turn(script: Any, episodes: int, expected: list[int]) -> None:
    found = evaluate(dyna(), Scripted(script), episodes, seed=0).starts
    assert found is not None and found.tolist() == expected


def test_the_difference_of_two_evaluations_is_that_of_the_same_episodes() -> None:
    def played(returns: list[float], starts: list[int] | None) -> EpisodeReturns:
        known = None if starts is None else torch.tensor(starts)
        return EpisodeReturns(torch.tensor(returns, dtype=torch.float64), torch.ones(len(returns)), None, known)

    one = played([1e6 + 1, 4, 2, -8, 5], [0, 1, 2, 3, 4])
    other = played([1e6, 2, 2, -11, 1], [0, 1, 2, 3, 4])
    mean, low, high = one.difference(other)
    gaps = np.array([1.0, 2, 0, 3, 4])
    assert mean == 2 and (low, high) == pytest.approx(stats.t.interval(0.95, 4, 2, stats.sem(gaps)), abs=1e-12)
    assert one.difference(one) == (0, 0, 0)
    assert one.difference(played([9.0, 3.0], [7, 1])) == (1, None, None), "one in common"
    assert one.difference(played([9.0], [7])) == one.difference(played([9.0], None)) == (None, None, None)


def test_the_interval_is_students() -> None:
    returns = torch.tensor([1.0, 4.0, 2.0, 8.0, 5.0], dtype=torch.float64)
    summary = EpisodeReturns(returns, torch.tensor([5] * 5)).summary()
    low, high = stats.t.interval(0.95, 4, returns.mean(), stats.sem(returns))
    assert summary["return"] == 4 and summary["length"] == 5
    assert (summary["return_low"], summary["return_high"]) == pytest.approx((low, high), abs=2e-3)
    many = torch.arange(41.0, dtype=torch.float64) ** 2  # beyond the table
    summary = EpisodeReturns(many, torch.tensor([5] * 41)).summary()
    low, high = stats.t.interval(0.95, 40, many.mean(), stats.sem(many))
    assert (summary["return_low"], summary["return_high"]) == pytest.approx((low, high), rel=1e-4)
    assert EpisodeReturns(returns[:1], torch.tensor([5])).summary() == {"return": 1.0, "length": 5.0, "episodes": 1.0}


class Watched(Scripted):
    """Counts how often the simulator's states are read."""

    reads = 0

    @property
    def snapshot(self) -> Tensor | None:
        self.reads += 1
        return None


def test_simulator_states_are_read_for_whoever_starts_from_them() -> None:
    planner, experience = dyna(), Watched([[3, 5, 9]])
    evaluate(planner, experience, 2, seed=0)
    assert experience.reads == 0
    planner.dynamics.row_extras = lambda task: {"sim_state": 3}
    experience = Watched([[3, 5, 9]])
    evaluate(planner, experience, 2, seed=0)
    assert experience.reads == 3 + 5


def test_every_part_gets_its_mode_back() -> None:
    module = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Linear(1, 1), nn.Dropout()))
    module[1][1].eval()
    before = [part.training for part in module.modules()]
    with evaluating(module):
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == before
