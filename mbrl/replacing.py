"""`replacing`: a file that is written beside its place and moved there whole, and follows no link on the way."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_UNFINISHED = ".*.unfinished"


@contextmanager
def replacing(path: str | os.PathLike[str], *, flushed: bool = True) -> Iterator[BinaryIO]:
    """Gives a file to write to, which takes the place of `path` at the end; an error or a kill leaves what was there.

    The file beside has a name that nobody can have prepared, and is made by this call or not at all. A link at `path` is
    replaced; what it points to stays as it is.

    Args:
        path: the file.
        flushed: whether to wait until the disk has it; False for what comes again soon.
    """
    place = Path(path)
    beside = place.with_name(f".{place.name[:100]}.{secrets.token_hex(8)}.unfinished")
    made = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)  # less the umask
    try:
        with open(made, "wb") as file:
            yield file
            file.flush()
            if flushed:
                os.fsync(file.fileno())
        os.replace(beside, place)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def remove_unfinished(folder: Path) -> None:
    """Removes what kills in mid-writing have left in a folder that nobody else writes to."""
    for left in folder.glob(_UNFINISHED):
        remove(left)


def remove(path: Path) -> None:
    """Removes a file, a link, or a folder with all in it; does nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def following_no_link(path: str, flags: int) -> int:
    """An `opener` for `open` that refuses a link at `path`, so that appending changes nothing elsewhere.

    Raises:
        OSError: if there is a link.
    """
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)
