"""One-step errors by region, beside an independent search and models that are wrong in known places."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.stats import spearmanr
from torch import Tensor

from mbrl.analysis import one_step_error, split_episodes
from mbrl.analysis.forecasts.nearest_rows import NearestRows
from mbrl.analysis.model_error.one_step_result import POLICY_ACTIONS, POLICY_ROWS
from mbrl.data import Prediction, Transitions
from mbrl.envs import make_task
from mbrl.errors import ConfigError
from mbrl.models import SimulatorModel
from mbrl.testing import LinearModel
from tests.analysis.linear_systems import Broken, built, generator, linear_episodes
from tests.models.simulator.recorded import record

WRONG_PUSH = ((0.0,), (0.5,))  # the true one is 0.2


def standardised(rows: Transitions, by: Transitions) -> np.ndarray:
    x, y = (np.concatenate([part.obs, part.action], 1) for part in (rows, by))
    return (x - y.mean(0)) / y.std(0)


class Outward(LinearModel):
    """Off by 0.1 for each unit beyond ±0.2 in dim 0."""

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        said = super().predict(obs, action, member)
        beyond = (obs[..., :1].abs() - 0.2).clamp_min(0.0)
        return replace(said, mean=said.mean + 0.1 * beyond)


def test_distances_agree_with_an_independent_search() -> None:
    table, rows = (Transitions.cat(linear_episodes(0.1, seed=seed)) for seed in (0, 1))
    some = Transitions.cat([rows, table.select(slice(0, 5))])
    found = NearestRows(table, None)(some, None)
    want = cKDTree(standardised(table, table)).query(standardised(some, table))[0]
    np.testing.assert_allclose(found, want, rtol=1e-9, atol=1e-12)
    assert found[-5:].tolist() == [0.0] * 5 and (found[:-5] > 0).all()


def test_distances_to_other_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mbrl.analysis.forecasts.nearest_rows._TABLE", 64)  # several blocks
    monkeypatch.setattr("mbrl.analysis.forecasts.nearest_rows._QUERIES", 50)
    rows = Transitions.cat(linear_episodes(0.1, 9, 20))
    episode = torch.arange(9).repeat_interleave(20)
    found = NearestRows(rows, episode)(rows, episode)
    x = standardised(rows, rows)
    apart = np.linalg.norm(x[:, None] - x[None], axis=-1)
    apart[episode[:, None] == episode] = np.inf
    np.testing.assert_allclose(found, apart.min(1), rtol=1e-9)
    alone = NearestRows(rows, torch.zeros(180, dtype=torch.int64))(rows, torch.zeros(180, dtype=torch.int64))
    assert alone.isnan().all()


def test_error_grows_with_the_distance_where_it_does() -> None:
    near = Transitions.cat(linear_episodes(0.0, 40))
    near = near.select(near.obs[:, 0].abs() < 0.2)
    episodes = linear_episodes(0.0, 20, seed=1)
    found = one_step_error(built(Outward()), episodes, generator=generator(), training_rows=near)
    rows = Transitions.cat(episodes)
    change = rows.next_obs - rows.obs
    scale = change.std(0, correction=0)
    off = 0.1 * (rows.obs[:, 0].abs() - 0.2).clamp_min(0.0)  # in both dims
    total = off * (0.5 * (1 / scale.square()).sum()).sqrt()
    (group,) = found.groups
    assert group.rows == len(rows) == sum(region.rows for region in found.bins)
    np.testing.assert_allclose(found.scale, scale, rtol=1e-12)
    np.testing.assert_allclose(group.rmse[:2], float(off.square().mean().sqrt()), rtol=1e-5)
    np.testing.assert_allclose(group.rmse[2], float(total.square().mean().sqrt()), rtol=1e-5)
    np.testing.assert_allclose(group.bands[:, 2], np.quantile(total, [0.1, 0.5, 0.9]), rtol=1e-4, atol=1e-5)
    distance = cKDTree(standardised(near, near)).query(standardised(rows, near))[0]
    assert [region.rows for region in found.bins] == [60] * 10
    for part, region in zip(np.array_split(np.argsort(distance, kind="stable"), 10), found.bins, strict=True):
        assert float(region.distance[1]) == pytest.approx(float(np.median(distance[part])))
        assert float(region.bands[1, 2]) == pytest.approx(float(np.median(total[part])), rel=1e-4, abs=1e-5)
    said = found.summary()
    assert said["median_error_farthest_tenth"] > 5 * said["median_error_nearest_tenth"]
    assert said["rank_correlation_of_distance_and_error"] == pytest.approx(spearmanr(distance, total).statistic, abs=0.02)
    assert said["rank_correlation_of_distance_and_error"] > 0.8


def test_rows_that_are_training_rows_are_named_and_in_no_bin() -> None:
    episodes = linear_episodes(0.1)
    found = one_step_error(
        built(LinearModel()), episodes, generator=generator(), training_rows=Transitions.cat(episodes[:15])
    )
    assert found.training_rows_met == found.summary()["rows_that_are_training_rows"] == 15 * 30
    assert sum(region.rows for region in found.bins) == 5 * 30
    assert any("450 of 600 rows are training rows themselves" in note for note in found.notes)
    every = one_step_error(built(LinearModel()), episodes, generator=generator(), training_rows=Transitions.cat(episodes))
    assert found.summary()["distance_to"] == "training data"
    assert "nearest row of training data" in found.plot().axes[0].get_xlabel()
    assert every.bins == [] and every.summary()["farthest_relative_to_nearest"] is None
    assert every.summary()["rank_correlation_of_distance_and_error"] is None
    every.plot().draw_without_rendering()


def test_without_training_rows_distances_are_to_other_episodes_and_said_so() -> None:
    found = one_step_error(built(LinearModel()), linear_episodes(0.1), generator=generator())
    assert found.training_rows_met == 0 and len(found.bins) == 10
    assert any("rows of other episodes of the same data" in note for note in found.notes)
    assert found.summary()["distance_to"] == "other episodes"
    assert "nearest row of other episodes" in found.plot().axes[0].get_xlabel()
    one = one_step_error(built(LinearModel()), linear_episodes(0.1, 1), generator=generator())
    assert one.bins == [] and any("only one episode" in note for note in one.notes)
    assert one.summary()["distance_to"] is None
    axes = one.plot().axes[0]  # no distance to draw against, but the errors are drawn
    assert [label.get_text() for label in axes.get_xticklabels()] == ["dataset"] and axes.get_xlabel() == ""
    assert axes.lines[0].get_ydata()[0] == pytest.approx(float(one.groups[0].bands[1, -1]))
    json.dumps(one.to_json(), allow_nan=False)


def test_a_policys_actions_are_judged_by_an_exact_model() -> None:
    episodes = linear_episodes(0.0)
    model, truth = built(LinearModel(action_matrix=WRONG_PUSH)), built(LinearModel())
    found = one_step_error(
        model,
        episodes,
        generator=generator(),
        policy=lambda obs: torch.ones(len(obs), 1),
        truth=truth,
    )
    dataset, policy = found.groups
    actions = torch.cat([episode.action for episode in episodes])
    assert float(dataset.rmse[1]) == pytest.approx(0.3 * float(actions.square().mean().sqrt()), rel=1e-5)
    assert policy.label == POLICY_ACTIONS
    assert policy.bands[:, 1].tolist() == pytest.approx([0.3] * 3, rel=1e-5)
    assert policy.rmse[0] < 1e-6 and policy.distance[1] > dataset.distance[1]
    ratio = found.summary()["groups"][POLICY_ACTIONS]["error_relative_to_dataset"]
    assert ratio == pytest.approx(1 / float(actions.abs().median()), rel=0.02)


def test_rows_that_the_policy_collected_are_a_group_of_their_own() -> None:
    pushed = Transitions.cat(linear_episodes(0.0, seed=1))
    pushed = replace(pushed, action=torch.ones_like(pushed.action))
    led_to = built(LinearModel()).predict(pushed.obs, pushed.action).mean[0]
    found = one_step_error(
        built(LinearModel(action_matrix=WRONG_PUSH)),
        linear_episodes(0.0),
        generator=generator(),
        policy_rows=replace(pushed, next_obs=led_to),
        most=200,
    )
    assert [group.label for group in found.groups] == ["dataset", POLICY_ROWS]
    assert found.groups[1].rmse[1] == pytest.approx(0.3, rel=1e-5)
    assert [group.rows for group in found.groups] == [200, 200]
    assert any("200 rows were drawn from 600" in note for note in found.notes)
    table = found.table()
    assert len(table["by"]) == (2 + 10) * 3
    at = next(i for i in range(36) if (table["region"][i], table["dimension"][i]) == (POLICY_ROWS, "obs[1]"))
    assert table["rmse"][at] == pytest.approx(0.3, rel=1e-5)
    assert table["rmse_normalised"][at] == pytest.approx(0.3 / float(found.scale[1]), rel=1e-5)
    figure = found.plot()
    assert "distance" in figure.axes[0].get_xlabel() and "standard deviations" in figure.axes[0].get_ylabel()
    figure.draw_without_rendering()


def test_only_the_members_that_rollouts_draw_count() -> None:
    class OneElite(LinearModel):
        @property
        def drawn_members(self) -> Tensor:
            return torch.tensor([2])

    model = built(OneElite(members=3, spread=0.1))  # member 2 is off by 0.1
    found = one_step_error(model, linear_episodes(0.0), generator=generator())
    assert found.groups[0].rmse[:2].tolist() == pytest.approx([0.1, 0.1], rel=1e-5)


def test_the_exact_simulator_is_asked_through_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log where the program runs
    task = make_task("Walker2d-v5")  # whose observations alone it refuses
    model = SimulatorModel(threads=1)
    model.build(task)
    found = one_step_error(model, split_episodes(record(task, 40).rows), generator=generator())
    assert found.groups[0].rmse[-1] < 1e-9 and found.exact
    assert any("zero to rounding" in note for note in found.notes)
    assert found.summary()["rank_correlation_of_distance_and_error"] is None
    assert found.summary()["farthest_relative_to_nearest"] is None
    found.plot().draw_without_rendering()


def test_rows_that_are_not_a_number_are_counted_with_their_place() -> None:
    episodes = linear_episodes(0.0, 10)
    found = one_step_error(built(Broken()), episodes, generator=generator())
    rows = Transitions.cat(episodes)
    above = rows.obs[:, 0] > 0.4
    first = int(above.nonzero()[0, 0])
    assert found.not_finite == int(above.sum()) > 0
    assert found.groups[0].rows == 300 - found.not_finite == sum(region.rows for region in found.bins)
    assert any(f"obs[1] after step {first % 30} of episode {first // 30}." in note for note in found.notes)
    assert not found.exact
    assert found.groups[0].rmse.isfinite().all()


def test_refusals() -> None:
    model, episodes = built(LinearModel()), linear_episodes(0.0, 2)
    with pytest.raises(ConfigError, match="expected policy and truth, got policy alone"):
        one_step_error(model, episodes, generator=generator(), policy=lambda obs: obs[:, :1])
    with pytest.raises(ConfigError, match="got truth alone"):
        one_step_error(model, episodes, generator=generator(), truth=model)
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        one_step_error(model, episodes, generator=generator(), most=0)
