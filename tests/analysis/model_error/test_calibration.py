"""Coverage and scores beside closed forms, scipy, and linear-Gaussian systems of known noise."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from mbrl.analysis import Calibration, calibration, split_episodes
from mbrl.analysis.forecasts.scores import crps_of_mixture, crps_of_particles, nll_of_mixture, rank_between
from mbrl.analysis.model_error.calibration_result import CALIBRATED, OVER, SHAPE, UNDER
from mbrl.envs import make_task
from mbrl.errors import ConfigError, DataError
from mbrl.models import SimulatorModel
from mbrl.testing import LinearModel
from mbrl.testing.linear import ACTION_MATRIX, STATE_MATRIX, forecast
from tests.analysis.linear_systems import Broken, built, generator, linear_episodes, shortened
from tests.models.simulator.recorded import record

SIGMA = 0.05
LEVELS = (0.5, 0.8, 0.95)


def coverages(found: Calibration, at: int, dim: int = -1) -> list[float]:
    return [float(found.horizons[at].coverage[found.grid.index(level), dim]) for level in found.levels]


def judged(noise: float, **options: object) -> Calibration:
    model = built(LinearModel(noise=noise, members=3))
    return calibration(model, linear_episodes(SIGMA, 150, 20), generator=generator("judged"), horizons=(1, 4), **options)


@pytest.fixture(scope="module")
def calibrated() -> Calibration:
    return judged(SIGMA)


# linear-Gaussian systems ---------------------------------------------------------------------------------------------


def test_a_calibrated_ensemble_covers_within_sampling_error_of_nominal(calibrated: Calibration) -> None:
    for at, trials in ((0, 1000), (1, 750)):  # 150 · 20 / 4 windows don't overlap
        assert calibrated.horizons[at].effective == trials
        for dim in (0, 1):
            for level, share in zip(LEVELS, coverages(calibrated, at, dim), strict=True):
                low, high = stats.binom.interval(0.9999, trials, level)
                assert low / trials <= share <= high / trials
                assert calibrated.horizons[at].standard_error(level) == pytest.approx(
                    stats.binom.std(trials, level) / trials
                )
        assert calibrated.verdict(calibrated.horizons[at]) == CALIBRATED
    said = calibrated.summary()
    assert said["verdict"] == CALIBRATED and said["applicable"]
    assert said["horizons"]["1"]["dimensions_over_confident"] == said["horizons"]["1"]["dimensions_under_confident"] == 0
    assert any(note.startswith("Calibrated within sampling error 1 step ahead: ") for note in calibrated.notes)


@pytest.mark.parametrize(("factor", "verdict"), [(1 / 3, OVER), (2.0, UNDER)])
def test_intervals_that_are_too_narrow_or_too_wide_are_shown_as_such(factor: float, verdict: str) -> None:
    found = judged(factor * SIGMA)
    for at, trials in ((0, 1000), (1, 750)):
        for level, share in zip(LEVELS, coverages(found, at, 0), strict=True):
            truth = 2 * stats.norm.cdf(stats.norm.ppf(0.5 + level / 2) * factor) - 1  # 48.7 % in 95 % intervals at 1/3
            low, high = stats.binom.interval(0.9999, trials, truth)
            # quantiles of 39 draws vary, which moves coverage off nominal by a few per cent
            slack = 0.03 if at else 0.0
            assert low / trials - slack <= share <= high / trials + slack
        assert found.verdict(found.horizons[at]) == found.verdict(found.horizons[at], 0) == verdict
    said = found.summary()
    assert said["verdict"] == verdict
    count = "dimensions_over_confident" if verdict == OVER else "dimensions_under_confident"
    assert said["horizons"]["4"][count] == 2
    share = said["horizons"]["1"]["coverage"]["95"]
    assert any(
        note.startswith(verdict.capitalize()) and f"{100 * share:.1f} % of outcomes in 95 %" in note for note in found.notes
    )


def test_one_level_too_low_and_another_too_high_is_a_wrong_shape(calibrated: Calibration) -> None:
    first = calibrated.horizons[0]
    share = first.coverage.clone()
    share[calibrated.grid.index(0.5)] = 0.6
    share[calibrated.grid.index(0.95)] = 0.9
    assert calibrated.verdict(replace(first, coverage=share)) == SHAPE
    share[calibrated.grid.index(0.95)] = 0.95 + 2.9 * first.standard_error(0.95)
    share[calibrated.grid.index(0.5)] = 0.5 - 2.9 * first.standard_error(0.5)
    assert calibrated.verdict(replace(first, coverage=share)) == CALIBRATED


def test_scores_of_a_calibrated_ensemble_are_those_of_its_noise(calibrated: Calibration) -> None:
    f, g = torch.tensor(STATE_MATRIX), torch.tensor(ACTION_MATRIX)
    _, covariances = forecast(f, g, SIGMA, torch.zeros(1, 2), torch.zeros(1, 4, 1))
    particles = 39
    bias = 0.5 * ((1 + 1 / particles) * (particles - 1) / (particles - 3) - 1)
    bias += 0.5 * (special.psi((particles - 1) / 2) - math.log((particles - 1) / 2))
    assert 0.02 < bias < 0.03
    for at, found in enumerate(calibrated.horizons):
        sd = covariances[found.horizon - 1].diagonal().sqrt().double()
        # means over 1000 rows of numbers whose spread is about that of ½ z² and of |z|
        entropy = sd.log() + 0.5 * math.log(2 * math.pi * math.e) + (bias if at else 0.0)
        np.testing.assert_allclose(found.nll[:2], entropy, atol=4 * 0.71 / math.sqrt(found.effective))
        np.testing.assert_allclose(found.crps[:2], sd / math.sqrt(math.pi), rtol=0.1)
        np.testing.assert_allclose(found.sharpness[:2], sd, rtol=0.02)
        np.testing.assert_allclose(found.rmse[:2], sd * (math.sqrt(1 + 1 / particles) if at else 1), rtol=0.1)
    first = calibrated.horizons[0]
    assert float(first.nll[2]) == pytest.approx(float((first.nll[:2] - first.scale.log()).mean()))
    assert float(first.crps[2]) == pytest.approx(float((first.crps[:2] / first.scale).mean()))
    assert float(first.sharpness[2]) == pytest.approx(float((first.sharpness[:2] / first.scale).mean()))


def test_aleatoric_and_epistemic_parts_are_told_apart() -> None:
    episodes = linear_episodes(SIGMA)
    found = calibration(
        built(LinearModel(noise=0.1, members=5, spread=0.2)), episodes, generator=generator(), horizons=(1,)
    ).horizons[0]
    epistemic = 0.2 * math.sqrt((5**2 - 1) / 12)
    assert found.aleatoric[:2].tolist() == pytest.approx([0.1, 0.1], rel=1e-5)
    assert found.epistemic[:2].tolist() == pytest.approx([epistemic] * 2, rel=1e-5)
    assert found.sharpness[:2].tolist() == pytest.approx([math.hypot(0.1, epistemic)] * 2, rel=1e-5)
    rows = torch.cat([episode.next_obs - episode.obs for episode in episodes])
    np.testing.assert_allclose(found.scale, rows.std(0, correction=0), rtol=1e-12)
    said = calibration(
        built(LinearModel(noise=0.1, members=5, spread=0.2)), episodes, generator=generator(), horizons=(1, 3)
    )
    assert said.summary()["epistemic_share_of_variance"] == pytest.approx(0.08 / 0.09, rel=1e-5)
    assert said.horizons[1].aleatoric.isnan().all() and said.horizons[1].epistemic.isnan().all()
    assert any("aren't told apart" in note for note in said.notes)
    changes = torch.cat([episode.next_obs[2:] - episode.obs[:-2] for episode in episodes])
    np.testing.assert_allclose(said.horizons[1].scale, changes.std(0, correction=0), rtol=1e-12)


def test_the_mixtures_cdf_is_what_coverage_counts_one_step_ahead() -> None:
    episodes = linear_episodes(SIGMA, 20, 10)
    found = calibration(
        built(LinearModel(noise=0.03, members=2, spread=0.1)),
        episodes,
        generator=generator(),
        horizons=(1,),
        levels=(0.3, 0.9),
    )
    rows = torch.cat([episode.next_obs for episode in episodes]).numpy()
    f, g = np.array(STATE_MATRIX), np.array(ACTION_MATRIX)
    mean = np.concatenate([episode.obs.numpy() @ f.T + episode.action.numpy() @ g.T for episode in episodes])
    u = 0.5 * (stats.norm.cdf(rows, mean - 0.05, 0.03) + stats.norm.cdf(rows, mean + 0.05, 0.03))
    for at, level in enumerate((0.3, 0.9)):
        want = ((u > 0.5 - level / 2) & (u < 0.5 + level / 2)).mean(0)
        assert [coverages(found, 0, dim)[at] for dim in (0, 1)] == pytest.approx(want.tolist())
    density = 0.5 * (stats.norm.pdf(rows, mean - 0.05, 0.03) + stats.norm.pdf(rows, mean + 0.05, 0.03))
    np.testing.assert_allclose(found.horizons[0].nll[:2], -np.log(density).mean(0), rtol=1e-5)


# scores --------------------------------------------------------------------------------------------------------------


def test_scores_of_mixtures_agree_with_scipy() -> None:
    mean = torch.tensor([[0.3, -1.0, 0.0], [1.2, -1.0, 5.0], [-0.4, 2.0, 0.1]], dtype=torch.float64)
    var = torch.tensor([[0.5, 0.01, 1.0], [2.0, 0.3, 0.2], [0.1, 0.01, 3.0]], dtype=torch.float64)
    real = torch.tensor([0.7, -3.0, 0.0], dtype=torch.float64)
    nll, crps = nll_of_mixture(mean, var, real), crps_of_mixture(mean, var, real)
    for row in range(3):
        members = [stats.norm(m, math.sqrt(v)) for m, v in zip(mean[:, row].tolist(), var[:, row].tolist(), strict=True)]
        y = float(real[row])
        logs = [member.logpdf(y) for member in members]
        assert float(nll[row]) == pytest.approx(math.log(3) - special.logsumexp(logs), rel=1e-12)

        def square(x: float, members: list[object] = members, y: float = y) -> float:
            return (np.mean([member.cdf(x) for member in members]) - (x >= y)) ** 2  # type: ignore[attr-defined]

        area = integrate.quad(square, -30, 30, points=sorted([-2.0, y, 2.0]), limit=400)[0]
        assert float(crps[row]) == pytest.approx(area, rel=1e-6)
    # one Gaussian (Gneiting2007)
    z = 0.8
    want = 2.0 * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi))
    one = crps_of_mixture(
        torch.tensor([[1.0]]).double(), torch.tensor([[4.0]]).double(), torch.tensor([2.6], dtype=torch.float64)
    )
    assert float(one) == pytest.approx(want, rel=1e-12)
    # points: E|X − y| − ½ E|X − X'|
    points = crps_of_mixture(torch.tensor([[0.0], [1.0]]).double(), torch.zeros(2, 1).double(), torch.tensor([3.0]).double())
    assert float(points) == pytest.approx(2.5 - 0.25)


def test_the_fair_score_of_particles() -> None:
    x = torch.randn(6, 4, generator=generator("x"), dtype=torch.float64)
    y = torch.randn(4, generator=generator("y"), dtype=torch.float64)
    for row in range(4):
        a = x[:, row].numpy()
        want = np.abs(a - float(y[row])).mean() - np.abs(a[:, None] - a[None]).sum() / (2 * 6 * 5)
        assert float(crps_of_particles(x, y)[row]) == pytest.approx(want, rel=1e-12)
    assert crps_of_particles(x[:1], y).tolist() == (x[0] - y).abs().tolist()
    # its mean over draws of three is the score of the distribution that they are drawn from
    draws = torch.randn(3, 200_000, generator=generator("draws"), dtype=torch.float64)
    at = torch.full((200_000,), 0.5, dtype=torch.float64)
    exact = float(crps_of_mixture(torch.zeros(1, 1).double(), torch.ones(1, 1).double(), at[:1]))
    assert float(crps_of_particles(draws, at).mean()) == pytest.approx(exact, abs=4 * 0.6 / math.sqrt(200_000))


def test_the_rank_of_one_more_draw_is_uniform_also_with_ties() -> None:
    draws = torch.randint(4, (6, 20_000), generator=generator("draws")).double()
    u = rank_between(draws[:5], draws[5], generator("u"))
    assert stats.kstest(u.numpy(), "uniform").pvalue > 1e-3
    low, high = (rank_between(draws[:5], torch.full((20_000,), y).double(), generator("u")) for y in (-1.0, 9.0))
    assert low.min() >= 0 and low.max() < 1 / 6
    assert high.min() >= 5 / 6 and high.max() <= 1


def test_39_particles_decide_the_default_levels_without_chance() -> None:
    particles = torch.arange(39, dtype=torch.float64)[:, None].expand(39, 40)
    real = torch.arange(40, dtype=torch.float64) - 0.5  # one in each gap
    for level, inside in ((0.95, 38), (0.8, 32), (0.5, 20)):
        for seed in range(5):
            u = rank_between(particles, real, generator("gap", seed))
            assert int(((2 * u - 1).abs() <= level).sum()) == inside


# what isn't applicable -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("members", "spread"), [(1, 0.0), (3, 0.0), (3, 0.1)])
def test_without_noise_coverage_and_likelihood_are_not_applicable(members: int, spread: float) -> None:
    model = built(LinearModel(members=members, spread=spread))
    found = calibration(model, linear_episodes(SIGMA), generator=generator(), horizons=(1, 3), particles=6)
    assert not found.applicable
    said = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert said["summary"]["verdict"] == "not applicable: the model predicts no noise"
    assert "Coverage, NLL and sharpness are not applicable: the model predicts no noise." in said["notes"]
    for horizon in ("1", "3"):
        part = said["summary"]["horizons"][horizon]
        assert part["coverage"] == {"50": None, "80": None, "95": None}
        assert part["nll_normalised"] is part["sharpness_normalised"] is part["verdict"] is None
        assert part["rmse_normalised"] > 0 and part["crps_normalised"] > 0
    table = found.table()
    assert set(table["coverage_95"]) == set(table["nll"]) == set(table["verdict"]) == {None}
    first = found.horizons[0]
    assert first.aleatoric[:2].tolist() == [0, 0]
    assert first.epistemic[:2].tolist() == pytest.approx([spread * math.sqrt(8 / 12) if members > 1 else 0] * 2, rel=1e-5)
    if spread == 0:  # the score of a point is its distance
        np.testing.assert_allclose(first.crps[:2], SIGMA * math.sqrt(2 / math.pi), rtol=0.15)
    assert "not applicable" in found.plot().axes[0].texts[0].get_text()
    found.plot().draw_without_rendering()


def test_the_exact_simulator_has_nothing_to_calibrate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log where the program runs
    task = make_task("Walker2d-v5")
    model = SimulatorModel(threads=1)
    model.build(task)
    found = calibration(model, split_episodes(record(task, 40).rows), generator=generator(), horizons=(1, 5))
    assert not found.applicable
    assert all(float(one.crps[-1]) < 1e-9 and float(one.rmse[-1]) < 1e-9 for one in found.horizons)


def test_a_dimension_without_noise_is_named() -> None:
    class Half(LinearModel):
        def predict(self, *args: torch.Tensor, **named: torch.Tensor) -> object:  # type: ignore[override]
            said = super().predict(*args, **named)
            said.var = said.var * torch.tensor([0.0, 1.0])
            return said

    found = calibration(
        built(Half(noise=SIGMA)), linear_episodes(SIGMA), generator=generator(), horizons=(1, 3), particles=6
    )
    assert found.applicable and any("no noise is predicted there: obs[0]." in note for note in found.notes)
    first, later = found.horizons
    assert first.coverage[:, 0].isnan().all() and torch.equal(first.coverage[:, 1], first.coverage[:, 2])
    assert not later.coverage[:, 0].isnan().any()  # there the other dim's noise has arrived
    assert first.nll[0].isnan() and first.nll[2].isfinite()


# data and models as they come ----------------------------------------------------------------------------------------


def test_short_episodes_count_at_the_horizons_that_fit_into_them() -> None:
    episodes = [*linear_episodes(SIGMA, 3, 12), *shortened(linear_episodes(SIGMA, 4, 12, seed=1), 2)]
    model = built(LinearModel(noise=SIGMA))
    found = calibration(model, episodes, generator=generator(), horizons=(1, 2, 10, 40), particles=4)
    assert [(one.horizon, one.windows, one.effective) for one in found.horizons] == [(1, 44, 44), (2, 37, 22), (10, 9, 3)]
    assert "Left out: 40 steps ahead, since no episode is that long." in found.notes
    assert sorted(found.summary()["horizons"]) == ["1", "10", "2"]
    with pytest.raises(DataError, match="at least 13 steps, the horizon, got none longer than 12"):
        calibration(model, episodes, generator=generator(), horizons=(13, 20))


def test_forecasts_that_are_not_a_number_are_counted_with_their_place() -> None:
    episodes = linear_episodes(SIGMA, 10)
    found = calibration(built(Broken(noise=SIGMA)), episodes, generator=generator(), horizons=(1,), most=10_000)
    obs = torch.cat([episode.obs for episode in episodes])
    above = int((obs[:, 0] > 0.4).sum())
    assert found.not_finite == above > 0
    assert found.horizons[0].windows == 300 - above
    assert coverages(found, 0, 1)[2] > 0.85 and found.horizons[0].nll.isfinite().all()
    assert any(f"{above} of 300 forecasts" in note and "obs[1] after step" in note for note in found.notes)
    nowhere = calibration(
        built(Broken(above=-99.0, noise=SIGMA)), episodes, generator=generator(), horizons=(1, 3), particles=4
    )
    assert nowhere.applicable and nowhere.not_finite == 300 + 4 * 280
    assert coverages(nowhere, 0, 0)[2] > 0.9
    assert math.isnan(coverages(nowhere, 0, 1)[2])
    said = json.loads(json.dumps(nowhere.to_json(), allow_nan=False))
    assert said["summary"]["verdict"] is None and said["summary"]["horizons"]["1"]["coverage"]["95"] is None
    assert not any("outcomes" in note for note in said["notes"])


def test_table_and_figure(calibrated: Calibration) -> None:
    table = calibrated.table()
    assert len(table["horizon"]) == 2 * 3 == len(table["coverage_95"]) == len(table["standard_error_50"])
    whole = table["dimension"].index("all (normalised)")
    assert table["rmse"][whole] is None and table["rmse_normalised"][whole] > 0
    first = calibrated.horizons[0]
    assert table["nll_normalised"][0] == pytest.approx(float(first.nll[0] - first.scale[0].log()))
    assert table["crps_normalised"][1] == pytest.approx(float(first.crps[1] / first.scale[1]))
    figure = calibrated.plot()
    axes = figure.axes[0]
    assert axes.get_xlabel().endswith("(%)") and axes.get_ylabel().endswith("(%)")
    assert [text.get_text() for text in figure.legends[0].get_texts()][2:] == ["1 step ahead", "4 steps ahead"]
    calibrated.plot().draw_without_rendering()


def test_equal_generators_give_equal_numbers_and_progress_is_told() -> None:
    said: list[str] = []
    tables = [judged(SIGMA, most=50, particles=5, progress=said.append).table() for _ in range(2)]
    assert tables[0] == tables[1]
    assert said[:2] == ["calibration: 1 step ahead", "calibration: 4 steps ahead"]


def test_refusals() -> None:
    model, episodes = built(LinearModel(noise=SIGMA)), linear_episodes(SIGMA, 2)
    for options, message in (
        ({"horizons": (5, 1)}, "a list of at least 1, rising, each a whole number of at least 1"),
        ({"horizons": ()}, r"horizons=…\): expected a list of at least 1"),
        ({"horizons": (0, 1)}, r"horizons=…\): expected a list of at least 1, rising, each a whole number of at least 1"),
        ({"levels": (0.5, 1.0)}, r"levels=…\): expected a list of at least 1, each a number above 0 and below 1"),
        ({"particles": 1}, "at least 2, got 1"),
        ({"most": 0}, "at least 1, got 0"),
        ({"names": ["one"]}, "expected a list of 2, each text"),
    ):
        with pytest.raises(ConfigError, match=message):
            calibration(model, episodes, generator=generator(), **options)  # type: ignore[arg-type]
