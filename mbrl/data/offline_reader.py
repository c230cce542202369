"""`read_offline`: a dataset from whatever it is kept in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from mbrl.arguments import check_argument
from mbrl.data.offline_columns import read_hdf5, read_npz
from mbrl.data.offline_dataset import OfflineDataset
from mbrl.data.offline_minari import read_minari
from mbrl.errors import DataError


def read_offline(path: str | os.PathLike[str], *, done: Literal["terminated"] | None = None) -> OfflineDataset:
    """Reads a `.npz`, an HDF5 file in D4RL's layout, or a Minari dataset by folder or id.

    Args:
        path: where it is.
        done: `terminated` takes a column `done` for the end of the task (NeoRL's layout); None never does.

    Raises:
        ConfigError: if `path` is none.
        DataError: if there is nothing to read, or what is there can't be used.
    """
    check_argument("read_offline(path=…)", path, str)
    check_argument("read_offline(done=…)", done, Literal["terminated"] | None)
    suffix = Path(path).suffix.lower()
    if suffix not in (".npz", ".hdf5", ".h5"):
        if Path(path).is_file():
            raise DataError(
                f"{os.fspath(path)}: expected a .npz, an HDF5 file (.hdf5, .h5) or a Minari dataset's folder or id, got a "
                f"{suffix or 'nameless'} file; read it with the library that fits and write its columns with numpy.savez."
            )
        if done is not None:
            raise DataError(
                f"{os.fspath(path)}: expected a file with a column done beside done: terminated, got a Minari dataset, "
                "which says both ends itself; leave done out."
            )
        return read_minari(path)
    if not Path(path).is_file():
        raise DataError(f"{os.fspath(path)}: expected a dataset file, got a path where there is none; check the spelling.")
    return read_npz(path, done=done) if suffix == ".npz" else read_hdf5(path, done=done)
