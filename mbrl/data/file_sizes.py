"""Sizes that a file states, checked before memory is taken for them, and parts of it that lie in other files."""

from __future__ import annotations

import os
from typing import Any

import h5py

from mbrl.errors import DataError

_COMPRESSION = 5000  # bytes from one, at most, of the ways in which HDF5 compresses; deflate gives 1032
_SLACK = 1 << 26  # bytes that a file may state beyond that

# what libraries raise of a file in which bytes are wrong
SPOILED = (
    OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, NotImplementedError, AssertionError, EOFError,
)  # fmt: skip


def check_fits(source: str, size: int) -> None:
    """Refuses a dataset that can't fit into this machine's memory.

    Args:
        source: the file's name, for messages.
        size: bytes that its arrays take, uncompressed.

    Raises:
        DataError: saying both sizes.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        there, needed = (f"{number / 2**30:.1f} GiB" for number in (memory, size))
        raise DataError(f"{source}: expected a dataset that fits into {there} of memory, got {needed}; cut it into parts.")


def check_hdf5(source: str, group: h5py.Group) -> None:
    """Refuses a file whose datasets lie in other files, or say that they are far larger than what it holds.

    Args:
        source: the file's name, for messages.
        group: the file, or a group in it.

    Raises:
        DataError: naming the dataset.
    """
    check_fits(source, _checked(source, group, set()))


def _checked(source: str, group: h5py.Group, seen: set[Any]) -> int:
    """The bytes of all datasets in a group; one that several names mean counts each time, since each is read."""
    total = 0
    for name in group:
        link = group.get(name, getlink=True)
        where = f"{source}: {group.name.rstrip('/')}/{name}"
        if not isinstance(link, h5py.HardLink):
            raise DataError(f"{where}: expected data of this file, got {type(link).__name__}; write it anew, whole.")
        item = group[name]
        if isinstance(item, h5py.Group):
            if item.id in seen:  # a circle, or a group by another name
                raise DataError(f"{where}: expected each group once, got one again; write it anew.")
            seen.add(item.id)
            total += _checked(source, item, seen)
        elif isinstance(item, h5py.Dataset):
            if item.is_virtual or item.external:
                raise DataError(f"{where}: expected data of this file, got a view of others; write it anew, whole.")
            size, stored = item.nbytes, item.id.get_storage_size()
            if size > stored * _COMPRESSION + _SLACK:
                raise DataError(
                    f"{where}: expected data of its shape {item.shape} ({item.dtype}), got {stored} bytes; write it anew."
                )
            total += size
    return total
