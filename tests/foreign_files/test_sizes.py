"""Sizes that a file states are checked before memory is taken, and what lies in other files isn't read."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml

import mbrl
from mbrl.data import read_offline
from mbrl.envs import make_task
from mbrl.errors import CheckpointError, ConfigError, DataError, MbrlError
from mbrl.training.checkpoint import read_manifest, read_tensors, write_checkpoint
from mbrl.training.commands.config_text import _load
from mbrl.training.yaml_text import read_mapping, read_value
from tests.training.test_kill_and_resume import dyna

HUGE = 10**15


def columns(rows: int = 4) -> dict[str, np.ndarray[Any, Any]]:
    return {
        "obs": np.zeros((rows, 2), np.float32),
        "action": np.zeros((rows, 1), np.float32),
        "reward": np.zeros(rows),
        "next_obs": np.zeros((rows, 2), np.float32),
        "terminated": np.zeros(rows, bool),
    }


def header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": descr})
    return file.getvalue()


@pytest.mark.parametrize("shape", [(HUGE, 2), (HUGE,), (2**62, 2**62), (3, 2)])
def test_an_arrays_header_that_says_more_than_the_file_holds(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, **{name: column for name, column in columns().items() if name != "obs"})  # type: ignore[arg-type]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("obs.npy", header(shape) + b"\0" * 8)
    with pytest.raises(DataError, match=r"expected numbers of the size that obs\.npy says"):
        read_offline(path)


def test_data_that_no_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "rows.npz", **columns(10_000))  # type: ignore[arg-type]
    with h5py.File(tmp_path / "rows.hdf5", "w") as file:
        for name, column in columns(10_000).items():
            file[name] = column
    for name in ("rows.npz", "rows.hdf5"):
        assert len(read_offline(tmp_path / name).obs) == 10_000
    monkeypatch.setattr("mbrl.data.file_sizes.os.sysconf", lambda name: 100)
    for name in ("rows.npz", "rows.hdf5"):
        with pytest.raises(DataError, match=r"expected a dataset that fits into .* GiB of memory, got"):
            read_offline(tmp_path / name)


def hdf5(path: Path, **replaced: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, column in columns().items():
            if name not in replaced:
                file[name] = column
        for name, make in replaced.items():
            make(file, name)
    return path


def test_hdf5_data_that_was_never_written(tmp_path: Path) -> None:
    path = hdf5(
        tmp_path / "rows.hdf5", obs=lambda file, name: file.create_dataset(name, (HUGE, 2), np.float32, chunks=(1024, 2))
    )
    with pytest.raises(DataError, match=r"/obs: expected data of its shape .* got 0 bytes"):
        read_offline(path)


def test_hdf5_data_that_lies_elsewhere(tmp_path: Path) -> None:
    secret = hdf5(tmp_path / "secret.hdf5")
    (tmp_path / "secret.txt").write_bytes(b"x" * 32)
    layout = h5py.VirtualLayout((4, 2), np.float32)
    layout[:] = h5py.VirtualSource(str(secret), "obs", (4, 2))
    payloads: list[Any] = [
        lambda file, name: file.__setitem__(name, h5py.ExternalLink(str(secret), "/obs")),
        lambda file, name: file.__setitem__(name, h5py.SoftLink("/next_obs")),
        lambda file, name: file.create_virtual_dataset(name, layout),
        lambda file, name: file.create_dataset(name, (4, 2), np.float32, external=[(str(tmp_path / "secret.txt"), 0, 32)]),
    ]
    for number, payload in enumerate(payloads):
        with pytest.raises(DataError, match="/obs: expected data of this file, got"):
            read_offline(hdf5(tmp_path / f"rows{number}.hdf5", obs=payload))


def test_a_circle_of_hdf5_groups(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "rows.hdf5")
    with h5py.File(path, "a") as file:
        group = file.create_group("infos")
        group["again"] = group
    with pytest.raises(DataError, match="expected each group once"):
        read_offline(path)


def test_counts_in_a_minari_datasets_metadata(tmp_path: Path) -> None:
    data = tmp_path / "there" / "data"
    data.mkdir(parents=True)
    space = json.dumps({"type": "Box", "dtype": "float32", "shape": [1], "low": [-1.0], "high": [1.0]})
    with h5py.File(data / "main_data.hdf5", "w") as file:
        file.create_group("episode_0")
    for count in (HUGE, -1, "1", None, 2):
        facts = {"total_episodes": count, "total_steps": 1, "observation_space": space, "action_space": space}
        (data / "metadata.json").write_text(json.dumps({**facts, "data_format": "hdf5", "dataset_id": "a/b-v0"}))
        with pytest.raises(DataError, match="expected total_episodes of its metadata to be the 1 that are there at most"):
            read_offline(tmp_path / "there")


def test_a_packed_checkpoint(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(100_000)}, tmp_path / "model.pt")
    with zipfile.ZipFile(tmp_path / "model.pt") as plain, zipfile.ZipFile(tmp_path / "packed.pt", "w") as packed:
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member), zipfile.ZIP_DEFLATED)
    assert len(read_tensors(tmp_path / "model.pt")["a"]) == 100_000
    with pytest.raises(CheckpointError, match="packed; use another"):
        read_tensors(tmp_path / "packed.pt")


@pytest.mark.parametrize("hidden", [[10**9, 10**9], [2**62]])
def test_sizes_of_a_planner_that_no_memory_holds(hidden: list[int], tmp_path: Path) -> None:
    planner = dyna()
    planner.build(make_task("Pendulum-v1"), 0)
    checkpoint: dict[str, Any] = {"state_dict": planner.state_dict()}
    planner.on_save_checkpoint(checkpoint)
    checkpoint.pop("mbrl_buffers")
    checkpoint["mbrl"]["spec"]["init_args"]["dynamics"]["init_args"]["hidden"] = hidden
    write_checkpoint(tmp_path / "ckpt-0", checkpoint, {})
    with pytest.raises(MbrlError, match="expected"):
        mbrl.load(tmp_path / "ckpt-0")


def test_a_manifest_without_an_end(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[" * 200_000)
    with pytest.raises(CheckpointError, match="expected a manifest"):
        read_manifest(tmp_path)


BOMBS = {
    "aliases": "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{k}: &a{k} [{','.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 30)
    ),
    "merges": "a0: &a0 {k: v}\n" + "".join(
        f"a{k}: &a{k} {{<<: [{','.join([f'*a{k - 1}'] * 10)}]}}\n" for k in range(1, 30)
    ),
    "a circle": "a: &a [*a]\n",
    "a circle of mappings": "a: &a {b: *a}\n",
    "depth": "a: " + "[" * 20_000 + "]" * 20_000,
}  # fmt: skip


@pytest.mark.parametrize("what", BOMBS)
def test_yaml_whose_aliases_make_it_large_ends(what: str) -> None:
    with pytest.raises(ConfigError, match=r"^f\.yaml: expected YAML, got"):
        read_mapping(BOMBS[what], "f.yaml")
    assert read_value(BOMBS[what]) is None
    with pytest.raises(yaml.YAMLError):
        _load(BOMBS[what])


def test_aliases_as_people_write_them() -> None:
    assert read_mapping("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n", "f.yaml") == {
        "a": {"x": 1},
        "b": {"x": 1},
        "c": {"x": 1, "y": 2},
    }
    read_mapping("a: [" + "1, " * 50_000 + "1]", "f.yaml")
