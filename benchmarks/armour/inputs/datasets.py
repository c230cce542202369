"""Datasets: columns, types, sizes, notes and files, as .npz, HDF5 and Minari."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.armour.judging import MARKER, Input
from benchmarks.armour.materials import Materials

KIND = "dataset"
Columns = dict[str, Any]
NAN, HUGE = float("nan"), 10**15

# name → the column and what becomes of it; None takes it away
COLUMNS: dict[str, tuple[str, Callable[[np.ndarray], Any] | None]] = {
    **{f"no {name}": (name, None) for name in ("obs", "action", "terminated")},
    **{
        f"{name} as {kind}": (name, lambda column, kind=kind: column.astype(kind))
        for name in ("obs", "action", "reward", "terminated")
        for kind in ("complex64", "U9", "S9", "M8[s]", "V4")
    },
    "obs as objects": ("obs", lambda column: column.astype(object)),
    "obs as whole numbers": ("obs", lambda column: column.astype(int)),
    "obs as records": ("obs", lambda column: np.zeros(len(column), dtype=[("a", "f4")])),
    **{f"{name} is shorter": (name, lambda column: column[:-1]) for name in ("obs", "action", "reward", "next_obs")},
    **{f"{name} has no rows": (name, lambda column: column[:0]) for name in ("obs", "action", "terminated")},
    **{f"{name} is one number": (name, lambda column: np.float32(1)) for name in ("obs", "action", "reward", "terminated")},
    **{f"{name} has no columns": (name, lambda column: column.reshape(len(column), -1)[:, :0]) for name in ("obs",
    "action")},
    **{f"{name} is flat": (name, lambda column: column.reshape(-1)) for name in ("obs", "next_obs")},
    **{f"{name} has three dims": (name, lambda column: column[:, :, None]) for name in ("obs", "action", "next_obs")},
    "reward of two columns": ("reward", lambda column: np.stack([column, column], 1)),
    "next_obs of other size": ("next_obs", lambda column: column[:, :2]),
    **{
        f"{value} in {name}": (name, lambda column,
        value=value: np.where(np.arange(column.size).reshape(column.shape) == 7, value, column))
        for name in ("obs", "action", "reward", "next_obs")
        for value in (NAN, np.inf)
    },
    "float64 beyond float32 in obs": ("obs", lambda column: column.astype(float) * 1e300),
    "actions beyond their bounds": ("action", lambda column: column * 100),
    "terminated of twos": ("terminated", lambda column: column.astype(int) + 2),
    "terminated of halves": ("terminated", lambda column: column + 0.5),
    "terminated of NaN": ("terminated", lambda column: np.full(len(column), NAN)),
    "truncated of two columns": ("truncated", lambda column: np.stack([column, column], 1)),
    "truncated of threes": ("truncated", lambda column: column.astype(int) + 3),
}  # fmt: skip


def header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    """The bytes of an array's header."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": descr})
    return file.getvalue()


MEMBERS: dict[str, bytes] = {
    "a huge header": header((HUGE, 3)) + bytes(8),
    "a header of all numbers": header((2**62, 2**62)) + bytes(8),
    "a header of negative sizes": header((-5, 3)) + bytes(60),
    "a header that says less": header((3, 3)) + bytes(720),
    "a header of objects": header((60, 3), "|O") + bytes(8),
    "no header": bytes(720),
    "nothing": b"",
    "a pickle": b"\x80\x04K\x03.",
    "code for a header": b"\x93NUMPY\x01\x00\x36\x00" + b"__import__('os').system('touch marker')".ljust(53) + b"\n",
    "a version of the future": b"\x93NUMPY\x09\x00\x00\x00",
    "a long header": b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b"{",
}

FILES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda old: b"",
    **{f"the first {percent} %": lambda old, part=percent: old[: len(old) * part // 100] for percent in (1, 25, 50, 75, 99)},
    "all but a byte": lambda old: old[:-1],
    "a text": lambda old: b"obs,action\n1,2\n",
    "zeros": lambda old: bytes(len(old)),
    "twice": lambda old: old + old,
}
FLIPS = (0, 10, 40, 300, 900, 1500, -300, -30, -8, -1)

NOTES: dict[str, Any] = {
    "no JSON": "{",
    "a list": "[]",
    "null": "null",
    "a number": "3",
    "deep": "[" * 100_000,
    "an unknown environment": {"env_id": "No-v0"},
    "an environment of a number": {"env_id": 3},
    "a module's environment": {"env_id": "payload:No-v0"},
    "kwargs of a list": {"env_id": "Pendulum-v1", "env_kwargs": [1]},
    "kwargs that call": {"env_id": "Pendulum-v1", "env_kwargs": {"render_mode": {"callable": "os.system"}}},
    "a module among kwargs": {"env_id": "Pendulum-v1", "env_kwargs": {"env_id": "payload:No-v0"}},
    "bounds in words": {"action_low": "low", "action_high": "high"},
    "bounds of NaN": {"action_low": [NAN], "action_high": [NAN]},
    "bounds the wrong way round": {"action_low": [2.0], "action_high": [-2.0]},
    "bounds of another size": {"action_low": [-2.0, -2.0], "action_high": [2.0, 2.0]},
    "one bound": {"action_low": [-2.0]},
    "a repeat of nothing": {"env_id": "Pendulum-v1", "action_repeat": 0},
    "a repeat in words": {"env_id": "Pendulum-v1", "action_repeat": "often"},
    "a reward that is a function elsewhere": {"env_id": "Pendulum-v1", "known_reward": "os.system"},
    "unknown keys": {"odd": 1},
}  # fmt: skip

HDF5: dict[str, Callable[[h5py.File], Any]] = {
    "no columns": lambda file: file.clear(),
    "a group for a column": lambda file: (file.__delitem__("actions"), file.create_group("actions")),
    "a link to another file": lambda file: (
        file.__delitem__("actions"), file.__setitem__("actions", h5py.ExternalLink("mine.txt", "/a")),
    ),
    "a link to nothing": lambda file: (
        file.__delitem__("actions"), file.__setitem__("actions", h5py.SoftLink("/nowhere")),
    ),
    "a huge column": lambda file: (
        file.__delitem__("actions"), file.create_dataset("actions", (HUGE, 1), "f4", chunks=(64, 1)),
    ),
    "a compressed column": lambda file: file.create_dataset("odd", (60, 3), "f4", compression="gzip"),
    "a circle": lambda file: file.create_group("infos").__setitem__("again", file["/"]),
    "texts of any length": lambda file: (file.__delitem__("actions"), file.__setitem__("actions", ["a"] * 60)),
    "references": lambda file: (
        file.__delitem__("actions"), file.create_dataset("actions", (60,), dtype=h5py.ref_dtype),
    ),
    "an empty column": lambda file: (file.__delitem__("actions"), file.__setitem__("actions", h5py.Empty("f4"))),
    "both names of a column": lambda file: file.__setitem__("obs", file["observations"][()]),
    "Minari's inside": lambda file: file.create_group("episode_0"),
    "done without terminated": lambda file: (file.__setitem__("done", file["terminals"][()]), file.__delitem__("terminals")),
    "unlike lengths": lambda file: (file.__delitem__("rewards"), file.__setitem__("rewards", np.zeros(3))),
    "rows of any length": lambda file: (
        file.__delitem__("actions"), file.create_dataset("actions", (60,), dtype=h5py.vlen_dtype("f4")),
    ),
}  # fmt: skip
HDF5_MAY = ("a compressed column", "a circle")

METADATA: dict[str, tuple[str, Any]] = {
    **{f"{name} is {value!r}": (name, value) for name in ("total_episodes", "total_steps") for value in (-1, "x", None,
    HUGE)},
    **{
        f"{name} is {value!r}": (name, value)
        for name in ("observation_space", "action_space", "data_format", "dataset_id", "minari_version")
        for value in (None, 3, "{", "")
    },
    "an environment that calls": ("env_spec", json.dumps({"id": "payload:No-v0", "entry_point": "payload:Env"})),
    "an environment of words": ("env_spec", "Pendulum"),
    "an environment of a list": ("env_spec", [1]),
}  # fmt: skip


def inputs(whole: Materials) -> Iterator[Input]:
    """The inputs of this kind."""
    payload = f"open({MARKER!r}, 'w').close()\n"
    check = ["check", "Pendulum-v1", "--dataset", "rows.npz"]

    def column(name: str, change: Callable[[np.ndarray], Any] | None, here: Path) -> list[str]:
        columns = dict(whole.columns)
        old = columns.pop(name)
        if change is not None:
            columns[name] = change(old)
        np.savez(here / "rows.npz", **columns)
        return check

    def member(content: bytes, here: Path) -> list[str]:
        np.savez(here / "rows.npz", **{name: value for name, value in whole.columns.items() if name != "obs"})
        with zipfile.ZipFile(here / "rows.npz", "a") as archive:
            archive.writestr("obs.npy", content)
        return check

    def file(name: str, change: Callable[[bytes], bytes], here: Path) -> list[str]:
        path = getattr(whole, name)
        (here / f"rows.{name}").write_bytes(change(path.read_bytes()))
        return [*check[:-1], f"rows.{name}"]

    def flip(place: int, old: bytes) -> bytes:
        new = bytearray(old)
        new[place] ^= 0x55
        return bytes(new)

    def note(value: Any, here: Path) -> list[str]:
        (here / "payload.py").write_text(payload)
        text = value if isinstance(value, str) else json.dumps(value)
        key = next(name for name, column in whole.columns.items() if column.dtype.kind == "U")
        np.savez(here / "rows.npz", **{**whole.columns, key: np.array(text)})
        return ["check", "--dataset", "rows.npz"]

    def hdf5(change: Callable[[h5py.File], Any], here: Path) -> list[str]:
        shutil.copy(whole.hdf5, here / "rows.hdf5")
        with h5py.File(here / "rows.hdf5", "a") as opened:
            change(opened)
        return [*check[:-1], "rows.hdf5"]

    def metadata(name: str, value: Any, here: Path) -> list[str]:
        (here / "payload.py").write_text(payload)
        shutil.copytree(whole.minari, here / "rows")
        path = here / "rows" / "data" / "metadata.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
        return [*check[:-1], "rows"]

    def in_minari(name: str, content: bytes | None, here: Path) -> list[str]:
        shutil.copytree(whole.minari, here / "rows")
        path = here / "rows" / "data" / name
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        return [*check[:-1], "rows"]

    def special(make: Callable[[Path], Any], ending: str, here: Path) -> list[str]:
        make(here / f"rows{ending}")
        return [*check[:-1], f"rows{ending}"]

    for name, (which, change) in COLUMNS.items():
        yield Input(KIND, f"npz: {name}", partial(column, which, change), may=name == "truncated of two columns")
    for name, content in MEMBERS.items():
        yield Input(KIND, f"npz: {name}", partial(member, content))
    for kind in ("npz", "hdf5"):
        for name, change in FILES.items():
            yield Input(KIND, f"{kind} file: {name}", partial(file, kind, change), may=name == "twice")
        for place in FLIPS:
            yield Input(KIND, f"{kind} file: byte {place} flipped", partial(file, kind, partial(flip, place)), may=True)
    for name, value in NOTES.items():
        yield Input(KIND, f"note: {name}", partial(note, value), may=name == "unknown keys")
    for name, edit in HDF5.items():
        yield Input(KIND, f"hdf5: {name}", partial(hdf5, edit), may=name in HDF5_MAY)
    for name, (key, value) in METADATA.items():
        yield Input(KIND, f"minari: {name}", partial(metadata, key, value), may=True)
    for name in ("metadata.json", "main_data.hdf5"):
        for what, content in {"missing": None, "empty": b"", "a text": b"x", "UTF-16": "{}".encode("utf-16")}.items():
            yield Input(KIND, f"minari: {name} is {what}", partial(in_minari, name, content))
    for ending in (".npz", ".hdf5", "", ".csv"):
        for name, make in {
            "nothing": lambda path: None, "a folder": Path.mkdir, "a pipe": os.mkfifo,
            "a link to itself": lambda path: path.symlink_to(path.name),
            "a link to zeros": lambda path: path.symlink_to("/dev/zero"),
        }.items():  # fmt: skip
            yield Input(KIND, f"rows{ending} is {name}", partial(special, make, ending))
