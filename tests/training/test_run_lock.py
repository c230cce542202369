"""One process per run folder: the second is told who holds it, and a holder that is gone holds nothing."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mbrl.errors import RunFolderError
from mbrl.training.run_lock import LOCK, held, locked
from tests.training.toy import KillAt, ToyPlanner, data, in_child, lines, trainer


@contextmanager
def another(folder: Path) -> Iterator[int]:
    """A process that holds a folder."""
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with held(folder):
            os.write(tell, b"x")
            time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def test_the_second_fit_is_told_who_holds_the_folder_and_changes_nothing(tmp_path: Path) -> None:
    trainer(tmp_path).fit(ToyPlanner(), data(20))
    (tmp_path / "checkpoints/.ckpt-30.new.unfinished").mkdir()  # what the holder is writing
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with another(tmp_path) as pid:
        before[tmp_path / LOCK] = (tmp_path / LOCK).stat().st_mtime_ns
        told = rf"is being written by process {pid} on {re.escape(socket.gethostname())} since \d{{4}}-.*; wait until"
        for ckpt_path in (None, "last"):
            with pytest.raises(RunFolderError, match=told):
                trainer(tmp_path).fit(ToyPlanner(), data(40), ckpt_path=ckpt_path)
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
        assert trainer(tmp_path).test(ToyPlanner(), data(), ckpt_path="last")["test/episodes"] == 2, "readers may run"
    trainer(tmp_path).fit(ToyPlanner(), data(40), ckpt_path="last")  # the holder was killed
    assert [line["env_steps"] for line in lines(tmp_path)] == [10, 20, 30, 40]


def test_a_killed_run_leaves_its_folder_free(tmp_path: Path) -> None:
    assert in_child(lambda: trainer(tmp_path).fit(ToyPlanner(), data(40), ckpt_path=None)) == 0
    with held(tmp_path):
        pass
    killed = tmp_path / "killed"
    assert in_child(lambda: trainer(killed, callbacks=[KillAt(20)]).fit(ToyPlanner(), data(40))) == -signal.SIGKILL
    with held(killed):
        pass


def test_what_a_holder_has_left_half_written_says_nothing(tmp_path: Path) -> None:
    with locked(tmp_path / LOCK) as file:
        file.write(b'{"pid"')
        file.flush()
        with pytest.raises(RunFolderError, match="is being written by another process; wait"), held(tmp_path):
            pass


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a run that wrote nothing and took its folder back, between another's opening and locking."""
    lock, taken = fcntl.flock, []

    def late(file: Any, how: int) -> None:
        if not taken:
            (tmp_path / LOCK).unlink()
        taken.append(how)
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(tmp_path / LOCK) as file:
        assert len(taken) == 2 and os.fstat(file.fileno()).st_ino == (tmp_path / LOCK).stat().st_ino
        with pytest.raises(BlockingIOError):
            locked(tmp_path / LOCK)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / LOCK).symlink_to(tmp_path / "mine")
    with pytest.raises(RunFolderError, match=r"can't be \(Too many levels of symbolic links\)"), held(tmp_path):
        pass
    assert (tmp_path / "mine").read_text() == "mine"
