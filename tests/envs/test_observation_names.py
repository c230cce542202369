"""Dimensions are called what the environment, or else the user, calls them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from mbrl.data import Task
from mbrl.envs import OnlineData, make_task
from mbrl.envs.names.observation_names import observation_names
from mbrl.errors import ConfigError, MbrlWarning


class Named(gymnasium.Env[Any, Any]):
    """Observes three numbers, of which it names as many as it is told to."""

    observation_space = spaces.Box(-1, 1, (3,))
    action_space = spaces.Box(-1, 1, (1,))

    def __init__(self, names: Any = ("a_1", "b", "c")) -> None:
        self.obs_names = names

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        return np.zeros(3, dtype=np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros(3, dtype=np.float32), 0.0, False, False, {}


class PendulumEnv(Named):
    """Somebody's, whose three numbers are others than Gymnasium's."""

    spec = gymnasium.spec("Pendulum-v1")

    def __init__(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    gymnasium.register("NamedForATest-v0", Named, max_episode_steps=5)
    yield
    del gymnasium.registry["NamedForATest-v0"]


def test_the_environment_names_them() -> None:
    assert make_task("NamedForATest-v0").names == ("a_1", "b", "c")
    assert observation_names(Named(("°C", "<b>", "a\u00a0$x$")), 3) == ("°C", "<b>", "a\u00a0$x$")
    assert observation_names(PendulumEnv(), 3) is None, "one of the same name is not Gymnasium's"


@pytest.mark.parametrize(
    "names", [("a", "b"), ("a", "b", "c", "d"), ("a", "a", "b"), (1, 2, 3), 3, "abc", ("a", "b", "c\n")], ids=repr
)
def test_names_that_dont_fit_are_left_out_and_told(names: Any) -> None:
    """Of another number, twice the same, no texts, or not of one line."""
    told = re.escape(f"Named.obs_names: expected 3 texts, another for each number of the observation, got {names!r}, which")
    with pytest.warns(MbrlWarning, match=f"^{told} no report shows; change them, or name all with data.init_args.names"):
        assert observation_names(Named(names), 3) is None


def test_names_by_the_user_in_place_of_the_environments_tell_nothing() -> None:
    gymnasium.register("MisnamedForATest-v0", Named, max_episode_steps=5, kwargs={"names": ("a",)})
    try:
        assert make_task("MisnamedForATest-v0", names=["x", "y", "z"]).names == ("x", "y", "z")
    finally:
        del gymnasium.registry["MisnamedForATest-v0"]


@pytest.mark.parametrize(
    ("env_id", "first", "last"),
    [("Pendulum-v1", "cos_theta", "theta_dot"), ("Hopper-v5", "rootz", "foot_joint_dot"),
     ("InvertedPendulum-v5", "x", "theta_dot")],
)  # fmt: skip
def test_gymnasiums_own(env_id: str, first: str, last: str) -> None:
    task = make_task(env_id)
    assert task.names is not None and (task.names[0], task.names[-1]) == (first, last)


def test_entries_of_a_dict_and_parts_of_a_joint_are_numbered() -> None:
    inner = Named()
    inner.observation_space = spaces.Dict({"height": spaces.Box(-1, 1, (1,)), "wheel": spaces.Box(-1, 1, (2,))})  # type: ignore[assignment]
    del inner.obs_names
    assert observation_names(gymnasium.wrappers.FlattenObservation(inner), 3) == ("height", "wheel[0]", "wheel[1]")
    names = make_task("Ant-v5").names
    assert names is not None and len(names) == 105 and names[0] == "root[2]" and "root_dot[5]" in names


def test_the_user_names_them() -> None:
    data = OnlineData("Pendulum-v1", steps=10, names=["x", "y", "speed_in_mm"])
    assert data.task.names == ("x", "y", "speed_in_mm")
    assert Task.from_plain(data.task.to_plain()).names == data.task.names
    older = {key: value for key, value in data.task.to_plain().items() if key != "names"}
    assert Task.from_plain(older).names is None and Task.from_plain(older) == data.task, (
        "names are no part of what a task is"
    )


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["x", "y"], r"Task\(names=…\): expected a list of 3, each text, got \['x', 'y'\]"),
        ("xyz", "expected a list of 3, each text, got 'xyz'"),
        (["x", "y", 3], "each text"),
        (["x", "y", "z\x1b[31m"], r"expected names of letters that can be printed on a line, got 'z\\x1b\[31m'; change it"),
        (["x", "y", "z\nw"], "printed on a line"),
        (["x", "y", "\ud800"], "printed on a line"),
        (["x", "y", "x"], "expected a name of its own for each dimension, got .*; change one"),
    ],
)
def test_names_that_are_none(names: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make_task("Pendulum-v1", names=names)
