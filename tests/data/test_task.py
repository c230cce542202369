"""Task: plain data that a checkpoint holds, known functions by name, actions scaled at the edge."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Task, check_same_task
from mbrl.errors import ConfigError, TaskError, UntrustedNameError


def effort(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    return -(action**2).sum(-1)


def fallen(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    return next_obs[..., 0] < 0


HERE = __name__


def task(**changes: Any) -> Task:
    fields: dict[str, Any] = {
        "env_id": "Some-v0",
        "obs_size": 3,
        "action_size": 2,
        "action_low": (-3.0, 0.0),
        "action_high": (3.0, 10.0),
    }
    return Task(**(fields | changes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_actions_convert_there_and_back(dtype: torch.dtype) -> None:
    ours = torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0], [0.5, -0.5]], dtype=dtype)
    theirs = task().to_env_action(ours)
    assert theirs.tolist() == [[-3, 0], [0, 5], [3, 10], [1.5, 2.5]]
    assert theirs.dtype is dtype
    assert torch.equal(task().from_env_action(theirs), ours)
    assert task().to_env_action(ours.view(2, 2, 2)).shape == (2, 2, 2)


def test_a_scale_first_used_in_an_evaluation_serves_a_later_gradient() -> None:
    made = task()
    with torch.inference_mode():  # Lightning's, around validation
        made.to_env_action(torch.zeros(1, 2))
    action = torch.zeros(1, 2, requires_grad=True)
    made.to_env_action(action).sum().backward()
    assert action.grad is not None and action.grad.tolist() == [[3, 5]]


def test_another_task_is_refused_by_what_differs_and_an_unnamed_one_by_its_numbers() -> None:
    named, unnamed = task(), task(env_id="")
    check_same_task(named, unnamed, "x")  # a dataset that doesn't name its environment
    check_same_task(unnamed, named.to_plain(), "x")
    with pytest.raises(TaskError, match="x: expected the same task, got another: env_id 'Some-v0' against 'Other-v0'"):
        check_same_task(named, task(env_id="Other-v0"), "x")
    with pytest.raises(TaskError, match="action_high"):
        check_same_task(named, task(env_id="", action_high=(3.0, 9.0)), "x")


def test_known_functions_speak_environment_units() -> None:
    known = task(known_reward=f"{HERE}.effort", known_terminated=f"{HERE}.fallen")
    obs = torch.zeros(2, 3)
    next_obs = torch.tensor([[-1.0, 0, 0], [1.0, 0, 0]])
    action = torch.tensor([[1.0, -1.0], [0.0, 1.0]])
    reward = known.reward(obs, action, next_obs)
    terminated = known.terminated(obs, action, next_obs)
    assert reward is not None
    assert reward.tolist() == [-9, -100]
    assert terminated is not None
    assert terminated.tolist() == [True, False]


def test_unknown_functions_are_none() -> None:
    nothing = torch.zeros(1, 3)
    assert task().reward(nothing, torch.zeros(1, 2), nothing) is None
    assert task().terminated(nothing, torch.zeros(1, 2), nothing) is None


def test_plain_data_round_trip(tmp_path: Path) -> None:
    made = task(env_kwargs={"ctrl": (1, 2.5)}, time_limit=200, known_reward=f"{HERE}.effort")
    torch.save(made.to_plain(), tmp_path / "task.pt")
    data = torch.load(tmp_path / "task.pt", weights_only=True)
    again = Task.from_plain(data, allow=[HERE])
    assert again.to_plain() == made.to_plain()
    assert again.action_high == (3.0, 10.0)
    assert again.time_limit == 200


def test_a_name_from_a_file_runs_only_where_allowed() -> None:
    data = task(known_reward=f"{HERE}.effort").to_plain()
    with pytest.raises(UntrustedNameError, match="--allow"):
        Task.from_plain(data)
    with pytest.raises(UntrustedNameError, match="lies outside mbrl"):
        Task.from_plain(task().to_plain() | {"known_reward": "mbrl.spec.os.getcwd"})


def test_an_environment_id_with_a_module_counts_as_a_name() -> None:
    data = task(env_id="my_envs:Arm-v0").to_plain()
    assert "my_envs" not in sys.modules
    with pytest.raises(UntrustedNameError, match=r"my_envs:Arm-v0.*--allow my_envs"):
        Task.from_plain(data)
    assert Task.from_plain(data, allow=["my_envs"]).env_id == "my_envs:Arm-v0"


def test_foreign_fields_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected the fields of a Task"):
        Task.from_plain({"env_id": "x"})
    with pytest.raises(ConfigError, match="expected the fields of a Task"):
        Task.from_plain(task().to_plain() | {"colour": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action_low": (-1.0,)}, r"Task\(action_low=…\): expected shape 2, got 1"),
        ({"action_high": (1.0, 1.0, 1.0)}, r"Task\(action_high=…\): expected shape 2, got 3"),
        ({"action_low": (3.0, 0.0)}, "finite action bounds with low < high"),
        ({"action_high": (float("inf"), 1.0)}, "finite action bounds"),
        ({"action_low": (float("nan"), 0.0)}, "finite action bounds"),
    ],
)
def test_bad_bounds_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        task(**changes)


def test_a_known_reward_under_an_action_repeat_is_refused() -> None:
    with pytest.raises(ConfigError, match="no known reward at action_repeat 2"):
        task(action_repeat=2, known_reward=f"{HERE}.effort")
    assert task(action_repeat=2, known_terminated=f"{HERE}.fallen").action_repeat == 2


WRONG: list[tuple[str, Any]] = [
    ("obs_size", 0), ("obs_size", -1), ("obs_size", 0.5), ("obs_size", "3"), ("obs_size", None), ("time_limit", 0),
    ("time_limit", "x"), ("action_repeat", 0), ("action_repeat", None), ("env_id", 3), ("env_id", None), ("env_kwargs", []),
    ("env_kwargs", None), ("action_low", 0), ("action_low", None), ("action_high", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_field_of_another_kind_is_named(name: str, value: Any) -> None:
    with pytest.raises((ConfigError, TaskError), match=rf"^Task\({name}=…\): expected .*, got "):
        task(**{name: value})
    with pytest.raises(ConfigError, match=r"^Task\.from_plain: expected a mapping, got "):
        Task.from_plain([])  # type: ignore[arg-type]
