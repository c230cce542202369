"""Open-loop errors beside what is known of linear systems, and of the simulator itself."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats.mstats import mquantiles

from mbrl.analysis import LinearBaseline, calibration, open_loop_error, split_episodes
from mbrl.analysis.forecasts.nan_statistics import quantiles
from mbrl.analysis.forecasts.normalised_errors import scale_of, within_rounding
from mbrl.analysis.forecasts.windows import place_windows
from mbrl.analysis.model_error.open_loop_result import LINEAR, MEAN, NO_CHANGE, SINGLE
from mbrl.data import Task, Transitions
from mbrl.envs import make_task
from mbrl.errors import ConfigError, DataError, UnsupportedError
from mbrl.models import Pendulum, SimulatorModel
from mbrl.testing import LinearModel
from mbrl.testing.linear import STATE_MATRIX
from tests.analysis.linear_systems import Broken, built, generator, linear_episodes
from tests.models.simulator.recorded import record


def rolled(spread: float, steps: int) -> torch.Tensor:
    """How far member 1 of two is off after each step, `H x S`: spread / 2 a step, carried on by the system."""
    f = torch.tensor(STATE_MATRIX, dtype=torch.float64)
    off, found = torch.zeros(2, dtype=torch.float64), []
    for _ in range(steps):
        off = f @ off + spread / 2
        found.append(off)
    return torch.stack(found)


def test_particles_that_follow_members_are_off_as_their_members_are_and_their_mean_is_not() -> None:
    episodes = linear_episodes(0.0)
    found = open_loop_error(
        built(LinearModel(members=2, spread=0.1)), episodes, generator=generator(), horizon=8, most=40, particles=4
    )
    # the model's matrices are float32
    off = rolled(0.1, 8)
    torch.testing.assert_close(found.curves[SINGLE].rmse[:, :2], off, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.curves[SINGLE].bands[:, :, :2], off.expand(3, 8, 2), rtol=1e-5, atol=1e-6)
    assert found.curves[MEAN].rmse.max() < 1e-5
    sd = torch.cat([episode.obs for episode in episodes]).std(0, correction=0)
    total = (off / sd).square().mean(-1).sqrt()
    torch.testing.assert_close(found.curves[SINGLE].rmse[:, 2], total, rtol=1e-5, atol=1e-6)
    assert found.summary()["median_error_normalised"][SINGLE]["4"] == pytest.approx(float(total[3]), rel=1e-5)
    assert not found.exact  # the mean is, by luck; the model isn't
    assert found.curves[MEAN].windows.unique().tolist() == [40]


def test_noise_grows_as_the_covariance_says_and_the_mean_of_particles_has_less_of_it() -> None:
    found = open_loop_error(
        built(LinearModel(noise=0.1)),
        linear_episodes(0.0, 100),
        generator=generator(),
        horizon=3,
        most=3000,
        particles=5,
    )
    f, covariance = np.array(STATE_MATRIX), np.zeros((2, 2))
    for step in range(3):
        covariance = f @ covariance @ f.T + 0.01 * np.eye(2)
        sd = np.sqrt(np.diag(covariance))
        np.testing.assert_allclose(found.curves[SINGLE].rmse[step, :2], sd, rtol=0.06)  # 4 standard errors
        np.testing.assert_allclose(found.curves[MEAN].rmse[step, :2], sd / np.sqrt(5), rtol=0.06)
        # half of the absolute values of a Gaussian are below 0.674 sd
        np.testing.assert_allclose(found.curves[SINGLE].bands[1, step, :2], 0.6745 * sd, rtol=0.1)


def test_baselines() -> None:
    episodes = linear_episodes(0.05)
    found = open_loop_error(built(LinearModel()), episodes, generator=generator(), horizon=5, most=10_000)
    windows = place_windows(episodes, 5, 10_000, generator()).rows
    off = (windows.obs[:, :1] - windows.next_obs).numpy()  # B x H x S
    np.testing.assert_allclose(found.curves[NO_CHANGE].rmse[:, :2], np.sqrt((off**2).mean(0)), rtol=1e-12)
    np.testing.assert_allclose(
        found.curves[NO_CHANGE].bands[:, :, :2], np.quantile(abs(off), [0.1, 0.5, 0.9], 0), rtol=1e-12
    )
    assert any("linear baseline was fitted to the same rows" in note for note in found.notes)
    assert found.linear_rows == 600 / 4  # 2 observations, an action and the constant
    # with the truth for a model and 600 rows for the baseline, both are as good as the noise allows, the model's no worse
    assert found.curves[LINEAR].rmse[-1, -1] == pytest.approx(float(found.curves[MEAN].rmse[-1, -1]), rel=0.1)
    assert found.summary()["steps_better_than_no_change"] == 5

    other = Transitions.cat(linear_episodes(0.0, seed=1))
    away = replace(other, next_obs=other.obs + 1.0)  # of a system that only drifts
    drifting = open_loop_error(
        built(LinearModel()), episodes, generator=generator(), horizon=5, most=10_000, baseline_rows=away
    )
    assert not any("linear baseline" in note for note in drifting.notes) and drifting.linear_rows is None
    off = (windows.obs[:, :1] + torch.arange(1, 6)[:, None] - windows.next_obs).numpy()
    np.testing.assert_allclose(drifting.curves[LINEAR].rmse[:, :2], np.sqrt((off**2).mean(0)), rtol=1e-5)


def test_the_linear_baseline_is_ridge_regression_of_the_change() -> None:
    rows = Transitions.cat(linear_episodes(0.05))
    exact = LinearBaseline(Transitions.cat(linear_episodes(0.0)), ridge=1e-12).rollout(rows.obs[:3], torch.zeros(3, 9, 1))
    want = rows.obs[:3].numpy() @ np.linalg.matrix_power(np.array(STATE_MATRIX), 9).T
    np.testing.assert_allclose(exact[:, -1], want, atol=1e-8)

    ridge = 0.3
    x = np.concatenate([rows.obs, rows.action], 1)
    x = (x - x.mean(0)) / x.std(0)
    y = (rows.next_obs - rows.obs).numpy()
    # the penalty as rows of data, and a constant without one
    padded = np.concatenate([np.c_[x, np.ones(len(x))], np.c_[np.sqrt(ridge * len(x)) * np.eye(3), np.zeros(3)]])
    weight = np.linalg.lstsq(padded, np.concatenate([y, np.zeros((3, 2))]), rcond=None)[0]
    want = rows.obs.numpy() + np.c_[x, np.ones(len(x))] @ weight
    np.testing.assert_allclose(LinearBaseline(rows, ridge).predict(rows.obs, rows.action), want, rtol=1e-9, atol=1e-12)


def test_quantiles_agree_with_numpy_and_scipy() -> None:
    values = torch.randn(37, 4, 3, generator=generator("values"), dtype=torch.float64)
    levels = (0.0, 0.1, 0.5, 0.9, 1.0)
    np.testing.assert_allclose(quantiles(values, levels), np.quantile(values, levels, 0), rtol=1e-12)
    np.testing.assert_allclose(
        quantiles(values, levels)[:, 1, 2], mquantiles(values[:, 1, 2], levels, alphap=1, betap=1), rtol=1e-12
    )
    values[:30, 0, 0] = torch.nan
    values[:, 1, 1] = torch.nan
    found = quantiles(values, levels)
    np.testing.assert_allclose(found[:, 0, 0], np.quantile(values[30:, 0, 0], levels), rtol=1e-12)
    assert found[:, 1, 1].isnan().all() and int(found.isnan().sum()) == 5


def test_where_a_model_is_not_a_number_is_said_and_the_rest_goes_on() -> None:
    episodes = linear_episodes(0.0, 10, dtype=torch.float32)  # as the model's matrices: all else is exact
    model = built(Broken())
    found = open_loop_error(model, episodes, generator=generator(), horizon=4, most=10_000, particles=3)
    windows = place_windows(episodes, 4, 10_000, generator())
    above = windows.rows.obs[:, :, 0] > 0.4  # B x H: the truth is the model's rollout while there is one
    hit = above.any(1)
    assert 0 < int(hit.sum()) < len(hit)
    assert found.not_finite == found.summary()["rollouts_not_finite"] == 3 * int(hit.sum())
    for curve in (found.curves[MEAN], found.curves[SINGLE]):
        assert curve.windows[:, 1].tolist() == (~(above.cumsum(1) > 0)).sum(0).tolist()
        assert curve.windows[0, 0] == len(hit)
        assert curve.rmse.isfinite().all() and curve.rmse.max() < 1e-5
    assert found.curves[LINEAR].windows.unique().tolist() == [len(hit)]
    first = int(hit.nonzero()[0, 0])
    episode, step = int(windows.episode[first]), int(windows.first[first] + above[first].int().argmax())
    place = f"obs[1] after step {step} of episode {episode}."
    assert any(place in note and f"{found.not_finite} of {3 * len(hit)} rollouts" in note for note in found.notes)
    assert not found.exact and not any("rounding" in note for note in found.notes)  # though the finite ones are
    assert float(episodes[episode].obs[step, 0]) > 0.4


def test_a_model_that_is_nowhere_a_number_has_no_errors() -> None:
    found = open_loop_error(
        built(Broken(above=-99.0)), linear_episodes(0.0, 3), generator=generator(), horizon=4, most=9, particles=2
    )
    assert found.not_finite == 18 and not found.exact
    said = json.loads(json.dumps(found.to_json(), allow_nan=False))["summary"]
    assert said["median_error_normalised"][MEAN] == {"1": None, "2": None, "4": None}
    assert said["steps_better_than_no_change"] == 0
    found.plot().draw_without_rendering()


def test_terminations_that_the_model_makes_up_are_counted_and_rollouts_go_on() -> None:
    episodes = linear_episodes(0.0, 10)
    limit = "mbrl.testing.linear.terminated"
    # both members are off by ±1 a step: after 3 steps at least one dim is beyond ±2, and real states never are
    model = built(LinearModel(members=2, spread=2.0), known_terminated=limit)
    real = torch.cat([episode.next_obs for episode in episodes])
    assert real.abs().max() < 2
    found = open_loop_error(model, episodes, generator=generator(), horizon=4, most=30, particles=2)
    assert found.terminated_early == 1.0
    assert found.curves[SINGLE].rmse[3, 0] > found.curves[SINGLE].rmse[2, 0] > 2
    # an episode that really ended there was not cut short
    ended = [replace(episode, terminated=torch.ones(len(episode), dtype=torch.bool)) for episode in episodes]
    assert open_loop_error(model, ended, generator=generator(), horizon=4, most=30).terminated_early == 0.0
    calm = built(LinearModel(), known_terminated=limit)
    assert open_loop_error(calm, episodes, generator=generator(), horizon=4, most=30).terminated_early == 0.0


def test_the_exact_simulator_has_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log where the program runs
    task = make_task("Walker2d-v5")  # whose observations alone don't determine the state
    episodes = split_episodes(record(task, 60).rows)
    model = SimulatorModel(threads=1)
    model.build(task)
    found = open_loop_error(model, episodes, generator=generator(), horizon=12, most=20)
    assert found.particles == 1
    assert found.curves[MEAN].largest == found.curves[SINGLE].largest == 0.0
    assert found.exact and found.summary()["exact_to_rounding"]
    assert any("Every error is zero to rounding" in note for note in found.notes)
    assert found.summary()["worst_dimension_at_the_end"] is None
    found.plot().draw_without_rendering()


def test_a_closed_form_started_from_float32_has_the_error_of_its_rounding() -> None:
    task = make_task("Pendulum-v1")
    model = Pendulum()
    model.build(task)
    draws = generator("pendulum")
    angle = torch.rand(10, generator=draws, dtype=torch.float64) * 6
    obs = torch.stack([angle.cos(), angle.sin(), torch.zeros(10)], -1)
    parts = []
    for _ in range(30):
        action = torch.rand(10, 1, generator=draws) * 2 - 1
        led_to = model.predict(obs, action.double()).mean[0]
        flags, extras = torch.zeros(10, dtype=torch.bool), {"episode": torch.arange(10)}
        parts.append(Transitions(obs.float(), action, torch.zeros(10), led_to.float(), flags, flags, extras=extras))
        obs = led_to
    rows = Transitions.cat(parts)
    episodes = split_episodes(rows.select(rows.extras["episode"].argsort(stable=True)))
    found = open_loop_error(model, episodes, generator=generator(), horizon=30)
    assert 0 < found.curves[MEAN].largest < 1e-3
    assert found.exact
    off = [replace(episode, next_obs=episode.next_obs + 1e-2) for episode in episodes]
    assert not open_loop_error(model, off, generator=generator(), horizon=30).exact


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e6])
def test_rounding_is_of_each_dimension_in_whatever_unit(unit: float) -> None:
    obs = torch.stack((torch.linspace(-1, 1, 20) * 1000, torch.linspace(-1, 1, 20)), -1) * unit
    rounded, wrong = torch.full((20, 2), unit * 1e-6).double(), torch.full((20, 2), unit * 1e-4).double()
    assert within_rounding(rounded, obs)
    assert not within_rounding(wrong, obs)  # of the large dim it is nothing
    assert within_rounding(wrong[:, :1], obs[:, :1])


def test_a_reward_that_nobody_knows_is_not_needed() -> None:
    """The same errors as with a known reward, and the model refuses to step afterwards as before."""
    episodes = linear_episodes(0.1, 12, dtype=torch.float32)
    found = []
    for reward in ("mbrl.envs.rewards.one", None):
        model = LinearModel(noise=0.1, members=2)
        model.build(Task("", 2, 1, (-1.0,), (1.0,), known_reward=reward, known_terminated="mbrl.envs.terminations.never"))
        ahead = open_loop_error(model, episodes, generator=generator(), horizon=5, most=10)
        sure = calibration(model, episodes, generator=generator(), horizons=(1, 5), most=10)
        found.append((ahead.table(), sure.table()))
    assert str(found[0]) == str(found[1])
    with pytest.raises(UnsupportedError, match="predicts no reward"):
        model.check_known()


def test_a_dimension_that_stands_still_is_left_out_of_totals() -> None:
    def still(episode: Transitions) -> Transitions:
        obs, led_to = episode.obs.clone(), episode.next_obs.clone()
        obs[:, 1] = led_to[:, 1] = 0.1
        return replace(episode, obs=obs, next_obs=led_to)

    episodes = [still(episode) for episode in linear_episodes(0.0)]
    found = open_loop_error(built(LinearModel()), episodes, generator=generator(), horizon=3, names=["position", "speed"])
    assert found.scale[1] == 0 and any("doesn't vary in these rows: speed" in note for note in found.notes)
    assert found.curves[MEAN].rmse[2, 1] > 0.01
    assert found.curves[MEAN].rmse[2, 2] == pytest.approx(float(found.curves[MEAN].rmse[2, 0] / found.scale[0]))
    table = found.table()
    at = next(i for i, name in enumerate(table["dimension"]) if name == "speed")
    assert table["rmse"][at] is not None and table["rmse_normalised"][at] is None
    assert scale_of(torch.full((5, 1), 0.1), torch.full((5, 1), 0.1)).tolist() == [0.0]


def test_table_csv_and_figures(tmp_path: Path) -> None:
    found = open_loop_error(
        built(LinearModel(noise=0.1)), linear_episodes(0.1), generator=generator(), horizon=5, names=["position", "speed"]
    )
    found.to_csv(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4 * 3 * 5
    line = lines[2 * 5 + 4]
    assert (line["predictor"], line["dimension"], line["step"], line["rmse"]) == (MEAN, "all (normalised)", "5", "")
    assert float(line["q50_normalised"]) == pytest.approx(float(found.curves[MEAN].median[-1]))
    speed = lines[5 + 4]
    assert float(speed["rmse"]) / float(speed["scale"]) == pytest.approx(float(speed["rmse_normalised"]))
    figure = found.plot()
    assert figure.axes[0].get_xlabel() == "steps ahead" and "standard deviations" in figure.axes[0].get_ylabel()
    panels = found.plot_dimensions(most=1).axes
    assert [axes.get_title() for axes in panels] == [found.summary()["worst_dimension_at_the_end"]]
    figure.draw_without_rendering()


def test_equal_generators_give_equal_numbers_and_progress_is_told() -> None:
    said: list[str] = []
    tables = [
        open_loop_error(
            built(LinearModel(noise=0.1)), linear_episodes(0.1), generator=generator(), horizon=5, progress=said.append
        ).table()
        for _ in range(2)
    ]
    assert tables[0] == tables[1]
    assert said[-1] == "open-loop error: 500 of 500 windows of 5 steps"


def test_refusals() -> None:
    episodes, model = linear_episodes(0.0, 3, 10), built(LinearModel())
    with pytest.raises(DataError, match="expected an episode of at least 11 steps, the horizon"):
        open_loop_error(model, episodes, generator=generator(), horizon=11)
    with pytest.raises(DataError, match="got none; give rows"):
        open_loop_error(model, [], generator=generator())
    with pytest.raises(ConfigError, match=r"particles=…\): expected a whole number of at least 1, got 0"):
        open_loop_error(model, episodes, generator=generator(), particles=0)
    with pytest.raises(ConfigError, match="expected a list of 2, each text"):
        open_loop_error(model, episodes, generator=generator(), horizon=5, names=["one"])
    broken = replace(episodes[1], next_obs=episodes[1].next_obs * torch.nan)
    with pytest.raises(DataError, match="in episode 1; leave that episode out"):
        open_loop_error(model, [episodes[0], broken], generator=generator(), horizon=5)
