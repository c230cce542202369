"""The search file: what it says, what it refuses, and the command line of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbrl.errors import ConfigError, UntrustedNameError
from mbrl.search.file.search_file import SearchFile, read_search_file
from mbrl.training.yaml_text import read_mapping, write_mapping

BASE = "model:\n  class_path: mbrl.planners.Dyna\n  init_args: {rollout_length: [20, 150, 1, 1], real_ratio: 0.05}\n"
TASK = "name: task\nmodel:\n  init_args: {rollout_length: [1, 15, 1, 1]}\ntrainer: {eval_every: 100}\n"
CONFIGS = (("base.yaml", BASE), ("task.yaml", TASK))

WRITTEN: dict[str, Any] = {
    "study": "dyna-task",
    "config": ["base.yaml", "task.yaml"],
    "fixed": {"data.init_args.steps": 1000, "model.init_args.rollout_length.0": 2, "model.init_args.dynamics.elites": None},
    "objectives": [{"metric": "eval/return", "direction": "maximize", "reduce": "mean_last_5"}],
    "space": {
        "model.init_args.real_ratio": {"float": [0.05, 0.5], "start": 0.05},
        "model.init_args.rollout_length.3": {"int": [1, 20], "log": True, "start": 1},
    },
    "budget": {"trials": 60},
}
CHOSEN = {"model.init_args.real_ratio": 0.1, "model.init_args.rollout_length.3": 7}


def search(**changes: Any) -> SearchFile:
    written = {key: value for key, value in {**WRITTEN, **changes}.items() if value != "left out"}
    return SearchFile.from_text(yaml.safe_dump(written, sort_keys=False), CONFIGS)


def test_what_is_left_out_has_the_documented_values() -> None:
    made = search()
    assert made.command == "fit"
    assert (made.seeds.tune, made.seeds.select, made.seeds.test) == (
        tuple(range(10)),
        tuple(range(50, 55)),
        tuple(range(100, 110)),
    )
    assert made.seeds.per_trial == 1
    assert (made.budget.trials, made.budget.hours) == (60, None)
    assert made.pruner.name == "none"
    assert (made.sampler.name, made.sampler.startup, made.sampler.trust_region) == ("bo", 10, True)
    assert not made.sampler.fidelity and not made.objectives[0].log
    limits = made.limits
    assert (limits.trial_minutes, limits.stall_minutes, limits.retries, limits.errors_in_a_row) == (600, 30, 2, 3)


def test_what_is_written_is_taken() -> None:
    made = search(
        seeds={"tune": [3, 1], "select": [7], "test": [8, 9], "per_trial": 2},
        budget={"hours": 1.5},
        pruner={"name": "percentile", "warmup_fraction": 0.5, "min_trials": 3, "percentile": 40},
        sampler={"name": "tpe", "startup": 4, "seed": 9},
        limits={"trial_minutes": 2, "stall_minutes": None, "retries": 0, "errors_in_a_row": 1},
        objectives=[{"metric": "a", "direction": "minimize", "log": True}],
    )
    assert search(sampler={"fidelity": True}).sampler.fidelity
    assert (made.seeds.tune, made.seeds.per_trial) == ((3, 1), 2)
    assert (made.budget.trials, made.budget.hours) == (None, 1.5)
    assert vars(made.pruner) == {"name": "percentile", "warmup_fraction": 0.5, "min_trials": 3, "percentile": 40.0}
    assert (made.sampler.name, made.sampler.startup, made.sampler.seed) == ("tpe", 4, 9)
    assert vars(made.limits) == {"trial_minutes": 2.0, "stall_minutes": None, "retries": 0, "errors_in_a_row": 1}
    assert vars(made.objectives[0]) == {"metric": "a", "direction": "minimize", "reduce": "last", "log": True}


def test_the_command_line_has_all_that_a_run_needs() -> None:
    arguments = search().argv(CHOSEN, 4, "runs/dyna-task/12/seed4")
    assert arguments[:5] == ["fit", "--config", "base.yaml", "--config", "task.yaml"]
    assert arguments[6:] == ["--seed_everything=4", "--trainer.folder=runs/dyna-task/12/seed4", "--ckpt_path=last"]
    assert arguments[5].startswith("--config={")
    assert json.loads(arguments[5].removeprefix("--config=")) == {
        "data": {"init_args": {"steps": 1000}},
        "model": {"init_args": {"rollout_length": [2, 15, 1, 7], "dynamics": {"elites": None}, "real_ratio": 0.1}},
    }


def test_the_configurations_can_lie_elsewhere(tmp_path: Path) -> None:
    made = search()
    paths = made.write_configs(tmp_path)
    assert [path.read_text() for path in paths] == [BASE, TASK]
    arguments = made.argv(CHOSEN, 0, "run", paths)
    assert arguments[1:5] == ["--config", str(paths[0]), "--config", str(paths[1])]
    with pytest.raises(ConfigError, match="config_paths: expected 2, got 1"):
        made.argv(CHOSEN, 0, "run", paths[:1])


def test_configurations_of_one_name_in_two_folders_stay_two(tmp_path: Path) -> None:
    text = yaml.safe_dump({**WRITTEN, "config": ["a/x.yaml", "b/x.yaml"]}, sort_keys=False)
    paths = SearchFile.from_text(text, [("a/x.yaml", BASE), ("b/x.yaml", TASK)]).write_configs(tmp_path)
    assert [path.read_text() for path in paths] == [BASE, TASK]


def test_files_are_read_from_where_the_command_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in CONFIGS:
        (tmp_path / name).write_text(text)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "search.yaml").write_text(yaml.safe_dump(WRITTEN, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    found = read_search_file("deep/search.yaml")
    assert found.configs == CONFIGS
    assert SearchFile.from_text(found.text, found.configs) == found or found.hash == search().hash
    monkeypatch.chdir(tmp_path / "deep")
    with pytest.raises(
        ConfigError, match=r"base\.yaml: expected a YAML file from where the command runs, got .*No such file"
    ):
        read_search_file("search.yaml")


def test_the_hash_sees_what_makes_trials_comparable_and_nothing_else() -> None:
    one = search()
    same = [
        search(budget={"trials": 5}),
        search(limits={"retries": 0}),
        search(sampler={"name": "random"}),
        search(sampler={"fidelity": True}),
        search(objectives=[{**WRITTEN["objectives"][0], "log": True}]),
        search(pruner={"name": "median"}),
        SearchFile.from_text("# a comment\n" + one.text, CONFIGS),
        SearchFile.from_text(one.text, [("base.yaml", "# a comment\n" + BASE), CONFIGS[1]]),
    ]
    assert [other.hash for other in same] == [one.hash] * len(same)
    assert same[4].objectives == one.objectives, "with another log they can be compared"
    space = dict(WRITTEN["space"])
    other_order = dict(reversed(space.items()))
    others = [
        search(space={**space, "model.init_args.real_ratio": {"float": [0.05, 0.6], "start": 0.05}}),
        search(space=other_order),
        search(fixed={}),
        search(seeds={"per_trial": 2}),
        search(seeds={"tune": [0, 1]}),
        search(objectives=[{"metric": "eval/return", "direction": "maximize", "reduce": "last"}]),
        SearchFile.from_text(one.text, [("base.yaml", BASE.replace("0.05", "0.06")), CONFIGS[1]]),
    ]
    assert len({one.hash, *(other.hash for other in others)}) == len(others) + 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampel": {}}, "sampel: expected one of study, command"),
        ({"study": "left out"}, "study: expected in the search file, got none"),
        ({"study": "../evil"}, r"study: expected a name of letters.* got '\.\./evil'"),
        ({"command": "test"}, "command: expected fit, the one command that a search runs, got 'test'"),
        ({"config": "base.yaml"}, "config: expected a list, each text, got 'base.yaml'"),
        ({"config": ["task.yaml", "base.yaml"]}, r"config: expected the texts of \['task.yaml', 'base.yaml'\]"),
        ({"fixed": [1]}, "fixed: expected a mapping"),
        ({"fixed": {"seed_everything": 1}}, "seed_everything: expected out of fixed, since a search sets it"),
        ({"fixed": {"trainer": {"folder": "x"}}}, "trainer.folder: expected out of fixed, since a search sets it"),
        (
            {"space": {"data": {"choice": {"a": {"init_args": {"seed": 1}}, "b": {"init_args": {"steps": 5}}}}}},
            "data.init_args.seed: expected out of space, since a search sets it",
        ),
        ({"fixed": {"trainer.folder": "x"}}, "trainer.folder: expected out of fixed"),
        ({"fixed": {"ckpt_path": "x"}}, "ckpt_path: expected out of fixed"),
        ({"space": {"data.init_args.seed": {"int": [0, 9]}}}, "data.init_args.seed: expected out of space"),
        (
            {"fixed": {"model.init_args.real_ratio": 1}},
            "model.init_args.real_ratio: expected in fixed or in the space",
        ),
        ({"fixed": {"model.init_args.rollout_length.9": 1}}, "rollout_length.9: expected a place in a list of 4"),
        ({"objectives": []}, "objectives: expected a list, .*got"),
        ({"objectives": [{"direction": "maximize"}]}, "objectives.0.metric: expected text, got None"),
        ({"objectives": [{"metric": "a", "direction": "up"}]}, "objectives.0.direction: expected one of maximize, minimize"),
        (
            {"objectives": [{"metric": "a", "direction": "minimize", "reduce": "mean_last_0"}]},
            "objectives.0.reduce: expected",
        ),
        ({"objectives": [{"metric": "a", "direction": "minimize", "weight": 1}]}, "objectives.0.weight: expected one of"),
        (
            {"objectives": [{"metric": "a", "direction": "minimize", "log": 1}]},
            "objectives.0.log: expected true or false, got 1",
        ),
        ({"sampler": {"fidelity": "yes"}}, "sampler.fidelity: expected true or false, got 'yes'"),
        ({"sampler": {"name": "tpe", "fidelity": True}}, "sampler.fidelity: expected startup, seed with sampler tpe"),
        ({"objectives": 2 * [{"metric": "a", "direction": "minimize"}]}, "objectives: expected different ones"),
        ({"seeds": {"tune": [0, 50]}}, r"seeds: expected tune and select to share none, got \[50\]"),
        ({"seeds": {"test": [3]}}, r"seeds: expected tune and test to share none"),
        ({"seeds": {"tune": [200], "select": [100]}}, r"seeds: expected select and test to share none"),
        ({"seeds": {"tune": [1, 1]}}, "seeds.tune: expected different numbers below"),
        ({"seeds": {"tune": [-1]}}, "seeds.tune: expected a list of at least 1, each a whole number of at least 0"),
        ({"seeds": {"tune": []}}, "seeds.tune: expected a list"),
        ({"seeds": {"per_trial": 11}}, "seeds.per_trial: expected at most the 10 seeds of tune, got 11"),
        ({"seeds": {"train": [1]}}, "seeds.train: expected one of tune, select, test, per_trial"),
        ({"budget": {}}, "budget: expected trials, hours or both, got neither"),
        ({"budget": {"trials": 0}}, "budget.trials: expected a whole number of at least 1, or None, got 0"),
        ({"budget": {"hours": -1}}, "budget.hours: expected a finite number above 0"),
        ({"pruner": {"name": "wilcoxon"}}, "pruner.name: expected one of none, percentile, median, halving"),
        ({"pruner": {"min_trials": 3}}, "pruner.min_trials: expected no option with pruner none"),
        (
            {"pruner": {"name": "halving", "percentile": 3}},
            "pruner.percentile: expected warmup_fraction with pruner halving",
        ),
        (
            {"pruner": {"name": "median", "warmup_fraction": 1}},
            "pruner.warmup_fraction: expected a number of at least 0 and",
        ),
        ({"sampler": {"name": "grid"}}, "sampler.name: expected one of bo, random, tpe, gp, got 'grid'"),
        (
            {"sampler": {"name": "tpe", "trust_region": True}},
            "sampler.trust_region: expected startup, seed with sampler tpe",
        ),
        ({"sampler": {"name": "random", "startup": 3}}, "sampler.startup: expected seed with sampler random"),
        ({"sampler": {"startup": 0}}, "sampler.startup: expected a whole number of at least 1"),
        ({"limits": {"trial_minutes": 0}}, "limits.trial_minutes: expected a finite number above 0, or None, got 0"),
        ({"limits": {"retries": -1}}, "limits.retries: expected a whole number of at least 0, got -1"),
        ({"limits": {"errors_in_a_row": True}}, "limits.errors_in_a_row: expected a whole number of at least 1, got True"),
    ],
)
def test_what_is_wrong_is_refused_with_its_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search(**changes)


def test_what_is_fixed_stays_below_a_choice_of_classes_and_is_refused_below_a_choice_of_lists() -> None:
    kinds = {"net": {"class_path": "p.Net", "init_args": {"deep": 2}}, "other": {"class_path": "p.Net"}}
    for space in ({"m.kind": {"choice": ["p.Net", "p.Other"]}}, {"m.kind": {"choice": kinds}}):
        made = search(space=space, fixed={"m.kind.init_args.wide": None})
        label = made.space.parameters[0].labels[0]
        overlay = json.loads(made.argv({"m.kind": label}, 0, "run")[5].removeprefix("--config="))
        deep = {"deep": 2} if label == "net" else {}
        assert overlay == {"m": {"kind": {"class_path": "p.Net", "init_args": {"wide": None, **deep}}}}
    with pytest.raises(ConfigError, match=r"m\.list\.0: expected in fixed or in the space, got both, and m\.list would"):
        search(space={"m.list": {"choice": {"a": [1], "b": [2]}}}, fixed={"m.list.0": 1})


def test_several_objectives_can_not_be_pruned_by() -> None:
    two = [{"metric": "a", "direction": "minimize"}, {"metric": "b", "direction": "minimize"}]
    assert len(search(objectives=two).objectives) == 2
    with pytest.raises(ConfigError, match=r"pruner\.name: expected none with 2 objectives, got median"):
        search(objectives=two, pruner={"name": "median"})
    with pytest.raises(ConfigError, match=r"sampler\.fidelity: expected false with 2 objectives, got true; remove"):
        search(objectives=two, sampler={"fidelity": True})


def test_a_seed_in_a_configuration_is_refused() -> None:
    configs = [CONFIGS[0], ("task.yaml", TASK + "data: {init_args: {seed: 3}}\n")]
    with pytest.raises(ConfigError, match=r"data\.init_args\.seed: expected out of the configurations, got 3"):
        SearchFile.from_text(yaml.safe_dump(WRITTEN), configs)


@pytest.mark.parametrize(
    ("where", "value", "module"),
    [
        ("config", "class_path: evil.Dyna", "evil"),
        ("config", "env_id: evil_envs:Env-v0", "evil_envs"),
        ("config", "deep: [{x: os.system}]", "os"),
        ("fixed", {"model.init_args.dynamics": "evil.Model"}, "evil"),
        ("fixed", {"model.init_args.dynamics": '{"class_path": "evil\\u002eModel"}'}, "evil"),
        ("fixed", {"model.init_args.dynamics": "class_path: evil.Model"}, "evil"),
        ("space", {"model.init_args.dynamics": {"choice": ["mbrl.models.Pendulum", "evil.sub.Model"]}}, "evil"),
        ("space", {"model.init_args.a": {"choice": {"x": [{"class_path": "evil.M"}], "y": 1}}}, "evil"),
    ],
)
def test_a_foreign_name_is_refused_wherever_it_stands(where: str, value: Any, module: str) -> None:
    if where == "config":
        text = yaml.safe_dump({**WRITTEN, "config": ["x"], "fixed": {}, "space": {"a": {"int": [1, 2]}}})
        made = SearchFile.from_text(text, [("x", value)])
    else:
        made = search(**{where: value})
    with pytest.raises(UntrustedNameError, match=f"add --allow {module} "):
        made.check_names()
    made.check_names([module])


def test_own_names_numbers_and_paths_are_no_foreign_names() -> None:
    search(
        fixed={
            "model.init_args.dynamics": "mbrl.models.Pendulum",
            "data.init_args.path": "./hopper.npz",
            "data.init_args.env_id": "Pendulum-v1",
            "a": "1.5",
        }
    ).check_names()


def test_yaml_is_read_as_the_parser_reads_it() -> None:
    found = read_mapping("{a: 1e-3, b: -2E5, c: 1.5, d: 7, e: 1_0, f: x, g: .5, h: 1.e3}", "f.yaml")
    assert found == {"a": 0.001, "b": -200000.0, "c": 1.5, "d": 7, "e": 10, "f": "x", "g": 0.5, "h": 1000.0}
    assert read_mapping("", "f.yaml") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml: expected YAML, got a stands twice"),
        ("s: {x: 1, x: 2}", "x stands twice"),
        ("- 1", "f.yaml: expected a mapping of keys to values, got list"),
        ("a: [", "f.yaml: expected YAML, got"),
        ("a: !!python/object/apply:os.system [ls]", "f.yaml: expected YAML, got could not determine a constructor"),
    ],
)
def test_no_mapping_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_mapping(text, "f.yaml")


def test_a_date_is_a_text_as_to_the_parser() -> None:
    assert read_mapping("a: 2020-01-01\nb: [2020-01-01 10:00:00]", "x.yaml") == {
        "a": "2020-01-01",
        "b": ["2020-01-01 10:00:00"],
    }
    assert yaml.safe_load(write_mapping({"a": "2020-01-01"})) == {"a": "2020-01-01"}


@pytest.mark.parametrize("text", ["a: !!binary aGVsbG8=", "a: {b: [!!set {c, d}]}", "a: !!timestamp 2020-01-01"])
def test_what_no_command_line_can_hold_is_refused(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"x.yaml: expected numbers, texts, lists and mappings, got (bytes|set|date); write"
    ):
        read_mapping(text, "x.yaml")


def test_labels_of_any_kind_make_a_hash() -> None:
    """JSON, from which it is made, sorts no texts among numbers."""
    labels = {None: [1], "big": {1: "a", "b": 2}, True: 3, 4: 4}
    one, other = (
        search(space={"model.a": {"choice": dict(pairs)}}) for pairs in (labels.items(), list(labels.items())[::-1])
    )
    assert one.hash == search(space={"model.a": {"choice": labels}}).hash and one.space.parameters[0].labels[0] == "null"
    assert one.hash == other.hash != search(space={"model.a": {"choice": {**labels, 4: 5}}}).hash
    assert search().hash == "3d7b936b49ca37f61bb14b72269cb329b7b335900b25da3c3127834ab0434f7a", (
        "that of studies that exist stays"
    )


def test_what_is_written_reads_back() -> None:
    mapping = {"b": [1, 2.5, None], "a": {"x": 1e-5, "y": [{"class_path": "K", "init_args": {"w": [1]}}]}, "t": "1e-3"}
    text = write_mapping(mapping)
    assert read_mapping(text, "f.yaml") == mapping
    assert text.index("b:") < text.index("a:")
    assert "b: [1, 2.5, null]" in text
