"""Reward, termination and return: exact where the model is, off by known amounts where it isn't."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from mbrl.analysis.model_error.reward_and_termination import reward_and_termination
from mbrl.data import Prediction, Transitions, make_generator
from mbrl.envs import VectorExperience, make_task
from mbrl.errors import ConfigError, DataError
from mbrl.models import DynamicsModel, HasMembers, Pendulum
from mbrl.testing import LinearModel, linear_task
from mbrl.testing.linear import ACTION_MATRIX
from tests.analysis.faulty_model import F, G, exact_model, faulty, linear_episodes

EPISODES = linear_episodes()
UNKNOWN = replace(linear_task(ends=False), known_reward=None, known_terminated=None)


def look(model, episodes=EPISODES, **options):
    options = {"horizon": 8, "particles": 2, **options}
    return reward_and_termination(model, episodes, generator=make_generator("cpu", 0), **options)


class Promising(DynamicsModel, HasMembers):
    """The true dynamics with a learned reward that is off by member, and ends where a member's limit is passed."""

    members = 3

    def __init__(self, off: list[float], limits: list[float], drawn: list[int]) -> None:
        super().__init__()
        self.off, self.limits, self.drawn = off, limits, drawn

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        mean = obs @ F.T + action @ G.T  # B x S
        reward = -(mean.square().sum(-1) + 0.1 * action.square().sum(-1))
        off, limit = torch.tensor(self.off), torch.tensor(self.limits)
        if member is None:
            mean = mean.expand(3, *mean.shape)
            off, limit = (x.view(-1, *[1] * reward.ndim) for x in (off, limit))
        else:
            off, limit = off[member], limit[member]
        return Prediction(mean, torch.zeros_like(mean), reward + off, None, mean.abs().amax(-1) - limit)

    @property
    def drawn_members(self) -> Tensor:
        return torch.tensor(self.drawn)


def promising(off=(0.0, 0.0, 0.0), limits=(99.0, 99.0, 99.0), drawn=(0, 1, 2)) -> Promising:
    model = Promising(list(off), list(limits), list(drawn))
    model.build(UNKNOWN)
    return model


def test_an_exact_model_is_right_to_rounding() -> None:
    result = look(exact_model())
    assert result.exact and any("right to rounding" in note for note in result.notes)
    assert result.reward.source == "known" and result.reward.rmse < 1e-6
    assert result.returns.particles == 1 and result.returns.rmse < 1e-5
    assert result.summary()["returns"]["pearson"] == pytest.approx(1.0, abs=1e-6)
    assert not look(faulty()).exact


def test_the_pendulums_return_is_that_of_the_environment() -> None:
    task = make_task("Pendulum-v1")
    experience, generator = VectorExperience(task, 2), make_generator("cpu", 0)
    steps = [experience.step(torch.rand(2, 1, generator=generator) * 2 - 1) for _ in range(30)]
    episodes = [Transitions.cat([step.select(slice(i, i + 1)) for step in steps]) for i in range(2)]
    model = Pendulum()
    model.build(task)
    result = look(model, episodes, horizon=10)
    assert result.exact and result.termination.source == "known"
    window = int(result.returns.first[0])
    obtained = episodes[int(result.returns.episode[0])].reward[window : window + 10].sum()
    assert float(result.returns.predicted[0]) == pytest.approx(float(obtained), rel=1e-4)


def test_a_reward_that_is_off_by_a_constant() -> None:
    """Rollouts draw members 0 and 2, which are off by 0.1 and 0.5: a bias of 0.3 a step, 8 times that in 8 steps."""
    result = look(promising(off=(0.1, -9.0, 0.5), drawn=(0, 2)))
    assert result.reward.source == "learned"
    assert result.reward.bias == pytest.approx(0.3, abs=1e-6) and result.reward.rmse == pytest.approx(0.3, abs=1e-6)
    assert result.reward.correlation == pytest.approx(1.0)
    assert result.returns.bias == pytest.approx(8 * 0.3, abs=1e-5)  # a window's two particles ask one member each
    assert torch.allclose(result.returns.spread, torch.tensor(8 * 0.2, dtype=torch.float64), atol=1e-5)
    discounted = look(promising(off=(0.1, -9.0, 0.5), drawn=(0, 2)), discount=0.9)
    assert discounted.returns.bias == pytest.approx(0.3 * sum(0.9**k for k in range(8)), abs=1e-5)


def test_returns_are_compared_window_by_window() -> None:
    result = look(faulty(fault=0.3), windows=50)
    returns = result.returns
    for window in (0, 17, 49):
        episode, first = int(returns.episode[window]), int(returns.first[window])
        obtained = float(EPISODES[episode].reward[first : first + 8].double().sum())
        assert float(returns.obtained[window]) == pytest.approx(obtained, abs=1e-6)
    summary = result.summary()["returns"]
    assert summary["pearson"] == pytest.approx(stats.pearsonr(returns.predicted, returns.obtained).statistic)
    assert summary["spearman"] == pytest.approx(stats.spearmanr(returns.predicted, returns.obtained).statistic)
    assert returns.bias < 0  # the fault drives the state outwards, which costs


def test_confusion_of_ends() -> None:
    """Where |s'| > 2 really ends it; most members say so beyond 1.5, one never, so that all ends are found."""
    real = Transitions.cat(linear_episodes(60, 40, ends=True))
    assert bool(real.terminated.any())
    episodes = linear_episodes(60, 40, ends=True)
    early = (real.next_obs.abs().amax(-1) > 1.5) & ~real.terminated
    result = look(promising(limits=(1.5, 1.5, 99.0)), episodes, horizon=4)
    ends = result.termination
    assert ends.source == "learned"
    assert (ends.true_positive, ends.false_negative) == (int(real.terminated.sum()), 0)
    assert ends.false_positive == int(early.sum()) > 0
    assert sum((ends.true_positive, ends.false_positive, ends.false_negative, ends.true_negative)) == len(real)
    assert ends.recall == 1.0 and ends.precision == ends.true_positive / (ends.true_positive + ends.false_positive)
    assert ends.false_alarms == pytest.approx(ends.false_positive / int((~real.terminated).sum()))
    late = look(promising(limits=(1.5, 99.0, 99.0)), episodes, horizon=4).termination
    assert (late.true_positive, late.precision) == (0, None)  # one of three is no majority
    assert late.recall == 0.0


def test_nothing_is_earned_after_a_predicted_end() -> None:
    """Every member ends every rollout at once: a predicted return is its first reward."""
    result = look(promising(limits=(-50.0, -50.0, -50.0)))
    assert result.returns.early == 1.0 and any("really went on" in note for note in result.notes)
    for window in range(5):
        first = EPISODES[int(result.returns.episode[window])].reward[int(result.returns.first[window])]
        assert float(result.returns.predicted[window]) == pytest.approx(float(first), abs=1e-5)


def test_classes_that_are_absent_are_undefined() -> None:
    result = look(exact_model())
    assert result.termination.recall is None and result.termination.precision is None
    assert any("No real step ends" in note for note in result.notes)
    assert '"recall": null' in json.dumps(result.to_json())


def test_what_nobody_knows_is_said_by_name() -> None:
    model = LinearModel()
    model.build(UNKNOWN)
    result = look(model)
    assert result.reward is None and result.termination is None and result.returns is None
    told = " ".join(result.notes)
    assert "reward is neither known nor learned" in told and "Termination is neither" in told and "Returns aren't" in told
    assert not result.exact and result.in_short()[0].startswith("The reward is unknown")
    assert result.summary()["returns"] is None
    assert {len(column) for column in result.table().values()} == {0}
    result.plot().draw_without_rendering()


def test_small_rewards_are_not_right_because_they_are_small() -> None:
    """A reward of a hundred-thousandth that is off by a half is wrong, as it is in other units."""
    small = [replace(episode, reward=1e-5 * episode.reward) for episode in EPISODES]
    found = look(exact_model(), small)
    assert found.reward.rmse < 1.0 and not found.exact and found.in_short() != ["Zero to rounding."]


def test_numbers_that_are_not_finite_are_counted_with_their_place() -> None:
    result = look(faulty(nan_above=0.45), most=10_000)
    wrong = sum(int((episode.obs[:, 0].abs() > 0.45).sum()) for episode in EPISODES)
    assert result.reward.rows == sum(map(len, EPISODES)) - wrong
    assert sum(result.summary()["termination"][key] for key in ("true_negative", "false_positive")) == result.reward.rows
    assert any(note.startswith(f"{wrong} of") and "episode" in note for note in result.notes)
    assert any("returns aren't finite" in note for note in result.notes)
    assert bool(result.returns.fine.any()) and result.returns.bias is not None and not result.exact
    result.plot().draw_without_rendering()


def test_a_constant_reward_has_no_correlation() -> None:
    model = promising()
    episodes = [replace(episode, reward=torch.ones_like(episode.reward)) for episode in EPISODES]
    result = look(model, episodes)
    assert result.reward.correlation is None and result.summary()["returns"]["pearson"] is None


def test_bad_arguments_and_short_episodes() -> None:
    with pytest.raises(DataError, match="at least 30 steps"):
        look(exact_model(), horizon=30)
    with pytest.raises(ConfigError, match="particles"):
        look(exact_model(), particles=0)
    with pytest.raises(ConfigError, match="discount"):
        look(exact_model(), discount=0.0)


def test_table_plot_and_json() -> None:
    model = LinearModel([[1.0, 0.1], [0.0, 0.8]], ACTION_MATRIX, members=3, spread=0.05, noise=0.05)
    model.build(linear_task(ends=False))
    result = look(model, windows=40)
    assert {len(column) for column in result.table().values()} == {40}
    json.dumps(result.to_json(), allow_nan=False)
    result.plot().draw_without_rendering()
    assert any("40 windows were drawn" in note for note in result.notes)
