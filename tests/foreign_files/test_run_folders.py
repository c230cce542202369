"""Run folders from elsewhere write nothing outside: links in them, names of theirs, files that lie ready."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mbrl.analysis.written_numbers import write_csv
from mbrl.cli import main
from mbrl.data.offline_columns import write_arrays
from mbrl.envs import collect, make_task
from mbrl.errors import ConfigError, MbrlError, RunFolderError
from mbrl.replacing import following_no_link, replacing
from mbrl.search.file.search_file import SearchFile
from mbrl.training import Trainer
from mbrl.training.checkpoint import checkpoint_folders
from mbrl.training.files import make_writable, write_whole
from mbrl.training.metrics_file import MetricsFile
from mbrl.training.processes.run_process import free_folder
from mbrl.training.run_folder import check_name
from tests.training.test_kill_and_resume import dyna
from tests.training.toy import ToyPlanner, data, trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run") / "seed0"
    trainer(folder).fit(dyna(), data(30, num_envs=2))
    return folder


@pytest.fixture
def theirs(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "theirs")
    return tmp_path / "theirs"


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Path]:
    """A folder and a file of the user's, which every payload here would change."""
    folder = tmp_path / "mine"
    (folder / "checkpoints" / "ckpt-99").mkdir(parents=True)
    path = folder / "file.txt"
    path.write_text("mine\n")
    yield path
    assert path.read_text() == "mine\n"
    assert sorted(item.name for item in folder.rglob("*")) == ["checkpoints", "ckpt-99", "file.txt"]


@pytest.mark.parametrize("name", ["metrics.jsonl", "metrics.csv", "summary.json", "config.resume-1.yaml", "curve.png", "x"])
def test_training_goes_on_in_no_folder_with_links(theirs: Path, mine: Path, name: str) -> None:
    (theirs / name).unlink(missing_ok=True)
    (theirs / name).symlink_to(mine)
    with pytest.raises(RunFolderError, match=f"but .*{name} is a link; copy what it points to there"):
        trainer(theirs).fit(dyna(), data(40, num_envs=2), ckpt_path="last")


def test_no_checkpoint_of_others_is_removed_through_a_link(tmp_path: Path, mine: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "checkpoints").symlink_to(mine.parent / "checkpoints")
    for ckpt_path in (None, "last"):
        with pytest.raises(RunFolderError, match="is a link"):
            trainer(folder).fit(ToyPlanner(), data(20), ckpt_path=ckpt_path)
    assert (mine.parent / "checkpoints" / "ckpt-99").is_dir()


def test_a_link_in_place_of_a_checkpoint(theirs: Path, mine: Path) -> None:
    newest = checkpoint_folders(theirs)[0]
    (theirs / "checkpoints" / "ckpt-9999").symlink_to(mine.parent)
    with pytest.raises(RunFolderError, match="is a link"):
        trainer(theirs).fit(dyna(), data(40, num_envs=2), ckpt_path="last")
    assert checkpoint_folders(theirs)[0] == newest, "a link is no checkpoint"


def test_what_commands_leave_in_a_folder_replaces_links(theirs: Path, mine: Path, tmp_path: Path) -> None:
    rows = str(tmp_path / "rows.npz")
    collect(make_task("Pendulum-v1"), rows, steps=20)
    for name in ("test.json", "test.gif"):
        (theirs / name).symlink_to(mine)
    (theirs / "predictions.npz").symlink_to(tmp_path / "mine" / "new.npz")  # a link to nothing exists nowhere
    assert main(["test", "--ckpt_path", str(theirs), "--episodes", "1"]) == 0
    assert (theirs / "test.json").read_text().startswith("{") and not (theirs / "test.json").is_symlink()
    assert main(["predict", "--ckpt_path", str(theirs), "--dataset", rows]) == 0
    (theirs / "report").symlink_to(mine.parent)
    assert main(["report", "--ckpt", str(theirs), "--data", rows, "--quick"]) == 2


WRITERS: dict[str, Callable[[Path], Any]] = {
    "write_whole": lambda path: write_whole(path, b"new"),
    "write_arrays": lambda path: write_arrays(path, {"a": np.zeros(1)}),
    "write_csv": lambda path: write_csv(path, ["a"], [[1]]),
    "metrics.csv": lambda path: MetricsFile(path.with_name("none.jsonl")).write_csv(path),
    "cut": lambda path: MetricsFile(path).cut(0),
}


@pytest.mark.parametrize("what", WRITERS)
def test_every_writer_replaces_a_link_and_uses_no_name_that_lies_ready(what: str, mine: Path, tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    path = folder / "out"
    prepared = [path, *(folder / name for name in (".out", ".out.tmp", "out.tmp", ".writable"))]
    for item in prepared:
        item.symlink_to(mine)
    WRITERS[what](path)
    assert path.is_file() and not path.is_symlink()
    assert sorted(folder.iterdir()) == sorted(prepared), "nothing is left beside"


def test_appending_follows_no_link(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to(mine)
    with pytest.raises(MbrlError, match="expected room for a line"):
        MetricsFile(tmp_path / "metrics.jsonl").append({"env_steps": 1})
    folder = tmp_path / "seed0"
    folder.mkdir()
    (folder / ".running").symlink_to(mine)
    with pytest.raises(OSError, match="symbolic link"):
        free_folder(folder)
    with pytest.raises(OSError, match="symbolic link"):
        following_no_link(str(tmp_path / "metrics.jsonl"), os.O_WRONLY)


def test_trying_a_folder_writes_through_no_link(mine: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".writable").symlink_to(tmp_path / "mine" / "touched")
    make_writable(folder, "--out")
    assert (folder / ".writable").is_symlink(), "what lay there stays"


def test_a_file_has_the_permissions_of_others(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_whole(tmp_path / "whole", b"")
    assert os.stat(tmp_path / "whole").st_mode == os.stat(tmp_path / "plain").st_mode


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(TypeError), replacing(path) as file:
        file.write("no bytes")  # type: ignore[arg-type]
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_a_kill_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".metrics.csv.0011223344556677.unfinished").write_text("half")
    trainer(tmp_path).fit(ToyPlanner(), data(20))
    assert not list(tmp_path.glob(".*.unfinished"))


NAMES = [
    "../x",
    "a/../../x",
    "/tmp/x",
    "..",
    ".",
    "",
    "a//b",
    "a\0b",
    "a\nb",
    "\x1b[2J",
    "NUL",
    "con.txt",
    "a\\..\\b",
    "x" * 201,
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_out_of_their_root(name: str) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.name: expected a name of a folder below runs") as caught:
        Trainer(name=name)
    assert "\x1b" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"trainer\.variant"):
        Trainer(variant=name)
    with pytest.raises(ConfigError, match="study: expected a name"):
        SearchFile.from_text(
            f"study: {name!r}\nobjectives: []\nspace: {{}}\nbudget: {{}}\n" if name.isprintable() else
            'study: "a\\0b"\nobjectives: []\nspace: {}\nbudget: {}\n'
        )  # fmt: skip


def test_names_that_stay() -> None:
    for name in ("mbpo-pendulum", "a/b", "v1.0", "größe", "nulls", "console", ".hidden", "with space"):
        check_name("trainer.name", name)
