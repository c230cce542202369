"""The space of a search: what it refuses, which parameters count, and what they become."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from mbrl.errors import ConfigError
from mbrl.search.file.corners import corners
from mbrl.search.file.settings import merged, nested
from mbrl.search.file.space import Space

KIND, COEF, SCALE, LENGTH = "m.kind", "m.kind.init_args.coef", "m.kind.init_args.scale", "m.length.3"

WRITTEN: dict[str, Any] = {
    "m.lr": {"float": [1e-5, 1e-2], "log": True, "start": 1e-3},
    KIND: {"choice": ["pkg.None_", "pkg.Std", "pkg.Aleatoric"], "start": "pkg.Std"},
    COEF: {"float": [0.1, 10], "when": {KIND: ["pkg.Std", "pkg.Aleatoric"]}, "start": 1},
    "m.form": {"choice": {"small": [200, 200], "big": [400]}, "when": {KIND: ["pkg.Std"]}, "start": "big"},
    SCALE: {"int": [1, 9], "when": {"m.form": ["big"]}, "start": 2},
    LENGTH: {"int": [1, 25], "start": 5},
    "m.flag": {"choice": [True, None, 0.5], "start": None},
}
BASE = {"m": {"length": [1, 15, 1, 1], "other": 3}}
START = {"m.lr": 1e-3, KIND: "pkg.Std", COEF: 1, "m.form": "big", SCALE: 2, LENGTH: 5, "m.flag": "null"}


def space(**changes: Any) -> Space:
    return Space.from_mapping({**WRITTEN, **changes})


def test_each_parameter_is_what_optuna_keeps() -> None:
    found = space().distributions()
    assert list(found) == list(WRITTEN)
    assert found["m.lr"] == FloatDistribution(1e-5, 1e-2, log=True)
    assert found[COEF] == FloatDistribution(0.1, 10.0)
    assert found[SCALE] == IntDistribution(1, 9)
    assert found[KIND] == CategoricalDistribution(("pkg.None_", "pkg.Std", "pkg.Aleatoric"))
    assert found["m.form"] == CategoricalDistribution(("small", "big"))
    assert found["m.flag"] == CategoricalDistribution(("true", "null", "0.5"))


def test_conditions_name_the_labels_of_parents() -> None:
    assert space().conditions() == {
        COEF: {KIND: ("pkg.Std", "pkg.Aleatoric")},
        "m.form": {KIND: ("pkg.Std",)},
        SCALE: {"m.form": ("big",)},
    }


@pytest.mark.parametrize(
    ("chosen", "off"),
    [
        ({KIND: "pkg.Std", "m.form": "big"}, set()),
        ({KIND: "pkg.Std", "m.form": "small"}, {SCALE}),
        ({KIND: "pkg.Aleatoric"}, {"m.form", SCALE}),
        ({KIND: "pkg.Aleatoric", "m.form": "big"}, {"m.form", SCALE}),  # a parent that is off switches its children off
        ({KIND: "pkg.None_"}, {COEF, "m.form", SCALE}),
    ],
)
def test_what_counts_follows_from_what_is_chosen(chosen: dict[str, Any], off: set[str]) -> None:
    active = [parameter.name for parameter in space().active(chosen)]
    assert active == [name for name in WRITTEN if name not in off]


def test_a_parameter_with_two_parents_needs_both() -> None:
    both = Space.from_mapping(
        {"a": {"choice": [1, 2]}, "b": {"choice": [1, 2]}, "c": {"int": [1, 2], "when": {"a": [1], "b": [2]}}}
    )
    assert [len(both.active({"a": a, "b": b})) for a, b in (("1", "2"), ("1", "1"), ("2", "2"))] == [3, 2, 2]


def test_settings_put_values_for_labels_and_places_into_lists() -> None:
    assert space().settings(START, BASE) == {
        "m.lr": 1e-3,
        KIND: "pkg.Std",
        COEF: 1.0,
        "m.form": [400],
        SCALE: 2,
        "m.length": [1, 15, 1, 5],
        "m.flag": None,
    }
    assert BASE["m"]["length"] == [1, 15, 1, 1], "the configuration below must stay as it is"
    assert list(space().settings(START, BASE))[1:3] == [KIND, COEF], "a class goes before what belongs to it"


def test_settings_nest_with_a_class_as_class_path_once_something_belongs_to_it() -> None:
    found = space().nested(START, BASE)
    assert found["m"]["kind"] == {"class_path": "pkg.Std", "init_args": {"coef": 1.0, "scale": 2}}
    plain = space().nested({"m.lr": 1e-3, KIND: "pkg.None_", LENGTH: 5, "m.flag": "true"}, BASE)
    assert plain == {"m": {"lr": 1e-3, "kind": "pkg.None_", "length": [1, 15, 1, 5], "flag": True}}


def test_whole_numbers_stay_whole() -> None:
    found = space().settings({**START, SCALE: 3.0, LENGTH: 7.0}, BASE)
    assert repr(found[SCALE]) == "3"
    assert repr(found["m.length"][3]) == "7"
    assert repr(found[COEF]) == "1.0"


def test_a_place_can_lie_in_a_chosen_list() -> None:
    hooks = {"none": [], "std": [{"class_path": "p.Penalty", "init_args": {"measure": "p.Std", "weight": 1.0}}]}
    made = Space.from_mapping(
        {
            "hooks": {"choice": hooks},
            "hooks.0.init_args.weight": {"float": [0, 5], "when": {"hooks": ["std"]}},
            "hooks.0.init_args.measure.init_args.of": {"choice": ["a", "b"], "when": {"hooks": ["std"]}},
        }
    )
    assert made.settings({"hooks": "none"}, {"hooks": [1]}) == {"hooks": []}
    chosen = {"hooks": "std", "hooks.0.init_args.weight": 2.5, "hooks.0.init_args.measure.init_args.of": "b"}
    measure = {"class_path": "p.Std", "init_args": {"of": "b"}}
    for _ in range(2):  # the choice's own value must not change by use
        assert made.settings(chosen) == {
            "hooks": [{"class_path": "p.Penalty", "init_args": {"measure": measure, "weight": 2.5}}]
        }
    assert hooks["std"][0]["init_args"] == {"measure": "p.Std", "weight": 1.0}


def test_another_class_in_a_list_starts_from_its_own_defaults() -> None:
    made = Space.from_mapping({"hooks.0.measure": {"choice": ["p.A", "p.B"]}})
    base = {"hooks": [{"measure": {"class_path": "p.A", "init_args": {"x": 1}}}]}
    assert made.settings({"hooks.0.measure": "p.A"}, base)["hooks"] == base["hooks"]
    assert made.settings({"hooks.0.measure": "p.B"}, base)["hooks"] == [{"measure": {"class_path": "p.B"}}]


def test_the_start_is_what_the_file_says() -> None:
    assert space().start() == START
    assert Space.from_mapping({"a": {"int": [1, 2]}}).start() is None


def test_suggesting_asks_for_all_that_counts_at_once_parents_first() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(30):
        trial = study.ask()
        chosen = space().suggest(trial)
        assert chosen == trial.params
        assert list(chosen) == [parameter.name for parameter in space().active(chosen)]
        seen.add(chosen[KIND])
        space().settings(chosen, BASE)
    assert seen == {"pkg.None_", "pkg.Std", "pkg.Aleatoric"}


def test_corners_use_both_ends_and_every_choice() -> None:
    used: dict[str, set[Any]] = {name: set() for name in WRITTEN}
    tried = [chosen for _, chosen in corners(space())]
    for chosen in tried:
        space().settings(chosen, BASE)
        for name, value in chosen.items():
            used[name].add(value)
    assert tried[0] == START
    assert all(set(parameter.labels) <= used[parameter.name] for parameter in space().parameters)
    assert all(
        {parameter.low, parameter.high} <= used[parameter.name]
        for parameter in space().parameters
        if parameter.kind != "choice"
    )
    assert all(one != other for i, one in enumerate(tried) for other in tried[:i])


def test_conditions_that_can_not_hold_together_are_refused() -> None:
    made = Space.from_mapping(
        {
            "a": {"choice": [1, 2]},
            "b": {"choice": [1, 2], "when": {"a": [1]}},
            "c": {"int": [1, 2], "when": {"a": [2], "b": [1]}},
        }
    )
    with pytest.raises(ConfigError, match=r"c\.when: expected conditions that can hold together, .* no value of a"):
        list(corners(made))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"float": [1, 2], "int": [1, 2]}, "x: expected one of float, int and choice, got float and int"),
        ({"logs": True}, "x: expected one of float, int and choice, got logs"),
        ([1, 2], r"x: expected a mapping such as .* got \[1, 2\]"),
        ({"float": [2, 1]}, r"x: expected float: \[low, high\], two numbers with low < high, got \[2, 1\]"),
        ({"float": [1, 1]}, "low < high"),
        ({"float": ["a", 1]}, "two numbers"),
        ({"float": [0, float("nan")]}, "two numbers"),
        ({"int": [1.5, 3]}, "two whole numbers"),
        ({"int": [True, 3]}, "two whole numbers"),
        ({"float": [0, 1], "log": True}, r"x: expected a range above 0 for a log scale, got \[0.0, 1.0\]"),
        ({"float": [0, 1], "log": "yes"}, "x.log: expected true or false, got 'yes'"),
        ({"choice": ["a", "b"], "log": True}, "x.log: expected one of choice, when, start"),
        ({"int": [1, 3], "step": 2}, "x.step: expected one of int, log, when, start"),
        ({"choice": ["a"]}, "x: expected two or more different choices, got a; put a single one in fixed"),
        ({"choice": [1, "1"]}, "x: expected two or more different choices, got 1, 1"),
        ({"choice": [[1], [2]]}, "give lists and mappings labels"),
        ({"int": [1, 3], "start": 4}, "start of x: expected a whole number from 1 to 3, got 4"),
        ({"int": [1, 3], "start": 1.5}, "start of x: expected a whole number from 1 to 3, got 1.5"),
        ({"choice": ["a", "b"], "start": "c"}, "start of x: expected one of a, b, got 'c'"),
        ({"int": [1, 3], "when": {"p": ["u"]}}, r"x.when.p: expected one of s, t, got 'u'"),
        ({"int": [1, 3], "when": {"n": [1]}}, "x.when: expected choices, got n, which is a number"),
        ({"int": [1, 3], "when": {"later": [1]}}, "x.when: expected parameters that stand above it, got later"),
        ({"int": [1, 3], "when": {"p": "s"}}, r"x.when: expected p: \[values or labels of it\], got 's'"),
        ({"int": [1, 3], "when": {}}, r"x.when: expected \{parameter: \[values\]\}"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_key(written: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Space.from_mapping({"p": {"choice": ["s", "t"]}, "n": {"int": [1, 2]}, "x": written, "later": {"choice": [1, 2]}})


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "space: expected one parameter or more"),
        ([], "space: expected a mapping"),
        ({"a b": {"int": [1, 2]}}, "space: expected dotted settings .* got 'a b'"),
        ({"0.a": {"int": [1, 2]}}, "space: expected dotted settings"),
        ({"m." + "x" * 600: {"int": [1, 2]}}, "space: expected dotted settings"),
        (
            {"m.k.lr": {"int": [1, 2]}, "m.k": {"choice": ["a", "b"]}},
            "m.k: expected before m.k.lr, which it would over",
        ),
        ({"a": {"int": [1, 2], "start": 1}, "b": {"int": [1, 2]}}, "b: expected a start, since others have one"),
        (
            {"a": {"choice": [1, 2], "start": 1}, "b": {"int": [1, 2], "when": {"a": [2]}, "start": 1}},
            "b: expected no start, since its parents' starts switch it off, got 1",
        ),
    ],
)
def test_a_wrong_space_is_refused_with_its_key(mapping: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Space.from_mapping(mapping)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"m.lr": 1.0}, "m.lr: expected a number from 1e-05 to 0.01, got 1.0"),
        ({SCALE: 2.5}, f"{SCALE}: expected a whole number from 1 to 9, got 2.5"),
        ({"m.flag": True}, "m.flag: expected one of true, null, 0.5, got True"),
        ({"m.new": 1}, "m.new: expected parameters that count, got this one, which is not in the space"),
        ({KIND: "pkg.None_"}, "expected parameters that count, got this one, which is switched off"),
        ({"m.lr": None}, "m.lr: expected a number"),
    ],
)
def test_a_wrong_choice_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space().settings({**START, **change}, BASE)


def test_a_missing_choice_is_refused() -> None:
    with pytest.raises(ConfigError, match=f"{COEF}: expected a value, since it counts under what is chosen, got none"):
        space().settings({name: value for name, value in START.items() if name != COEF}, BASE)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ({}, rf"{LENGTH}: expected a list to put a value into, got none"),
        ({"m": {"length": [1, 2]}}, rf"{LENGTH}: expected a place in a list of 2, counted from 0, got 3"),
    ],
)
def test_a_place_that_is_not_there_is_refused(base: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space().settings(START, base)


def test_merging_lays_mappings_over_each_other_and_replaces_all_else() -> None:
    before = {"a": {"x": 1, "list": [1, 2]}, "c": {"class_path": "A", "init_args": {"y": 1}}}
    after = {"a": {"list": [3]}, "c": "B", "d": None}
    assert merged(before, after) == {
        "a": {"x": 1, "list": [3]},
        "c": {"class_path": "B", "init_args": {"y": 1}},  # the parser knows which of A's settings B takes
        "d": None,
    }
    assert before["a"] == {"x": 1, "list": [1, 2]}
    assert nested({"a.b": "K", "a.b.init_args.c": 1}) == {"a": {"b": {"class_path": "K", "init_args": {"c": 1}}}}
