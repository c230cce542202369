"""Checkpoints from elsewhere run nothing: every payload here would leave a file, which must not appear."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch

import mbrl
from mbrl.cli import main
from mbrl.data import Task
from mbrl.envs import collect, make_env, make_task
from mbrl.errors import ConfigError, UntrustedNameError
from mbrl.models import SimulatorModel
from mbrl.names import CALLABLES, import_name
from mbrl.planners import PETS
from mbrl.planners.plans import RandomShooting
from mbrl.training.checkpoint import checkpoint_folders, read_checkpoint, write_checkpoint
from tests.training.test_kill_and_resume import dyna
from tests.training.toy import data, trainer

CALLER = "foreign_files/Caller-v0"


class Caller(gymnasium.Env[Any, Any]):
    """An environment that calls what it is given, as many do (`env_fn`, `reward_fn`, …)."""

    def __init__(self, env_fn: Any = None, given: Any = (), **others: Any) -> None:
        self.observation_space = gymnasium.spaces.Box(-1, 1, (3,))
        self.action_space = gymnasium.spaces.Box(-2, 2, (1,))
        if callable(env_fn):
            env_fn(*given)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    gymnasium.register(CALLER, entry_point=f"{__name__}:Caller")
    yield
    gymnasium.registry.pop(CALLER)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    trainer(folder).fit(dyna(), data(30, num_envs=2))
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("data") / "rows.npz")
    collect(make_task("Pendulum-v1"), path, steps=40)
    return path


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "marker"
    yield path
    assert not path.exists(), "the payload ran"


def tampered(run: Path, folder: Path, **task: Any) -> Path:
    """A copy of a run whose task says something else, in the checkpoint's own note and in that of its data."""
    where = checkpoint_folders(run)[0]
    checkpoint = read_checkpoint(where, buffers=True)
    checkpoint["mbrl"]["task"].update(task)
    names = {"known_reward": "reward", "known_terminated": "terminated"}
    checkpoint["mbrl_run"]["data"]["init_args"].update({names.get(name, name): value for name, value in task.items()})
    write_checkpoint(folder / "checkpoints" / where.name, checkpoint, {})
    return folder


def payloads(marker: Path) -> dict[str, dict[str, Any]]:
    """Tasks that would write the marker while an environment is made or a reward asked for, by what they try."""
    touch = [f"touch {marker}"]
    return {
        "an attribute chain out of a module of ours": {
            "env_id": CALLER,
            "env_kwargs": {"env_fn": {"callable": "mbrl.spec.os.system"}, "given": touch},
        },
        "one of our own functions": {
            "env_id": CALLER,
            "env_kwargs": {
                "env_fn": {"callable": "mbrl.data.offline_columns.write_arrays"},
                "given": [str(marker), {"a": [1.0]}],
            },
        },
        "our own command line": {
            "env_id": CALLER,
            "env_kwargs": {
                "env_fn": {"callable": "mbrl.cli.main"},
                "given": [["collect", f"{marker}.npz", "--env_id", "Pendulum-v1", "--steps", "1"]],
            },
        },
        "deep within arguments": {
            "env_id": CALLER,
            "env_kwargs": {"env_fn": "x", "deep": [{"more": [{"callable": "os.system"}]}], "given": touch},
        },
        "a module behind an id": {"env_id": "this:Pendulum-v1"},
        "a module with a dash behind an id": {"env_id": "payload-with-dash:Pendulum-v1"},
        "a module behind an id that ends in ours": {"env_id": "payload:mbrl:Pendulum-v1"},
        "an id among the arguments": {
            "env_id": "GymV26Environment-v0",
            "env_kwargs": {"env_id": "payload:Odd-v0", "make_kwargs": {}},
        },
        "a reward that leaves the module": {"known_reward": "mbrl.envs.rewards.torch.save"},
        "a reward that is another function of ours": {"known_reward": "mbrl.training.files.write_whole"},
        "a termination elsewhere": {"known_terminated": "os.path.exists"},
    }


TRIED = list(payloads(Path("marker")))


@pytest.fixture
def on_the_path(marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module whose import would write the marker."""
    for name in ("payload", "payload-with-dash"):
        (tmp_path / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("on_the_path")
@pytest.mark.parametrize("what", TRIED)
def test_a_task_in_a_checkpoint_runs_nothing_in_any_command(
    what: str, run: Path, dataset: str, marker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tampered(run, tmp_path / "foreign", **payloads(marker)[what])
    for arguments in (
        ["test", "--ckpt_path", str(folder)],
        ["validate", "--ckpt_path", str(folder)],
        ["collect", str(tmp_path / "out.npz"), "--ckpt_path", str(folder), "--steps", "4"],
        ["predict", "--ckpt_path", str(folder), "--dataset", dataset],
        ["report", "--ckpt", str(folder), "--data", dataset, "--quick"],
    ):
        assert main(arguments) == 2, arguments
        assert "expected a name in" in capsys.readouterr().err, arguments
        assert not marker.exists() and not Path(f"{marker}.npz").exists(), arguments
    for load in (mbrl.load, mbrl.load_policy):
        with pytest.raises(UntrustedNameError):
            load(folder)


@pytest.mark.usefixtures("on_the_path")
@pytest.mark.parametrize("what", TRIED)
def test_the_note_of_a_checkpoints_data_alone_runs_nothing(
    what: str, run: Path, marker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = checkpoint_folders(run)[0]
    checkpoint = read_checkpoint(where, buffers=True)
    whole = read_checkpoint(
        checkpoint_folders(tampered(run, tmp_path / "foreign", **payloads(marker)[what]))[0], buffers=False
    )
    checkpoint["mbrl_run"]["data"] = whole["mbrl_run"]["data"]
    write_checkpoint(tmp_path / "half" / "checkpoints" / where.name, checkpoint, {})
    for command in ("test", "validate"):
        assert main([command, "--ckpt_path", str(tmp_path / "half")]) == 2
        assert "expected a name in" in capsys.readouterr().err


def test_a_classs_name_that_leaves_our_modules(run: Path, marker: Path, tmp_path: Path) -> None:
    where = checkpoint_folders(run)[0]
    for path in (
        "mbrl.spec.os.system",
        "mbrl.training.trainer.pl.callbacks.ModelCheckpoint",
        "mbrl.training.files.write_whole",
    ):
        checkpoint = read_checkpoint(where, buffers=False)
        checkpoint["mbrl"]["spec"] = {"class_path": path, "init_args": {"path": str(marker)}}
        shutil.rmtree(tmp_path / "foreign", ignore_errors=True)
        write_checkpoint(tmp_path / "foreign", checkpoint, {})
        with pytest.raises((UntrustedNameError, ConfigError)):
            mbrl.load(tmp_path / "foreign")


def test_known_functions_of_a_checkpoint_need_no_leave(run: Path) -> None:
    planner = mbrl.load(run)
    assert planner.built_task.known_reward == "mbrl.envs.rewards.pendulum"
    assert planner.built_task.allow == ()


def test_no_file_says_whom_to_trust(run: Path, tmp_path: Path) -> None:
    for allow in (None, ["os"]):
        with pytest.raises(ConfigError, match="which no file decides"):
            mbrl.load(tampered(run, tmp_path / f"foreign{allow}", allow=allow))


def test_an_allowed_modules_imports_are_not_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marker: Path) -> None:
    (tmp_path / "mine_of_foreign.py").write_text(
        "import os\nfrom os import system\nfrom pathlib import Path\nBOOK = {}\n\n\ndef own():\n    return Path\n\n\n"
        "class Folder(Path):\n    def name_of(self):\n        return 'x'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert import_name("mine_of_foreign.own", ["mine_of_foreign"], CALLABLES).__name__ == "own"
    for name in ("os.system", "system", "Path.touch", "Path", "Folder.touch", "BOOK.clear", "own.__globals__.clear"):
        with pytest.raises((UntrustedNameError, ConfigError)):
            import_name(f"mine_of_foreign.{name}", ["mine_of_foreign"], CALLABLES)
    task = Task(CALLER, 3, 1, (-2.0,), (2.0,), env_kwargs={
        "env_fn": {"callable": "mine_of_foreign.system"}, "given": [f"touch {marker}"],
    }).to_plain()  # fmt: skip
    with pytest.raises(UntrustedNameError, match="lies outside"):
        make_env(Task.from_plain(task, ["mine_of_foreign"]))


def test_users_own_names_stay_free(marker: Path) -> None:
    """The user's own arguments are theirs: what a file may not do, Python may."""
    other = marker.with_name("other")
    make_task(CALLER, {"env_fn": {"callable": "os.system"}, "given": [f"touch {other}"]})
    assert other.exists()


def test_loading_makes_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planner whose model is the simulator: what it needs is made when it is first stepped."""
    task = make_task("InvertedPendulum-v5")
    planner = PETS(SimulatorModel(threads=1), RandomShooting(candidates=4), horizon=2)
    planner.build(task, 0)
    checkpoint: dict[str, Any] = {"state_dict": planner.state_dict()}
    planner.on_save_checkpoint(checkpoint)
    checkpoint.pop("mbrl_buffers")
    write_checkpoint(tmp_path / "ckpt-0", checkpoint, {})
    made: list[str] = []
    real = gymnasium.make

    def counted(name: str, *arguments: Any, **options: Any) -> Any:
        made.append(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(gymnasium, "make", counted)
    loaded = mbrl.load(tmp_path / "ckpt-0")
    assert made == []
    assert isinstance(loaded, PETS)
    loaded.act(torch.zeros(1, 4), loaded.memory(1, torch.Generator()), explore=False)
    assert set(made) == {"InvertedPendulum-v5"}
