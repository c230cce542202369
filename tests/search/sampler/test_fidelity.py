"""Reports of runs on their way: which rows they make, what the model learns of pruned runs, and no effect if not asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from mbrl.errors import UnsupportedError
from mbrl.search.sampler import BOSampler, history, predictions, recommend
from mbrl.search.sampler.codec import Codec
from mbrl.search.sampler.rows import BEST_ROWS, MOST_ROWS, Rows, read_rows
from mbrl.search.sampler.surrogate import OverRuns, as_if_alone

LINE: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
MIXED: dict[str, BaseDistribution] = {
    "kind": CategoricalDistribution(("a", "b")),
    "x": FloatDistribution(0, 1),
    "n": IntDistribution(1, 8),
}
MIXED_CONDITIONS = {"n": {"kind": ("b",)}}
COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def trial(
    number: int, curve: Sequence[float] = (), state: TrialState = COMPLETE, value: float | None = None, **more: Any
) -> FrozenTrial:
    """Reports `curve` at steps 1, 2, …"""
    x = more.pop("x", 0.1 * number)
    made = create_trial(
        state=state,
        value=value,
        params={"x": x},
        distributions=LINE,
        intermediate_values=dict(enumerate(curve, 1)),
        user_attrs=more,
    )
    made.number = number
    return made


def read(trials: list[FrozenTrial], direction: StudyDirection = StudyDirection.MAXIMIZE, **options: Any) -> Rows:
    return read_rows(trials, [direction], Codec(LINE), fidelity=True, **options)


def told(rows: Rows) -> list[tuple[float, float, float]]:
    """(x, share of the run, value) of each row of the model."""
    x, y, _, left = rows.observed()
    assert left is not None
    return [
        (round(a, 6), round(1 - b, 6), c) for a, b, c in zip(x[:, 0].tolist(), left.tolist(), y[:, 0].tolist(), strict=True)
    ]


def test_rows_by_hand() -> None:
    curve = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
    rows = read(
        [
            trial(1, curve, value=61.0),
            trial(2, [5.0, 4.0, 3.0, 2.0], PRUNED),
            trial(3, [9.0, math.nan], PRUNED),
            trial(4, [90.0, 90.0, 90.0], FAIL, outcome="diverged"),
            trial(5, value=7.0),
            trial(6, [8.0], value=8.5),
            trial(7, [math.inf], PRUNED),
        ]
    )
    assert [one.number for one in rows.trials] == [1, 2, 3, 4, 5, 6, 7]
    assert rows.whole.tolist() == [True, False, False, True, True, True, True]
    assert rows.failed.tolist() == [False, False, False, True, False, False, True]
    sixth = round(1 / 6, 6)
    assert told(rows) == [
        (0.1, 1.0, 61.0),
        (0.4, 1.0, 7.0),  # the worst whole run, not the worst report
        (0.5, 1.0, 7.0),
        (0.6, 1.0, 8.5),
        (0.7, 1.0, 7.0),  # pruned before it reported a number
        (0.1, round(2 / 6, 6), 20.0),
        (0.1, round(4 / 6, 6), 40.0),
        (0.2, round(2 / 6, 6), 4.0),
        (0.2, 0.5, 3.0),
        (0.2, round(4 / 6, 6), 2.0),
        (0.3, sixth, 9.0),
        (0.6, sixth, 8.0),
    ]
    assert rows.known().trials == tuple(rows.trials[i] for i in (0, 3, 4, 5, 6))


def test_the_run_under_way_may_be_the_longest_and_the_suggested_one_does_not_count() -> None:
    trials = [trial(1, [1.0, 2.0], PRUNED), trial(2, [1.0] * 4, TrialState.RUNNING), trial(3, [1.0] * 8, TrialState.RUNNING)]
    assert [share for _, share, _ in told(read(trials, but=3))] == [0.25, 0.5]
    assert told(read([trial(1, [2.0], PRUNED)], StudyDirection.MINIMIZE)) == [(0.1, 1.0, -2.0)]
    first = create_trial(state=PRUNED, params={"x": 0.5}, distributions=LINE, intermediate_values={0: 3.0})
    assert told(read([first])) == [(0.5, 1.0, 3.0)]  # nobody got further than step 0


def test_a_report_has_the_noise_of_one_run() -> None:
    rows = read([trial(1, [1.0, 2.0], value=0.0, yvar=1.0, seeds=[0, 1, 2]), trial(2, [3.0], PRUNED)])
    _, _, noise, _ = rows.observed()
    assert noise is not None
    assert noise[:, 0].tolist() == pytest.approx([1.0, 3.0, 3.0])  # three runs with a variance of 3


def test_the_most_rows_count_reports() -> None:
    rows = read(
        [trial(i, [0.0, 0.0, 0.0], PRUNED, x=0.5) if i % 2 else trial(i, value=-float(i), x=0.5) for i in range(400)]
    )
    fewer = rows.fewer()
    assert len(fewer.observed()[0]) <= MOST_ROWS == 500 < len(rows.observed()[0])
    # the latest 200 rows are those of 100 trials; the best 300 the 200 whole runs and the first 33 pruned ones of three each
    best = [i for i in range(300) if i % 2 == 0 or i < 66]
    assert [one.number for one in fewer.trials] == [*best, *range(300, 400)] and BEST_ROWS == 300
    assert read([trial(1, [1.0], PRUNED)] * 3).fewer().reports is not None


def study_of(trials: Sequence[FrozenTrial], direction: str = "maximize") -> Study:
    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    return study


def peak(x: float) -> float:
    return 10 - 40 * (x - 0.6) ** 2


def halfway(number: int, x: float, offset: float) -> FrozenTrial:
    """Pruned at half of a run whose curves all rise by `offset` until the end."""
    return trial(number, [peak(x) - offset * (1 - step / 10) for step in range(1, 6)], PRUNED, x=x)


def test_of_curves_that_tell_the_end_a_pruned_run_is_predicted_better() -> None:
    """Whole runs lie left of the peak; only runs cut halfway, 30 below their ends, say that it goes on."""
    whole = [
        trial(i, [peak(x) - 60 * (1 - step / 10) for step in range(1, 11)], value=peak(x), x=x)
        for i, x in enumerate(np.linspace(0, 0.4, 6).tolist())
    ]
    cut = [halfway(6 + i, x, 60.0) for i, x in enumerate((0.5, 0.6, 0.7))]
    errors = {}
    for fidelity in (False, True):
        sampler = BOSampler(LINE, fidelity=fidelity)
        study = study_of([*whole, *cut])
        with as_if_alone("test"):
            model = sampler.fitted(study, sampler.rows(study))
            mean, _ = model.predict(torch.tensor([[0.5], [0.6], [0.7]], dtype=torch.float64))
        errors[fidelity] = max(abs(float(m) - peak(x)) for m, x in zip(mean, (0.5, 0.6, 0.7), strict=True))
    assert errors[True] < 5 < 20 < errors[False]
    assert recommend(study, sampler).trial.state == COMPLETE


def test_of_flat_curves_whole_runs_are_predicted_as_without_them() -> None:
    xs = np.linspace(0, 1, 9).tolist()
    study = study_of([trial(i, [peak(x)] * 6, value=peak(x), x=x) for i, x in enumerate(xs)])
    found = []
    for fidelity in (False, True):
        sampler = BOSampler(LINE, fidelity=fidelity)
        with as_if_alone("test"):
            model = sampler.fitted(study, sampler.rows(study))
            found.append(model.predict(torch.tensor([[0.07], [0.31], [0.9]], dtype=torch.float64))[0][:, 0])
    assert torch.allclose(found[0], found[1], atol=0.2)


def test_left_out_is_the_whole_trial() -> None:
    """Against solving for each trial without any of its rows; a pruned one has no value to compare with."""
    trials = [
        trial(i, [peak(x) - 3, peak(x) - 2, peak(x) - 1], value=peak(x), x=x) for i, x in enumerate((0.0, 0.3, 0.5, 0.9))
    ]
    study = study_of([*trials, halfway(4, 0.7, 2.0)])
    sampler = BOSampler(LINE, fidelity=True)
    check = predictions(study, sampler, points=3).leave_one_out
    assert check.numbers == (0, 1, 2, 3) and check.observed == pytest.approx([peak(x) for x in (0.0, 0.3, 0.5, 0.9)])
    with as_if_alone("recommend", sampler.seed):
        rows = sampler.rows(study)
        model: Any = sampler.fitted(study, rows).model
    assert isinstance(model.covar_module, OverRuns)
    x, y, _, left = rows.observed()
    assert left is not None
    owner = [0, 1, 2, 3, *(int(i) for i in rows.reports.of)]  # type: ignore[union-attr]
    inputs = torch.cat([x, left[:, None]], -1)
    with torch.no_grad():
        kernel = model.covar_module(inputs).to_dense() + float(model.likelihood.noise) * torch.eye(
            len(y), dtype=torch.float64
        )
        shift, spread, constant = y.mean(), y.std(), float(model.mean_module.constant)
        targets = (y[:, 0] - shift) / spread - constant
        for i in range(4):
            rest = [j for j in range(len(y)) if owner[j] != i]
            weights = torch.linalg.solve(kernel[rest][:, rest], kernel[rest, i])
            mean, variance = weights @ targets[rest] + constant, kernel[i, i] - weights @ kernel[rest, i]
            assert check.mean[i] == pytest.approx(float(mean * spread + shift), abs=1e-5)
            assert check.sd[i] == pytest.approx(float(variance.sqrt() * spread), rel=1e-3)


def suggested(study: Study, sampler: BOSampler) -> tuple[dict[str, Any], dict[str, Any]]:
    study.sampler = sampler
    asked, params = study.ask(), dict[str, Any]()
    for name, kind in sampler.codec.distributions.items():
        if sampler.codec.is_active(name, params):
            params[name] = asked._suggest(name, kind)
    return params, study.trials[-1].user_attrs["acq"]


def mixed_trials() -> list[FrozenTrial]:
    """Twelve with all that a trial can end as, and curves."""
    made = []
    for i in range(12):
        params: dict[str, Any] = {"kind": "ab"[i % 2], "x": (i * 0.618034) % 1}
        if i % 2:
            params["n"] = 1 + i % 8
        value = -((params["x"] - 0.3) ** 2) + (0.2 - (params["n"] - 6) ** 2 / 100 if i % 2 else 0.0)
        state = PRUNED if i % 4 == 2 else FAIL if i % 5 == 4 else COMPLETE
        made.append(
            create_trial(
                state=state,
                value=value if state == COMPLETE else None,
                params=params,
                distributions={name: MIXED[name] for name in params},
                intermediate_values={1: value - 0.3, 2: value - 0.1, 3: value - 0.05},
                user_attrs={"outcome": "diverged"} if state == FAIL else {},
            )
        )
    return made


def test_without_it_suggestions_are_what_they_were_before_there_was_such_an_option() -> None:
    params, why = suggested(study_of(mixed_trials()), BOSampler(MIXED, MIXED_CONDITIONS, startup=5, seed=3))
    assert params == {"kind": "b", "x": pytest.approx(0.24203631878223145, abs=1e-6), "n": 8}
    assert why["rows"] == 12 and why["mean"] == [pytest.approx(0.09874200907796776, abs=1e-6)]


def test_a_suggestion_follows_from_the_table() -> None:
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)  # another process
        found.append(
            suggested(study_of(mixed_trials()), BOSampler(MIXED, MIXED_CONDITIONS, startup=5, seed=3, fidelity=True))
        )
    assert found[0] == found[1]
    plain, _ = suggested(study_of(mixed_trials()), BOSampler(MIXED, MIXED_CONDITIONS, startup=5, seed=3))
    assert found[0][0] != plain


def test_without_reports_it_changes_nothing() -> None:
    def bare() -> Study:
        return study_of([trial(i, value=peak(x), x=x) for i, x in enumerate((0.0, 0.2, 0.5, 0.8, 1.0))])

    found = [suggested(bare(), BOSampler(LINE, startup=3, fidelity=fidelity)) for fidelity in (False, True)]
    assert found[0] == found[1]


def test_only_whole_runs_are_counted_as_successes_and_recommended() -> None:
    """The pruned one's report is above all; it neither grows the region nor is it what was found."""
    whole = [trial(i, [1.0, 1.0], value=1.0 - 0.01 * i, x=0.1 * i) for i in range(6)]
    lucky = trial(6, [50.0], PRUNED, x=0.9)
    sides = {}
    for fidelity in (False, True):
        study = study_of([*whole, *[trial(7 + i, [60.0 + 10 * i], PRUNED, x=0.9) for i in range(3)], lucky])
        sampler = BOSampler(LINE, startup=4, fidelity=fidelity)
        assert recommend(study, sampler).trial.number < 6
        assert [moment.trials for moment in history(study, sampler, points=2)] == [5, 10]
        sides[fidelity] = suggested(study, sampler)[1]["side"]
    assert sides == {False: 1.6, True: 0.8}


@pytest.mark.parametrize(
    ("space", "params"),
    [
        ({"c": CategoricalDistribution((1, 2, 3))}, [{"c": 1}, {"c": 2}, {"c": 3}, {"c": 1}]),
        ({"n": IntDistribution(1, 3)}, [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 1}]),
        (LINE, [{"x": 0.1}] * 4),
    ],
    ids=["categories", "grid", "replicates"],
)
def test_spaces_of_one_kind(space: dict[str, BaseDistribution], params: list[dict[str, Any]]) -> None:
    states = [PRUNED, PRUNED, COMPLETE, PRUNED]
    for kept in (states, [PRUNED] * 4, [FAIL, PRUNED, FAIL, PRUNED]):  # without a whole run, without one that went well
        made = [
            create_trial(
                state=state,
                value=1.0 if state == COMPLETE else None,
                params=chosen,
                distributions=space,
                intermediate_values={1: float(i), 3: float(i)},
                user_attrs={"outcome": "oom"},
            )
            for i, (state, chosen) in enumerate(zip(kept, params, strict=True))
        ]
        found, _ = suggested(study_of(made), BOSampler(space, startup=3, fidelity=True))
        assert set(found) == set(space)


def test_an_earlier_study_brings_its_curves_on_the_scale_of_its_whole_runs() -> None:
    """Its runs are a thousand times as long and as good; of the new study only halves are known right of 0.4."""
    xs = np.linspace(0, 1, 12).tolist()
    earlier = []
    for i, x in enumerate(xs):
        made = create_trial(
            value=1000 * peak(x),
            params={"x": x},
            distributions=LINE,
            intermediate_values={1000 * step: 1000 * (peak(x) - 60 * (1 - step / 10)) for step in range(1, 11)},
        )
        made.number = i
        earlier.append(made)
    study = study_of([trial(i, [peak(x) - 30, peak(x)], value=peak(x), x=x) for i, x in enumerate((0.0, 0.2, 0.4))])
    sampler = BOSampler(LINE, startup=2, previous=earlier, trust_region=False, fidelity=True)
    assert abs(suggested(study, sampler)[0]["x"] - 0.6) < 0.15
    bare = study_of([trial(i, value=peak(x), x=x) for i, x in enumerate((0.0, 0.2, 0.4))])
    assert abs(suggested(bare, sampler)[0]["x"] - 0.6) < 0.15  # the earlier one's reports alone


def test_several_objectives_are_refused() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=BOSampler(LINE, fidelity=True))
    with pytest.raises(UnsupportedError, match=r"fidelity=True\): expected one objective, got 2; leave it out"):
        study.ask().suggest_float("x", 0, 1)
