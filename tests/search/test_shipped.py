"""The searches in configs/search: each can start, and has what its name promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mbrl.search.file.export import check
from mbrl.search.file.search_file import SearchFile, read_search_file
from mbrl.search.file.space import Space
from mbrl.training.commands.parsed import parsed
from mbrl.training.yaml_text import read_mapping, write_mapping

ROOT = Path(__file__).parents[2]
FILES = sorted(path.name for path in (ROOT / "configs/search").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def shipped(name: str) -> SearchFile:
    return read_search_file(f"configs/search/{name}")


def test_what_is_shipped() -> None:
    assert FILES == [
        "coplanner_pendulum.yaml",
        "ensemble_dataset.yaml",
        "mbpo_pendulum.yaml",
        "model_kinds.yaml",
        "offline.yaml",
    ]


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_search_can_start(name: str) -> None:
    search = shipped(name)
    assert search.study == name.removesuffix(".yaml").replace("_", "-")
    assert search.space.start() is not None, "the first trial is the known good setting"
    search.check_names()
    assert check(search, parsed) >= 5


def test_the_page_shows_a_search_that_can_start_and_the_values_that_are_taken_when_left_out() -> None:
    page = (ROOT / "docs/search.md").read_text()
    first, part, *_ = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    search = SearchFile.from_text(first)
    check(search, parsed)
    bare = {
        key: value for key, value in read_mapping(first, "").items() if key in ("study", "objectives", "space", "budget")
    }
    left_out = SearchFile.from_text(write_mapping(bare))
    for name in ("command", "seeds", "pruner", "sampler", "limits"):
        assert getattr(search, name) == getattr(left_out, name), name
    assert left_out.config == ()
    assert left_out.fixed == {}
    hooks = Space.from_mapping(read_mapping(part, ""))
    chosen = {"model.init_args.rollout_hooks": "aleatoric", "model.init_args.rollout_hooks.0.init_args.weight": 0.5}
    assert hooks.settings(chosen)["model.init_args.rollout_hooks"][0]["init_args"]["weight"] == 0.5


def test_the_search_of_mbpo_has_what_matters() -> None:
    space = {
        parameter.name.rpartition("init_args.")[2]: parameter for parameter in shipped("mbpo_pendulum.yaml").space.parameters
    }
    assert set(space) == {
        "rollout_hooks", "weight", "members", "rollout_length.1", "rollout_length.3", "real_ratio", "updates_per_step",
    }  # fmt: skip
    kinds, values = space["rollout_hooks"].labels, space["rollout_hooks"].values
    assert kinds[0] == "none"
    assert len({value[0]["init_args"]["measure"]["class_path"] for value in values[1:]}) == 7
    assert space["weight"].when == {"model.init_args.rollout_hooks": kinds[1:]}, "without a penalty it has no weight"


def test_a_model_without_members_has_none_in_the_search_of_kinds() -> None:
    search = shipped("model_kinds.yaml")
    active = {
        kind: {parameter.name.rpartition(".")[2] for parameter in search.space.active({"model.init_args.dynamics": kind})}
        for kind in ("probabilistic", "deterministic", "equations")
    }
    common = {"dynamics", "3", "real_ratio"}
    assert active["equations"] == common
    assert active["deterministic"] == common | {"members", "hidden", "lr"}
    assert active["probabilistic"] == common | {"members", "hidden", "lr", "bounds"}
