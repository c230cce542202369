from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mbrl
from mbrl.errors import CheckpointError, ConfigError, UntrustedNameError
from mbrl.training.checkpoint import checkpoint_folders, read_checkpoint, write_checkpoint
from tests.training.test_kill_and_resume import dyna
from tests.training.toy import ToyPlanner, data, trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    trainer(folder).fit(ToyPlanner(), data(20))
    return folder


def test_run_folder_checkpoint_folder_and_model_file(run: Path) -> None:
    folder = checkpoint_folders(run)[0]
    weights = read_checkpoint(folder, buffers=False)["state_dict"]["policy.weight"]
    for path in (run, str(run), folder, folder / "model.pt"):
        planner = mbrl.load(path, allow=["tests"])
        assert planner.env_steps == 20
        assert torch.equal(planner.policy.weight, weights)
        assert planner.built_task.env_id == "Pendulum-v1"


def test_names_outside_mbrl_need_permission(run: Path) -> None:
    with pytest.raises(UntrustedNameError, match=r"tests\.training\.toy\.ToyPlanner.*add --allow tests"):
        mbrl.load(run)


def test_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="but there is nothing; check the path"):
        mbrl.load(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match=r"has no manifest\.json"):
        mbrl.load(tmp_path)


def test_a_model_file_without_its_folder(run: Path, tmp_path: Path) -> None:
    shutil.copy(checkpoint_folders(run)[0] / "model.pt", tmp_path)
    with pytest.raises(CheckpointError, match=r"has no manifest\.json.*copy the whole folder"):
        mbrl.load(tmp_path / "model.pt", allow=["tests"])


def test_parameters_that_do_not_fit_their_spec(run: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(checkpoint_folders(run)[0], buffers=False)
    checkpoint["state_dict"]["policy.weight"] = torch.zeros(2, 2)
    write_checkpoint(tmp_path / "ckpt-1", checkpoint, {})
    with pytest.raises(
        CheckpointError, match=r"expected parameters of tests\.training\.toy\.ToyPlanner .*, got something else"
    ):
        mbrl.load(tmp_path / "ckpt-1", allow=["tests"])


def test_loads_in_a_fresh_process_without_the_environments_package(tmp_path: Path) -> None:
    """The child can't import gymnasium's Pendulum: acting needs the policy only."""
    trainer(tmp_path).fit(dyna(), data(30, num_envs=2))
    code = (
        "import json, sys\n"
        "sys.modules['gymnasium.envs.classic_control'] = None\n"
        "import torch, mbrl\n"
        "planner = mbrl.load(sys.argv[1])\n"
        "memory = planner.memory(1, torch.Generator())\n"
        "action, _ = planner.act(torch.ones(1, 3), memory, explore=False)\n"
        "print(json.dumps(action.tolist()))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    planner = mbrl.load(tmp_path)
    memory = planner.memory(1, torch.Generator())
    assert json.loads(done.stdout) == planner.act(torch.ones(1, 3), memory, explore=False)[0].tolist()


@pytest.mark.parametrize("wrong", [2.5, None, [], True])
def test_what_is_no_path_is_refused_in_a_sentence(wrong: object) -> None:
    with pytest.raises(ConfigError, match=r"load\(path=…\): expected text, or a PathLike, got"):
        mbrl.load(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"load\(allow=…\): expected text, or a list"):
        mbrl.load("runs", allow=2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("mbrl",), None), (("mbrl",), {}), (("mbrl", "kind"), "x"), (("mbrl", "spec"), None), (("mbrl", "task"), []),
        (("mbrl", "seed"), "x"), (("state_dict",), None), (("state_dict",), {"x": 1}),
        (("mbrl", "planner"), 3),
    ],
)  # fmt: skip
def test_a_checkpoint_that_holds_something_else(path: tuple[str, ...], value: object, run: Path, tmp_path: Path) -> None:
    whole = checkpoint_folders(run)[0]
    checkpoint = read_checkpoint(whole, buffers=False)
    at = checkpoint
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    write_checkpoint(tmp_path / "ckpt-0", checkpoint, {})
    with pytest.raises(CheckpointError, match=r"the checkpoint holds a state|expected .*; use another checkpoint"):
        mbrl.load(tmp_path / "ckpt-0", allow=["tests"])
