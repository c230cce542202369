"""Recorded steps drawn by what their episodes were worth, in batches and as starts of rollouts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mbrl.cli import main
from mbrl.data import (
    DatasetQuality,
    NormalizedScore,
    ReplayBuffer,
    Transitions,
    make_generator,
    mixed_batch,
    trajectory_weights,
)
from mbrl.data.dataset_description import describe
from mbrl.envs import OfflineData
from mbrl.errors import ConfigError, DataError
from tests.planners.offline import offline, offline_data, record
from tests.training.toy import trainer

EPISODES = torch.tensor([0, 0, 1, 2, 2, 2])  # returns 2, 4, 3


def rows(reward: list[float] | None = None, obs: Tensor | None = None) -> Transitions:
    obs = torch.arange(6.0)[:, None] if obs is None else obs
    flags = torch.zeros(6, dtype=torch.bool)
    return Transitions(
        obs=obs,
        action=torch.linspace(-1, 1, 6)[:, None],
        reward=torch.tensor([1.0, 1, 4, 1, 1, 1] if reward is None else reward),
        next_obs=obs + 1,
        terminated=flags,
        truncated=torch.tensor([False, True, True, False, False, False]),
        extras={"episode": EPISODES},
    )


def test_probabilities_of_three_trajectories() -> None:
    found = trajectory_weights(rows(), "return", 0.5)
    e = torch.tensor([0.0, 0, 1, 0.5, 0.5, 0.5], dtype=torch.float64).div(0.5).exp()
    assert torch.allclose(found, e / e.sum(), rtol=1e-12)
    even = trajectory_weights(rows(), "return", 1e9)
    assert torch.allclose(even, torch.full((6,), 1 / 6, dtype=torch.float64), rtol=1e-6), "per step, not per episode"


def test_units_of_reward_and_observation_do_not_matter() -> None:
    for by in ("return", "advantage"):
        found = trajectory_weights(rows(), by, 0.1)  # type: ignore[arg-type]
        other = rows([1e4 * r for r in (1, 1, 4, 1, 1, 1)], torch.arange(6.0)[:, None] * 1e-3 + 5)
        assert torch.allclose(trajectory_weights(other, by, 0.1), found, rtol=1e-3), by  # type: ignore[arg-type]
        tiny = rows(obs=torch.arange(6.0)[:, None] * 1e-12)
        assert torch.allclose(trajectory_weights(tiny, by, 0.1), found, rtol=1e-3), by  # type: ignore[arg-type]


def test_returns_that_are_alike_are_uniform() -> None:
    for by in ("return", "advantage"):
        found = trajectory_weights(rows([0.1, 0.2, 0.3, 0.1, 0.1, 0.1]), by, 0.01)  # type: ignore[arg-type]
        assert torch.allclose(found, torch.full((6,), 1 / 6, dtype=torch.float64), rtol=1e-6)


def test_advantage_takes_off_what_the_first_observation_tells() -> None:
    # first observations 0, 2, 3; returns on a line of these have no advantage
    line = rows([1.0, 0, 5, 7, 0, 0])
    assert torch.allclose(trajectory_weights(line, "advantage", 0.01), torch.full((6,), 1 / 6, dtype=torch.float64))
    # the line through (0, 2), (2, 4), (3, 3) of least squares
    x, y = torch.tensor([0.0, 2, 3], dtype=torch.float64), torch.tensor([2.0, 4, 3], dtype=torch.float64)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    left = y - y.mean() - slope * (x - x.mean())
    g = (left - left.min()) / (left.max() - left.min())
    expected = (g[EPISODES] / 0.1).softmax(0)
    assert torch.allclose(trajectory_weights(rows(), "advantage", 0.1), expected, rtol=1e-6)


def test_an_advantage_that_the_first_observations_explain_whatever_it_is_is_refused() -> None:
    """A line through three points of two columns leaves no advantage of any returns: all rows would count alike."""
    obs = torch.stack((torch.arange(6.0), torch.tensor([0.0, 1, 5, -3, 0, 0])), 1)
    with pytest.raises(DataError, match=r"expected more than 3 episodes, .* got 3; .* weights: return"):
        trajectory_weights(rows(obs=obs), "advantage", 0.1)
    obs[:, 1] = 2 * obs[:, 0] - 1  # which knows nothing that the first column doesn't
    assert not trajectory_weights(rows(obs=obs), "advantage", 0.1).allclose(torch.full((6,), 1 / 6, dtype=torch.float64))
    alone = rows()
    alone.extras["episode"] = torch.zeros(6, dtype=torch.int64)
    assert trajectory_weights(alone, "advantage", 0.1).allclose(torch.full((6,), 1 / 6, dtype=torch.float64))


def buffer() -> ReplayBuffer:
    made = ReplayBuffer(6, 1, 1)
    made.add(rows())
    return made


def test_rows_are_drawn_in_proportion_to_their_weights() -> None:
    weights, made = torch.tensor([0.0, 1, 0, 2, 5, 0]), buffer()
    made.weigh(weights)
    for drawn in (
        made.sample(40_000, make_generator("cpu", 0, "a")),
        mixed_batch([(made, 40_000)], make_generator("cpu", 0, "b")),
    ):
        share = torch.bincount(drawn.obs[:, 0].long(), minlength=6) / 40_000
        assert torch.allclose(share, weights / 8, atol=0.01)
        assert bool((share[weights == 0] == 0).all())


def test_without_weights_draws_are_as_before() -> None:
    drawn = buffer().sample(20, make_generator("cpu", 3, "a"))
    assert torch.equal(drawn.row, torch.randint(6, (20,), generator=make_generator("cpu", 3, "a")))


def test_weights_that_cannot_be_drawn_by_are_refused() -> None:
    for bad in (torch.ones(5), torch.zeros(6), torch.tensor([1.0, 1, 1, 1, 1, -1]), torch.full((6,), float("nan"))):
        with pytest.raises(DataError, match="expected 6 finite numbers ≥ 0"):
            buffer().weigh(bad)
    made = buffer()
    made.weigh(torch.ones(6))
    with pytest.raises(DataError, match="expected rows without weights"):
        made.add(rows())
    with pytest.raises(DataError, match="expected rows without weights"):
        made.resize(7)


def test_a_planner_draws_by_the_weights_and_resumes_equal(tmp_path: Path) -> None:
    path = record(tmp_path / "rows.npz")
    data = offline_data(path, weights="return", temperature=0.2)
    planner = offline()
    planner.build(data.task, 0)
    planner.take(data.transitions)
    drawn = planner.real_buffer.sample(20_000, make_generator("cpu", 0, "a"))
    share = torch.bincount(drawn.row, minlength=100) / 20_000
    assert torch.allclose(share.double(), trajectory_weights(data.transitions, "return", 0.2), atol=0.01)

    def run(folder: Path, steps: int, ckpt: str | None = None) -> dict[str, Tensor]:
        made = offline()
        options = {"weights": "return", "temperature": 0.2, "eval_episodes": 0}
        trainer(folder).fit(made, offline_data(path, steps, **options), ckpt_path=ckpt)
        return {name: value.clone() for name, value in made.learner.named_parameters()}

    whole = run(tmp_path / "whole", 8)
    run(tmp_path / "half", 4)
    halves = run(tmp_path / "half", 8, "last")
    assert all(torch.equal(halves[name], value) for name, value in whole.items())


def test_idle_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected weights beside temperature"):
        OfflineData("rows.npz", temperature=0.1)
    with pytest.raises(ConfigError, match="weights"):
        OfflineData("rows.npz", weights="rewards")  # type: ignore[arg-type]
    data = OfflineData(str(record(tmp_path / "rows.npz")), weights="return")
    with pytest.raises(ConfigError, match="fitted to all rows alike; leave weights out"):
        trainer(tmp_path / "run").fit(offline().dynamics, data)


def test_quality_by_hand() -> None:
    found = DatasetQuality.of(rows())
    assert (found.episodes, found.mean, found.quantiles[0], found.quantiles[-1]) == (3, 3.0, 2.0, 4.0)
    assert found.tq == 0.5 and found.cells == 6 and found.saco == 1.0
    assert found.positive_variance == pytest.approx(0.25 / 3)  # g = 0, 1, 0.5
    assert DatasetQuality.of(rows(), between=(1.0, 9.0)).tq == 0.25
    twice = rows()
    twice.obs[3:], twice.action[3:] = twice.obs[:3].clone(), twice.action[:3].clone()
    assert DatasetQuality.of(twice).saco == 0.5 and DatasetQuality.of(twice, reference=rows()).saco == 0.5
    scaled = rows([1e4 * r for r in (1, 1, 4, 1, 1, 1)], torch.arange(6.0)[:, None] * 1e-3)
    assert (DatasetQuality.of(scaled).tq, DatasetQuality.of(scaled).cells) == (0.5, 6)
    close = rows(obs=torch.tensor([0, 0.04, 0.06, 0.5, 0.54, 1])[:, None])
    close.action[:] = 0.0
    assert DatasetQuality.of(close).cells == 3, "of ten"
    still = rows(obs=torch.zeros(6, 1))  # a column that is constant in the reference has one cell, in whatever unit
    still.action[:] = 0.0
    for unit in (1e-3, 1.0, 1e3):
        moving = rows(obs=unit * torch.linspace(0, 1, 6)[:, None])
        moving.action[:] = 0.0
        assert DatasetQuality.of(moving, reference=still).cells == 1
    alike = DatasetQuality.of(rows([0.0] * 6))
    assert alike.tq != alike.tq and alike.to_json()["tq"] is None and alike.positive_variance == 0


def test_returns_between_references_and_an_unknown_termination(tmp_path: Path) -> None:
    data = OfflineData(str(record(tmp_path / "rows.npz")))
    assert "Normalised returns: none, since the dataset has no reference scores." in data.describe()
    low, high = DatasetQuality.of(data.transitions).quantiles[:: len(DatasetQuality.of(data.transitions).quantiles) - 1]
    data.dataset.references = NormalizedScore(low, high, "ours")
    told = " ".join(data.describe())
    assert "on average, 0 to 100; 0 is a return of" in told and "(ours)" in told
    assert "when the task ends is unknown" not in told
    unknown = OfflineData(str(tmp_path / "rows.npz"), terminated="learned")
    assert "Mind: when the task ends is unknown: no function says it, and no row ends it" in " ".join(unknown.describe())


def test_the_figure_of_returns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = ["check", "--dataset", str(record(tmp_path / "rows.npz")), "--figure"]
    assert main([*check, str(tmp_path / "returns.png")]) == 0
    assert (tmp_path / "returns.png").read_bytes().startswith(b"\x89PNG")
    assert "figure   " in capsys.readouterr().out
    for path, told in (("returns.pdf", "ends in .png"), ("no/returns.png", "make it")):
        assert main([*check, str(tmp_path / path)]) == 2
        assert told in capsys.readouterr().err
    assert main(["check", "Pendulum-v1", "--figure", "returns.png"]) == 2


def test_what_a_reader_should_mind(tmp_path: Path) -> None:
    data = OfflineData(str(record(tmp_path / "rows.npz")), weights="return", temperature=1e9)
    still = rows()
    still.action[:] = 1.0
    told = " ".join(describe(data.dataset, data.task, still))
    assert (
        "1 episode has no end" in told
        and "action [0] never changes" in told
        and "100 % of the actions lie on a bound" in told
    )
    heavy = rows([-100.0, -100, -1, -90, -90, -90])  # where rewards are negative a fragment looks best
    heavy.extras["weight"] = trajectory_weights(heavy, "return", 0.1)
    assert "Mind: episode 1, of 1 step, is drawn 100 % of the time" in " ".join(describe(data.dataset, data.task, heavy))
    assert "of the time" not in " ".join(data.describe())
    none = rows()
    none.truncated[:] = False
    assert "no row says that an episode ended" in " ".join(describe(data.dataset, data.task, none))
    by_task = rows()
    by_task.terminated[5] = True
    assert "no end" not in " ".join(describe(data.dataset, data.task, by_task))
    assert "there is one step" in " ".join(describe(data.dataset, data.task, rows().select(slice(0, 1))))
    assert "drawn as from 100 even ones" in " ".join(data.describe())
