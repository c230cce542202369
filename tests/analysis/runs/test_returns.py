"""Return statistics against scipy, against the published package's numbers, and on cases worked out by hand."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

from mbrl.analysis import (
    bootstrap_interval,
    interquartile_mean,
    normalized_scores,
    performance_profiles,
    probability_of_improvement,
    score_statistics,
)
from mbrl.errors import ConfigError, DataError

# 5 runs of X and 4 of Y on three tasks, and what rliable 1.2.0 gives for them (numpy seed 0, 50,000 resamples, 95 %).
TASKS = ("a", "b", "c")
X = [[0.2, 1.5, 0.3], [0.9, -0.4, 0.8], [0.5, 1.1, 0.35], [1.3, 0.7, 0.6], [0.1, 0.9, 0.3]]
Y = [[0.4, 1.0, 0.3], [0.2, 0.3, 0.3], [0.5, 1.2, 0.7], [0.0, 0.6, 0.1]]
RLIABLE = {
    "iqm": (0.5944444444444446, 0.3611111111111111, 0.8444444444444444),
    "mean": (0.61, 0.3666666666666667, 0.8333333333333334),
    "median": (0.6000000000000001, 0.36, 0.9),
    "optimality_gap": (0.44999999999999996, 0.27, 0.66),
}
IMPROVEMENT = (0.65, 0.425, 0.85)
PROFILE = {0.0: (14 / 15, 0.8, 1.0), 0.3: (2 / 3, 0.4, 13 / 15), 0.7: (0.4, 0.2, 2 / 3), 1.0: (0.2, 1 / 15, 0.4)}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by_task(runs: list[list[float]]) -> dict[str, list[float]]:
    return dict(zip(TASKS, map(list, zip(*runs, strict=True)), strict=True))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


# interquartile mean ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runs", range(1, 14))
def test_interquartile_mean_is_the_trimmed_mean(runs: int) -> None:
    scores = normal(3, runs, seed=runs)
    expected = scipy.stats.trim_mean(scores.numpy(), 0.25, axis=-1)
    np.testing.assert_allclose(interquartile_mean(scores), expected, rtol=1e-12)


def test_interquartile_mean_by_hand() -> None:
    assert interquartile_mean(torch.tensor([100.0, 1.0, 2.0, -50.0])) == 1.5
    assert interquartile_mean(torch.tensor([9.0, 1.0, 2.0])) == 4.0  # three runs: nothing to trim


def test_interquartile_mean_hides_no_nan() -> None:
    assert interquartile_mean(torch.tensor([1.0, 2.0, 3.0, torch.nan])).isnan()


# bootstrap ---------------------------------------------------------------------------------------------------------------


def test_percentile_interval_against_scipy() -> None:
    scores = normal(12)
    low, high = bootstrap_interval(lambda strata: strata[0].mean(-1), [scores], generator=generator(), resamples=20_000)  # type: ignore[misc]
    expected = scipy.stats.bootstrap(
        (scores.numpy(),), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert low.item() == pytest.approx(expected.low, abs=0.015)
    assert high.item() == pytest.approx(expected.high, abs=0.015)


def test_interval_ends_are_percentiles_of_the_resamples() -> None:
    seen = []

    def statistic(strata: object) -> torch.Tensor:
        seen.append(strata[0].mean(-1))  # type: ignore[index]
        return seen[-1]

    low, high = bootstrap_interval(statistic, [normal(7)], generator=generator(), resamples=501, level=0.8)  # type: ignore[misc]
    expected = np.percentile(torch.cat(seen), [10, 90])
    np.testing.assert_allclose([low, high], expected, rtol=1e-12)


def test_runs_stay_in_their_stratum_and_curves_whole() -> None:
    first = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]], dtype=torch.float64)  # two points of three curves
    second = torch.tensor([[-1.0, -2.0], [-10.0, -20.0]], dtype=torch.float64)

    def statistic(strata: object) -> torch.Tensor:
        one, two = strata  # type: ignore[misc]
        assert one.shape[-1] == 3
        assert two.shape[-1] == 2
        assert (one > 0).all()
        assert (two < 0).all()
        torch.testing.assert_close(one[1], 10 * one[0])
        return one.mean(-1) + two.mean(-1)

    low, high = bootstrap_interval(statistic, [first, second], generator=generator(), resamples=300)  # type: ignore[misc]
    assert low.shape == high.shape == (2,)
    torch.testing.assert_close(low[1], 10 * low[0])


def test_resamples_in_chunks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def interval() -> tuple[torch.Tensor, torch.Tensor]:
        found = bootstrap_interval(lambda s: s[0].mean(-1), [normal(3, 6)], generator=generator(), resamples=100)
        assert found is not None
        return found

    whole = interval()
    monkeypatch.setattr("mbrl.analysis.runs.bootstrap._AT_ONCE", 70)
    torch.testing.assert_close(interval(), whole, rtol=0, atol=0)


def test_interval_of_three_runs_is_their_range() -> None:
    scores = normal(3)
    found = bootstrap_interval(lambda s: interquartile_mean(s[0]), [scores], generator=generator())
    assert found is not None
    torch.testing.assert_close(torch.stack(found), torch.stack([scores.min(), scores.max()]))


def test_coverage_that_the_docstring_states() -> None:
    for runs, share in ((5, 0.90), (10, 0.94)):  # of three runs it is their range, which misses in 2 of 8 cases
        scores = normal(1500, runs)
        found = bootstrap_interval(lambda s: interquartile_mean(s[0]), [scores], generator=generator(1), resamples=400)
        assert found is not None
        covered = (found[0] <= 0) & (found[1] >= 0)
        assert covered.double().mean().item() == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(
    ("options", "sentence"), [({"level": 1.0}, "above 0 and below 1"), ({"resamples": 0}, "at least 1")]
)
def test_options_of_the_bootstrap(options: dict[str, float], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        bootstrap_interval(lambda s: s[0].mean(-1), [normal(3)], generator=generator(), **options)  # type: ignore[arg-type]


# aggregates --------------------------------------------------------------------------------------------------------------


def test_aggregates_and_intervals_of_the_published_package() -> None:
    found = score_statistics({"X": by_task(X)}, generator=generator(), target=1.0, resamples=50_000)
    for kind, (value, low, high) in RLIABLE.items():
        here = found.estimates["X"][kind]
        assert here.value == pytest.approx(value, rel=1e-12)
        # the resampled statistics lie on a lattice, whose steps two sets of resamples may differ by
        assert here.low == pytest.approx(low, abs=0.012)
        assert here.high == pytest.approx(high, abs=0.012)
    assert found.runs == {"X": 15}


def test_median_is_of_task_means_and_mean_weighs_tasks_equally() -> None:
    scores = {"a": [0.0, 0.0, 0.0, 4.0], "b": [2.0, 2.0], "c": [10.0, 10.0], "d": [3.0, 5.0]}
    found = score_statistics({"X": scores}, generator=generator(), target=4.0, resamples=50)
    values = {kind: here.value for kind, here in found.estimates["X"].items()}
    assert values == {"iqm": 16 / 6, "median": 3.0, "mean": 17 / 4, "optimality_gap": (3.0 + 2.0 + 0.0 + 0.5) / 4}
    assert any("different numbers of runs" in note for note in found.notes)


def test_one_run_of_a_task_has_no_interval() -> None:
    found = score_statistics({"X": {"a": [1.0, 2.0, 3.0], "b": [5.0]}}, generator=generator())
    assert found.estimates["X"]["iqm"].value == 2.5
    assert found.summary()["X"]["iqm"] == {"value": 2.5, "low": None, "high": None}
    assert found.notes[0] == "No interval: only one run of X on b."


def test_without_a_target_there_is_no_gap(tmp_path: Path) -> None:
    found = score_statistics({"X": by_task(X)}, generator=generator(), resamples=50)
    assert found.summary()["X"]["optimality_gap"] is None
    assert any("optimality gap isn't applicable" in note for note in found.notes)
    found.to_csv(tmp_path / "scores.csv")
    header, *rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert header == "method,statistic,score,low,high,runs"
    assert [row.split(",")[1] for row in rows] == ["iqm", "median", "mean"]


def test_few_runs_are_said_so() -> None:
    notes = [
        score_statistics({"X": {"a": list(range(runs))}}, generator=generator(), resamples=20, target=1).notes
        for runs in (4, 5)
    ]
    assert notes == [["Bootstrap intervals of 4 runs are too narrow: read them as a hint."], []]


def test_the_generator_decides() -> None:
    one, same, other = (score_statistics({"X": by_task(X)}, generator=generator(s), resamples=99) for s in (0, 0, 1))
    assert one.summary() == same.summary() != other.summary()


def test_normalized_scores() -> None:
    found = normalized_scores({"a": [10.0, 30.0], "b": [5.0]}, {"a": (10.0, 20.0), "b": (0.0, -5.0)})
    assert {task: scores.tolist() for task, scores in found.items()} == {"a": [0.0, 2.0], "b": [-1.0]}
    with pytest.raises(DataError, match="references of b that differ, got none"):
        normalized_scores({"b": [1.0]}, {})
    with pytest.raises(DataError, match=r"got \(1.0, 1.0\)"):
        normalized_scores({"b": [1.0]}, {"b": (1.0, 1.0)})


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        ({}, "at least one method, got none"),
        ({"X": {}}, "same tasks"),
        ({"X": {"a": [1.0]}, "Y": {"b": [1.0]}}, r"got \['a'\] of X and \['b'\] of Y"),
        ({"X": {"a": []}}, r"got shape \(0,\)"),
        ({"X": {"a": [1.0, math.nan]}}, "finite scores of X on a, got nan of run 1"),
        ({"X": {"a": [-math.inf, 0.0]}}, "got -inf of run 0"),
    ],
)
def test_scores_that_cannot_be_used(scores: dict[str, dict[str, list[float]]], sentence: str) -> None:
    for function in (score_statistics, probability_of_improvement, performance_profiles):
        with pytest.raises(DataError, match=sentence):
            function(scores, generator=generator())  # type: ignore[operator]


# who is better -----------------------------------------------------------------------------------------------------------


def test_probability_of_improvement_of_the_published_package() -> None:
    found = probability_of_improvement({"X": by_task(X), "Y": by_task(Y)}, generator=generator(), resamples=50_000)
    here = found.estimates["X", "Y"]
    assert here.value == pytest.approx(IMPROVEMENT[0], rel=1e-12)
    assert here.low == pytest.approx(IMPROVEMENT[1], abs=0.01)
    assert here.high == pytest.approx(IMPROVEMENT[2], abs=0.01)


def test_probability_of_improvement_against_mann_whitney() -> None:
    first, second = normal(9, seed=1).round(decimals=1), normal(7, seed=2).round(decimals=1)  # rounded: there are ties
    assert set(first.tolist()) & set(second.tolist())
    found = probability_of_improvement({"X": {"": first}, "Y": {"": second}}, generator=generator(), resamples=20)
    u = scipy.stats.mannwhitneyu(first.numpy(), second.numpy()).statistic
    assert found.estimates["X", "Y"].value == pytest.approx(u / 63, rel=1e-12)


def test_ties_count_half_and_tasks_weigh_equally() -> None:
    scores = {"X": {"a": [1.0, 1.0], "b": [5.0]}, "Y": {"b": [3.0], "a": [1.0, 1.0]}}
    found = probability_of_improvement(scores, generator=generator())
    assert found.estimates["X", "Y"].value == 0.75  # ½ on a, 1 on b, whatever the order in which tasks come
    assert found.summary() == {"X > Y": {"value": 0.75, "low": None, "high": None}}


def test_every_pair_once() -> None:
    found = probability_of_improvement({m: {"": [1.0, 2.0]} for m in "XYZ"}, generator=generator(), resamples=20)
    assert list(found.estimates) == [("X", "Y"), ("X", "Z"), ("Y", "Z")]
    assert found.table()["second"] == ["Y", "Z", "Z"]
    with pytest.raises(DataError, match="two methods or more, got only X"):
        probability_of_improvement({"X": {"": [1.0, 2.0]}}, generator=generator())


# performance profiles ----------------------------------------------------------------------------------------------------


def test_performance_profile_of_the_published_package() -> None:
    found = performance_profiles({"X": by_task(X)}, generator=generator(), thresholds=list(PROFILE), resamples=20_000)
    band = found.bands["X"]
    assert band is not None
    step = 1 / 15 + 1e-9  # of the lattice of shares, by which two sets of resamples may differ
    for at, (share, low, high) in enumerate(PROFILE.values()):
        assert found.shares["X"][at].item() == pytest.approx(share, rel=1e-12)  # 0.3 itself isn't above 0.3
        assert band[0][at].item() == pytest.approx(low, abs=step)
        assert band[1][at].item() == pytest.approx(high, abs=step)


def test_profiles_go_from_one_to_zero() -> None:
    found = performance_profiles({"X": by_task(X), "Y": {**by_task(Y), "a": [0.5]}}, generator=generator(), resamples=50)
    assert found.thresholds[[0, -1]].tolist() == [-0.4, 1.5]
    for shares in found.shares.values():
        assert shares[-1] == 0
        assert (shares.diff() <= 0).all()
    assert found.shares["Y"][0] == 1
    assert found.bands["Y"] is None
    table = found.table()
    assert {len(column) for column in table.values()} == {402}
    assert table["low"][201:] == [None] * 201
    assert found.summary()["Y"]["exceeded_by_75_percent"] == pytest.approx(0.3, abs=0.02)


def test_thresholds_increase() -> None:
    with pytest.raises(DataError, match="expected increasing numbers"):
        performance_profiles({"X": by_task(X)}, generator=generator(), thresholds=[1.0, 1.0])


# figures -----------------------------------------------------------------------------------------------------------------


def test_figures() -> None:
    scores = {"X": by_task(X), "Y": by_task(Y)}
    aggregates = score_statistics(scores, generator=generator(), target=1.0, resamples=50, unit="share").plot()
    assert [axes.get_xlabel() for axes in aggregates.axes] == ["share", "share", "share", "target − share"]
    assert [text.get_text() for text in aggregates.axes[0].get_yticklabels()] == ["X (15 runs)", "Y (12 runs)"]
    pairs = probability_of_improvement(scores, generator=generator(), resamples=50).plot()
    assert "0.5: no difference" in pairs.axes[0].get_xlabel()
    profiles = performance_profiles(scores, generator=generator(), resamples=50).plot()
    assert len({line.get_linestyle() for line in profiles.axes[0].lines}) == 2  # told apart in grey
    assert profiles.axes[0].get_ylabel() == "share of runs above it, 95 % band"


def test_how_often_equal_methods_seem_to_differ() -> None:
    """Every order of 3 and 3 runs: 20 % of the intervals leave out 0.5, as the note says."""
    told = []
    for first in itertools.combinations(range(6), 3):
        scores = {"X": {"a": list(first)}, "Y": {"a": [rank for rank in range(6) if rank not in first]}}
        found = probability_of_improvement(scores, generator=generator(), resamples=1000)
        (said,) = found.estimates.values()
        assert said.low is not None and said.high is not None
        told.append(not said.low <= 0.5 <= said.high)
    assert sum(told) / len(told) == 0.2
    assert "With 3 runs" in found.notes[-1] and "20 % with 3" in found.notes[-1]
    six = {name: {"a": list(range(6))} for name in "XY"}
    assert probability_of_improvement(six, generator=generator(), resamples=10).notes == []
