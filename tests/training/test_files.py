from __future__ import annotations

from pathlib import Path

import pytest

from mbrl.training import files
from mbrl.training.files import write_whole


def test_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError("disk")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="disk"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
