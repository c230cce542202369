"""Which trials count, with what value and what noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from mbrl.errors import ConfigError
from mbrl.search.sampler.codec import Codec
from mbrl.search.sampler.rows import BEST_ROWS, MOST_ROWS, Rows, read_rows, suggestion_index

SPACE: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
MAXIMISE, MINIMISE = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE


def trial(
    number: int,
    state: TrialState = TrialState.COMPLETE,
    value: float | None = None,
    x: float = 0.5,
    attrs: Mapping[str, Any] | None = None,
    values: list[float] | None = None,
    **more: Any,
) -> FrozenTrial:
    made = create_trial(
        state=state,
        value=value,
        values=values,
        params={"x": x, "y": 0.5},
        distributions=SPACE,
        user_attrs=dict(attrs or {}),
        **more,
    )
    made.number = number
    return made


def read(trials: list[FrozenTrial], directions: tuple[StudyDirection, ...] = (MAXIMISE,), **kwargs: Any) -> Rows:
    return read_rows(trials, directions, Codec(SPACE), **kwargs)


def failure(number: int, outcome: str | None) -> FrozenTrial:
    return trial(number, TrialState.FAIL, attrs={"outcome": outcome} if outcome else {})


def test_what_counts() -> None:
    trials = [
        trial(0, value=3.0, x=0.1),
        failure(1, "diverged"),
        failure(2, "error"),
        failure(3, None),
        failure(4, "oom"),
        trial(5, TrialState.PRUNED, intermediate_values={10: 1.0, 30: 2.0, 20: 9.0, 40: float("nan")}),
        trial(6, TrialState.PRUNED),
        failure(7, "timeout"),
        trial(8, value=float("inf")),
        trial(9, TrialState.RUNNING, x=0.9),
        trial(10, TrialState.RUNNING, x=0.8),
        trial(11, TrialState.WAITING, x=0.7),
    ]
    rows = read(trials, but=10)
    assert [trial.number for trial in rows.trials] == [0, 1, 4, 5, 6, 7, 8]
    assert rows.y[:, 0].tolist() == [3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]  # failures are as bad as the worst
    assert rows.failed.tolist() == [False, True, True, False, True, True, True]
    assert rows.x[0].tolist() == [0.1, 0.5] and rows.noise is None
    assert rows.pending.tolist() == [[0.9, 0.5], [0.7, 0.5]]
    assert [trial.number for trial in read(trials, failures=("all",)).trials] == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert [trial.number for trial in read(trials, failures=("oom",)).trials] == [0, 4, 5, 6, 8]


def test_smaller_may_be_better() -> None:
    rows = read([trial(0, value=3.0), trial(1, value=1.0), failure(2, "diverged")], (MINIMISE,))
    assert rows.y[:, 0].tolist() == [-3.0, -1.0, -3.0] and rows.signs.tolist() == [-1.0]
    two = read([trial(0, values=[1.0, 5.0]), trial(1, values=[2.0, 4.0]), failure(2, "oom")], (MAXIMISE, MINIMISE))
    assert two.y.tolist() == [[1.0, -5.0], [2.0, -4.0], [1.0, -5.0]]


def test_order_is_that_of_numbers() -> None:
    rows = read([trial(3, value=3.0), trial(1, value=1.0), trial(2, value=2.0)])
    assert rows.y[:, 0].tolist() == [1.0, 2.0, 3.0]


def test_no_trials_and_only_failures_tell_nothing() -> None:
    assert not read([]).informative and read([]).x.shape == (0, 2)
    rows = read([failure(0, "diverged")])
    assert not rows.informative and rows.y.tolist() == [[0.0]]


def test_a_trial_that_was_killed_before_it_had_parameters_is_no_row() -> None:
    bare = create_trial(state=TrialState.FAIL, user_attrs={"outcome": "oom"})
    undecided = create_trial(state=TrialState.RUNNING)
    rows = read([bare, undecided])
    assert len(rows) == 0 and len(rows.pending) == 0


def test_queued_parameters_are_under_way() -> None:
    queued = create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": {"x": 0.25, "y": 0.75}})
    partly = create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": {"x": 0.25}})
    assert read([queued, partly]).pending.tolist() == [[0.25, 0.75]]


def test_trials_of_another_space_are_refused() -> None:
    other = create_trial(
        value=1.0, params={"x": 0.5, "y": 0.5}, distributions={"x": FloatDistribution(0, 2), "y": FloatDistribution(0, 1)}
    )
    with pytest.raises(ConfigError, match=r"'x' of trial 0 to be FloatDistribution\(high=1.0.* got .*high=2.0.*a new study"):
        read([_numbered(other)])
    assert len(read([_numbered(other)], foreign=True)) == 1
    lacking = create_trial(value=1.0, params={"x": 0.5}, distributions={"x": FloatDistribution(0, 1)})
    with pytest.raises(ConfigError, match=r"trial 0 to have every active parameter, got none of \['y'\]"):
        read([_numbered(lacking)])


def _numbered(made: FrozenTrial) -> FrozenTrial:
    made.number = 0
    return made


def test_noise_of_replicates_by_hand() -> None:
    seeds = {"seeds": [0, 1, 2]}
    rows = read(
        [
            trial(0, value=0.0, attrs={"yvar": 1.0, **seeds}),  # single runs have a variance of 3
            trial(1, value=10.0, attrs={"yvar": 3.0, **seeds}),  # and of 9
            trial(2, value=5.0),
            trial(3, value=5.0, attrs={"yvar": None, "seeds": [0]}),
        ]
    )
    assert rows.noise is not None
    pooled = (2 * 3 + 2 * 9) / 4
    expected = [(2 * 3 + 4 * pooled) / 6 / 3, (2 * 9 + 4 * pooled) / 6 / 3, pooled, pooled]
    assert rows.noise[:, 0].tolist() == pytest.approx(expected)


def test_noise_is_in_the_units_of_the_values() -> None:
    found = []
    for size in (1.0, 1e-8):
        attrs = [{"yvar": size**2 * variance, "seeds": [0, 1]} for variance in (1e-3, 3e-3)]
        rows = read([trial(i, value=size * i, attrs=one) for i, one in enumerate(attrs)])
        assert rows.noise is not None
        found.append((rows.noise / size**2)[:, 0].tolist())
    assert found[0] == pytest.approx(found[1]) and found[0] == pytest.approx([1.8e-3, 2.2e-3])


def test_noise_is_inferred_without_replicates() -> None:
    assert read([trial(0, value=1.0, attrs={"seeds": [0]}), trial(1, value=2.0)]).noise is None
    assert read([trial(0, value=1.0, attrs={"seeds": [0, 1], "yvar": float("nan")})]).noise is None
    equal = read([trial(i, value=float(i), attrs={"seeds": [0, 1], "yvar": 0.0}) for i in range(3)])
    assert equal.noise is not None and (equal.noise > 0).all()


def test_retries_take_no_suggestion() -> None:
    trials = [
        trial(0, value=1.0),
        failure(1, None),
        trial(2, value=1.0, attrs={"root": 1}),
        trial(3, attrs={"root": 3}, value=0.0),
    ]
    assert [suggestion_index(trials, number) for number in (0, 1, 3, 4)] == [0, 1, 2, 3]


def test_long_searches_keep_the_best_and_the_latest() -> None:
    n = MOST_ROWS + 100
    y = torch.arange(n, 0, -1, dtype=torch.float64)[:, None]
    trials = tuple(trial(i, value=float(y[i])) for i in range(n))
    rows = Rows(trials, torch.rand(n, 2), y, torch.zeros(n, dtype=torch.bool), None, torch.zeros(0, 2), torch.ones(1))
    kept = [trial.number for trial in rows.fewer().trials]
    assert kept == [*range(BEST_ROWS), *range(n - (MOST_ROWS - BEST_ROWS), n)]
    assert rows.at(torch.arange(5)).fewer().y.tolist() == y[:5].tolist()
