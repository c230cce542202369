"""`held`: one process per run folder, by a lock on a file in it that the system takes back when its holder ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mbrl.errors import RunFolderError, shown
from mbrl.replacing import following_no_link

LOCK = ".fitting"  # stays in the folder of a run
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def locked(path: Path) -> BinaryIO:
    """Opens and locks a file, which is made if there is none; closing it, or the end of all who have it, frees the lock.

    File systems without locks give the file unlocked.

    Raises:
        BlockingIOError: if another holds it.
        OSError: if there is a link, or the file can't be written.
    """
    while True:
        file = open(path, "ab", opener=following_no_link)  # noqa: SIM115 - handed to the caller
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                file.close()
                raise
        if _is_at(path, file):
            return file
        file.close()  # its holder has taken the folder away meanwhile, and a third may hold another file of that name


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds a run folder while this process writes to it; whoever only reads asks nobody.

    Args:
        folder: that is there.

    Raises:
        RunFolderError: saying who holds it, or why it can't be written.
    """
    path = folder / LOCK
    try:
        file = locked(path)
    except BlockingIOError:
        raise RunFolderError(
            f"expected a run folder for this process alone, but {folder} is being written by {_holder(path)}; wait until "
            "that has ended, stop it, or give another folder."
        ) from None
    except OSError as error:
        raise RunFolderError(
            f"expected a folder that can be written, but {path} can't be ({error.strerror}); choose another with "
            "trainer.folder, or change its permissions."
        ) from error
    with file:
        about = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z")}
        with suppress(OSError):  # a full disk has no room for the note, and the lock holds without it
            file.truncate(0)
            os.write(file.fileno(), json.dumps(about).encode())
        yield


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    """Who says in the file that it holds the lock."""
    try:
        about = json.loads(path.read_bytes())
        return shown(f"process {about['pid']} on {about['host']} since {about['since']}")
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"
