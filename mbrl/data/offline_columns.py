"""Datasets of columns: `.npz` files and HDF5 files in D4RL's layout [Fu2020].

Both hold one array per column and one row per step, in environment units. The columns, with other names that are read too:

    obs (observations), action (actions), reward (rewards), next_obs (next_observations),
    terminated (terminals, terminations), truncated (timeouts, truncations), episode,
    sim_state (a simulator's states, float64, where they were recorded)

NeoRL's files have `done` in the place of `terminated`, and in `index` the rows at which episodes begin; that `done` is the
end of the task has to be said (`read_offline(done="terminated")`).

An episode ends wherever `terminated` or `truncated` says so, the number in `episode` changes, or, with `next_obs`, a row
doesn't lead to the following row's observation (`mbrl.data.episodes`); episodes are numbered from 0. A gap without a flag
is a cut.

Without `next_obs`, a step led to the observation of the following row, and an episode's last step, of which nobody knows
where it led, is left out: the following row holds the next episode's reset. The step before it then ends the episode,
cut. That loses the steps on which a task ended, and their rewards; `OfflineDataset` counts them.

Fu2020: "D4RL: datasets for deep data-driven reinforcement learning" (the layout).
"""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mbrl.arguments import check_shape
from mbrl.data.episodes import episode_ends, episode_numbers
from mbrl.data.file_sizes import SPOILED, check_fits, check_hdf5
from mbrl.data.offline_dataset import Array, OfflineDataset
from mbrl.data.task_facts import TaskFacts
from mbrl.errors import DataError, MbrlError
from mbrl.replacing import replacing

_NAMES = {
    "obs": ("obs", "observations"),
    "action": ("action", "actions"),
    "reward": ("reward", "rewards"),
    "next_obs": ("next_obs", "next_observations"),
    "terminated": ("terminated", "terminals", "terminations"),
    "truncated": ("truncated", "timeouts", "truncations"),
    "episode": ("episode",),
    "sim_state": ("sim_state",),
}
_DONE = ("done", "dones")
_NOTE = "task"  # the column of `TaskFacts`


def read_npz(path: str | os.PathLike[str], *, done: str | None = None) -> OfflineDataset:
    """Reads a `.npz` of columns; arrays of Python objects are refused, since reading them runs code.

    Args:
        path: the file.
        done: as in `read_offline`.

    Raises:
        DataError: if it can't be read or used, naming the column and row.
    """
    source = Path(path).name
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise DataError(f"{source}: expected a .npz with named columns, got a single array; use numpy.savez.")
        with file:
            _check_members(source, file.zip)  # type: ignore[arg-type]
            note = str(file[_NOTE]) if _NOTE in file.files else None
            return _dataset(source, file.files, file.__getitem__, note, done)
    except DataError:
        raise
    except (*SPOILED, zipfile.BadZipFile, zlib.error) as error:
        # numpy takes whatever it doesn't know for a pickle
        known = isinstance(error, (OSError, zlib.error)) or zipfile.is_zipfile(path)
        found = str(error).rstrip(".") if known else "a file of another kind, or one that is cut off"
        raise DataError(f"{source}: expected a .npz file of number arrays, got {found}; write it anew.") from error


def _check_members(source: str, archive: zipfile.ZipFile) -> None:
    """Refuses arrays that say they are larger than what is there, before memory is taken for them."""
    total = 0
    for member in archive.infolist():
        total += member.file_size
        with archive.open(member) as file:
            try:
                version = np.lib.format.read_magic(file)
            except ValueError:  # no array, so that nothing is made of it
                continue
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            there = member.file_size - file.tell()
            if not dtype.hasobject and math.prod(shape) * dtype.itemsize != there:
                raise DataError(
                    f"{source}: expected numbers of the size that {member.filename} says, {shape} of {dtype}, got {there} "
                    "bytes; write it anew with numpy.savez."
                )
    check_fits(source, total)


def write_npz(path: str | os.PathLike[str], dataset: OfflineDataset) -> None:
    """Writes `dataset` so that `read_npz` gives it back, with what is known of its task."""
    columns: dict[str, Any] = {name: column for name in _NAMES if (column := getattr(dataset, name)) is not None}
    columns[_NOTE] = np.array(dataset.facts.to_json())
    write_arrays(path, columns)


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Array], *, compressed: bool = True) -> None:
    """Writes arrays as a `.npz`, whole or not at all.

    Args:
        path: the file.
        arrays: the arrays by name.
        compressed: whether to take time for a smaller file.

    Raises:
        DataError: if the disk is full or the file can't be written.
    """
    write = np.savez_compressed if compressed else np.savez
    try:
        with replacing(path) as file:
            write(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise DataError(
            f"{path}: expected room for the file, but writing failed ({error.strerror}); free space, or use another folder."
        ) from error


def read_hdf5(path: str | os.PathLike[str], *, done: str | None = None) -> OfflineDataset:
    """Reads an HDF5 file in D4RL's layout.

    It has `observations`, `actions`, `rewards`, `terminals`, `timeouts` and sometimes `next_observations`; other entries
    (`infos/…`, `metadata/…`) are left alone.

    Args:
        path: the file.
        done: as in `read_offline`.

    Raises:
        DataError: if it can't be read or used, naming the column and row.
    """
    source = Path(path).name
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{source}: expected an HDF5 file, got {error}; download or write it anew.") from error
    with file:
        if "episode_0" in file:
            raise DataError(f"{source}: expected columns, got the inside of a Minari dataset; give its folder or its id.")
        try:
            check_hdf5(source, file)
            columns = [name for name, item in file.items() if isinstance(item, h5py.Dataset)]
            return _dataset(source, columns, lambda name: file[name][()], None, done)
        except MbrlError:
            raise
        except SPOILED as error:
            raise DataError(f"{source}: expected an HDF5 file that is whole, got {error}; write it anew.") from error


def _dataset(
    source: str, names: Collection[str], read: Callable[[str], Any], note: str | None, done: str | None
) -> OfflineDataset:
    columns: dict[str, Array] = {}
    known = _NAMES if done is None else {**_NAMES, "terminated": (*_NAMES["terminated"], *_DONE)}
    if done is not None and not set(_DONE) & set(names):
        raise DataError(f"{source}: expected a column done beside done: {done}, got {sorted(names)}; leave done out.")
    for name, aliases in known.items():
        found = [alias for alias in aliases if alias in names]
        if len(found) > 1:
            raise DataError(f"{source}: expected one column for {name}, got {' and '.join(found)}; leave one out.")
        if found:
            columns[name] = np.asarray(read(found[0]))
    for name in ("obs", "action", "terminated"):
        if name not in columns:
            hint = ""
            if name == "terminated" and set(_DONE) & set(names):
                hint = ": done doesn't say whether the task ended or a time limit cut the episode"
                way = "add it, or say done: terminated if it is the first"
            else:
                way = "add it"
            raise DataError(f"{source}: expected a column {' or '.join(_NAMES[name])}, got {sorted(names)}{hint}; {way}.")
    n = len(columns["obs"]) if columns["obs"].ndim else 0
    if done is not None and "index" in names and "episode" not in columns:
        columns["episode"] = _numbered(source, np.asarray(read("index")), n)
    for name, column in columns.items():
        if column.dtype.kind not in "bifu":
            raise DataError(f"{source}: expected numbers in the column {name}, got {column.dtype}; convert it first.")
        check_shape(f"{source}: {name}", column, (n, *column.shape[1:]), "write the file anew, one row per step", DataError)
    for name in ("reward", "terminated", "truncated", "episode"):
        if name in columns and columns[name].shape == (n, 1):
            columns[name] = columns[name][:, 0]  # N
    terminated = _flags(source, "terminated", columns["terminated"])
    truncated = _flags(source, "truncated", columns["truncated"]) if "truncated" in columns else None
    next_obs, number = columns.get("next_obs"), columns.get("episode")
    if truncated is None and number is None and next_obs is None:
        raise DataError(
            f"{source}: expected truncated, episode or next_obs to tell where episodes end, got {sorted(columns)}; add one."
        )
    last = episode_ends(columns["obs"], next_obs, terminated, truncated, number)  # N
    gaps = last & ~terminated  # N, cut, whether the file has a flag for it or not
    gaps[-1:] &= truncated is not None and truncated[-1:]  # where the recording stopped, nobody cut the episode
    kept = np.ones(n, dtype=np.bool_)
    if next_obs is None:
        kept = ~last
        next_obs = columns["obs"][1:][kept[:-1]]
        gaps[:-1] |= last[1:]  # the step before one that is left out is where its episode is cut
    dataset = OfflineDataset(
        source=source,
        obs=columns["obs"][kept],
        action=columns["action"][kept],
        reward=columns["reward"][kept] if "reward" in columns else None,
        next_obs=next_obs,
        terminated=terminated[kept],
        truncated=gaps[kept],
        episode=episode_numbers(last)[kept],
        sim_state=columns["sim_state"][kept] if "sim_state" in columns else None,
        row=np.flatnonzero(kept),
        facts=TaskFacts() if note is None else TaskFacts.from_json(note, source),
        dropped=n - int(kept.sum()),
        dropped_ends=int(terminated[~kept].sum()),
        dropped_reward=float(np.nansum(columns["reward"][~kept])) if "reward" in columns else 0.0,
    )
    dataset.check()
    return dataset


def _numbered(source: str, starts: Array, n: int) -> Array:
    """Episode numbers, `N`, of NeoRL's column `index`: the rows at which episodes begin."""
    whole = starts.ndim == 1 and starts.dtype.kind in "iu" and len(starts) > 0
    if not whole or starts[0] != 0 or starts[-1] >= n or (np.diff(starts.astype(np.int64)) <= 0).any():
        raise DataError(
            f"{source}: expected index to be the rows at which episodes begin, rising from 0 and below {n}, got "
            f"{starts.dtype} of shape {starts.shape}; mend it, or leave it out."
        )
    begins = np.zeros(n, dtype=np.int64)
    begins[starts] = 1
    return np.cumsum(begins) - 1


def _flags(source: str, name: str, column: Array) -> Array:
    if column.ndim != 1 or not np.isin(column, (0, 1)).all():
        found = f"shape {column.shape}" if column.ndim != 1 else f"{column[~np.isin(column, (0, 1))][0]}"
        raise DataError(f"{source}: expected {name} to be a flag (true or false) per step, got {found}; write it anew.")
    return column.astype(np.bool_)
