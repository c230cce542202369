"""Configurations and rows of numbers are the same thing, whatever the kinds and conditions of the parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from benchmarks.search.functions import rlmix
from mbrl.errors import ConfigError
from mbrl.search.sampler.codec import Codec

NESTED: dict[str, BaseDistribution] = {
    "a": CategoricalDistribution(("x", "y")),
    "b": CategoricalDistribution(("p", "q", "r")),
    "c": FloatDistribution(0, 2),
}
NESTED_CONDITIONS = {"b": {"a": ("y",)}, "c": {"b": ("p", "r")}}


def test_rows_by_hand() -> None:
    codec = Codec(
        {
            "lr": FloatDistribution(1e-4, 1e-2, log=True),
            "n": IntDistribution(1, 5),
            "even": IntDistribution(2, 10, step=2),
            "many": IntDistribution(0, 100),
            "act": CategoricalDistribution(("relu", "silu", None)),
        }
    )
    row = codec.encode({"lr": 1e-3, "n": 2, "even": 10, "many": 37, "act": None})
    assert row == pytest.approx([0.5, 0.25, 1.0, 0.37, 2.0])
    assert [column.kind for column in codec.columns] == ["number", "grid", "grid", "number", "category"]
    assert codec.columns[2].values == (0.0, 0.25, 0.5, 0.75, 1.0)
    decoded = codec.decode(row)
    assert decoded == {"lr": pytest.approx(1e-3), "n": 2, "even": 10, "many": 37, "act": None}
    assert all(isinstance(decoded[name], int) for name in ("n", "even", "many"))


def test_every_configuration_comes_back() -> None:
    problem, rng = rlmix(), np.random.default_rng(0)
    codec = Codec(problem.distributions, problem.conditions)
    for _ in range(200):
        params = problem.draw(rng)
        assert codec.missing(params) == []
        assert codec.decode(codec.encode(params)) == pytest.approx(params)


def test_uniform_points_become_draws_as_optuna_makes_them() -> None:
    codec = Codec({"n": IntDistribution(1, 20, log=True), "k": IntDistribution(1, 4), "c": CategoricalDistribution("abc")})
    points = torch.quasirandom.SobolEngine(3, scramble=True, seed=0).draw(4096, dtype=torch.float64)
    drawn = [codec.decode(row) for row in codec.from_uniform(points).tolist()]
    ones = np.mean([params["n"] == 1 for params in drawn])
    assert ones == pytest.approx(np.log(1.5 / 0.5) / np.log(20.5 / 0.5), abs=0.002)
    for name, values in (("k", range(1, 5)), ("c", "abc")):
        shares = [np.mean([params[name] == value for params in drawn]) for value in values]
        assert shares == pytest.approx([1 / len(shares)] * len(shares), abs=0.002)


def test_inactive_columns_hold_their_fill() -> None:
    codec = Codec(NESTED, NESTED_CONDITIONS)
    assert codec.encode({"a": "x", "b": "p", "c": 2.0}) == [0.0, 3.0, 0.5]  # leftovers don't count
    assert codec.encode({"a": "y", "b": "q"}) == [1.0, 1.0, 0.5]
    assert codec.encode({"a": "y", "b": "r", "c": 2.0}) == [1.0, 2.0, 1.0]
    assert codec.decode([0.0, 0.0, 1.0]) == {"a": "x"}
    rows = torch.tensor([[0.0, 0.0, 1.0], [1.0, 1.0, 1.0], [1.0, 2.0, 1.0]], dtype=torch.float64)
    assert codec.impute(rows).tolist() == [[0.0, 3.0, 0.5], [1.0, 1.0, 0.5], [1.0, 2.0, 1.0]]
    assert codec.active(rows).tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert codec.missing({"a": "y"}) == ["b"] and codec.missing({"a": "x"}) == []


def test_tensors_and_configurations_agree_on_what_is_active() -> None:
    problem = rlmix()
    codec = Codec(problem.distributions, problem.conditions)
    rows = codec.from_uniform(torch.rand(100, len(codec.columns), generator=torch.Generator().manual_seed(0)).double())
    for row, filled in zip(rows.tolist(), codec.impute(rows).tolist(), strict=True):
        assert codec.encode(codec.decode(row)) == pytest.approx(filled)


def test_a_single_value_needs_no_column_and_passes_its_own_condition_on() -> None:
    kinds = {**NESTED, "only": CategoricalDistribution(("one",)), "d": FloatDistribution(0, 1), "e": IntDistribution(3, 3)}
    codec = Codec(kinds, {**NESTED_CONDITIONS, "only": {"a": ("y",)}, "d": {"only": ("one",)}})
    assert [column.name for column in codec.columns] == ["a", "b", "c", "d"]
    assert codec.encode({"a": "x"})[3] == 0.5 and codec.decode([0.0, 0.0, 0.0, 0.3]) == {"a": "x", "e": 3}
    assert codec.decode([1.0, 1.0, 0.0, 0.3]) == {"a": "y", "b": "q", "only": "one", "d": pytest.approx(0.3), "e": 3}
    assert codec.active(torch.tensor([0.0, 0.0, 0.0, 0.3])).tolist() == [True, False, False, False]


def test_rounding_moves_to_values_that_exist() -> None:
    codec = Codec({"many": IntDistribution(0, 100), "x": FloatDistribution(0, 1), "s": FloatDistribution(0, 1, step=0.01)})
    snapped = codec.snap(torch.tensor([[0.3749, 0.3749, 0.3749]], dtype=torch.float64))
    assert snapped[0].tolist() == pytest.approx([0.37, 0.3749, 0.37])


def test_numbers_outside_their_range_keep_their_place() -> None:
    codec = Codec({"x": FloatDistribution(0, 1), "y": FloatDistribution(1, 10, log=True)})
    assert codec.encode({"x": 1.5, "y": 100.0}) == pytest.approx([1.5, 2.0])


@pytest.mark.parametrize(
    ("kinds", "conditions", "message"),
    [
        ({}, {}, "at least one parameter"),
        (NESTED, {"z": {"a": ("x",)}}, "expected declared parameters, got 'z'"),
        (NESTED, {"a": {"b": ("p",)}}, "declared before it, got 'b'"),
        (NESTED, {"c": {"c": ("p",)}}, "declared before it, got 'c'"),
        (NESTED, {"c": {"b": ("s",)}}, r"one of \['p', 'q', 'r'\] of 'b', got 's'"),
        ({"n": IntDistribution(1, 3), "m": IntDistribution(1, 3)}, {"m": {"n": (1,)}}, "categorical parameter"),
    ],
)
def test_spaces_that_make_no_sense_are_refused(kinds: Any, conditions: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Codec(kinds, conditions)


def test_other_distributions_are_refused() -> None:
    class Odd(BaseDistribution):
        def to_internal_repr(self, param_value_in_external_repr: Any) -> float:
            return 0.0

        def single(self) -> bool:
            return False

        def _contains(self, param_value_in_internal_repr: float) -> bool:
            return True

    with pytest.raises(ConfigError, match="float, int or categorical distribution for 'x'"):
        Codec({"x": Odd()})


def test_conditions_that_meet_at_one_parent_must_all_hold() -> None:
    """Through parents with a single value, which have no columns of their own."""
    kinds = {"g": CategoricalDistribution("abc"), "p": CategoricalDistribution(("one",)), "q": CategoricalDistribution((1,))}
    conditions = {"p": {"g": "ab"}, "q": {"g": "bc"}, "x": {"p": ("one",), "q": (1,)}, "y": {"g": "a", "q": (1,)}}
    codec = Codec({**kinds, "x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}, conditions)
    rows = torch.tensor([[code, 0.1, 0.1] for code in (0.0, 1.0, 2.0)], dtype=torch.float64)
    assert codec.active(rows).tolist() == [[True, False, False], [True, True, False], [True, False, False]]
    assert codec.missing({"g": "b"}) == ["x"] and codec.missing({"g": "a"}) == codec.missing({"g": "c"}) == []
