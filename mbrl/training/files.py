"""Files that are whole or absent: written beside, flushed to disk, then moved into place; and disks that can't hold them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mbrl.errors import RunFolderError
from mbrl.replacing import replacing


def write_whole(path: Path, data: bytes) -> None:
    """Writes `data` to `path`; at every moment the file holds all of the old or all of the new.

    Raises:
        RunFolderError: if a folder lies there.
    """
    if path.is_dir():
        raise RunFolderError(f"expected the file {path}, got a folder; move it away.")
    with replacing(path) as file:
        file.write(data)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_writable(folder: Path, option: str) -> None:
    """Makes `folder` and tries to write there; `option` is what names another one.

    Raises:
        RunFolderError: if that fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunFolderError(
            f"expected a folder that can be written, but {folder} can't be ({error.strerror}); choose another with "
            f"{option}, or change its permissions."
        ) from error


@contextmanager
def room_for(what: str) -> Iterator[None]:
    """Says what to do when a running run's disk is full or can't be written.

    Raises:
        RunFolderError: in place of the system's error.
    """
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            f"expected room for {what}, but writing failed ({error.strerror}); free space and resume with --ckpt_path last."
        ) from error
