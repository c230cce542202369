from __future__ import annotations

import hashlib
import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest
import torch

from mbrl.errors import CheckpointError, MbrlWarning
from mbrl.training.checkpoint import (
    FolderCheckpointIO,
    checkpoint_folders,
    find_last,
    read_checkpoint,
    read_manifest,
    write_checkpoint,
)
from tests.training.toy import in_child


def state(number: float = 1.0, size: int = 4) -> dict[str, Any]:
    return {
        "mbrl": {"kind": "planner", "env_steps": 10},
        "state_dict": {"weight": torch.full((3,), number)},
        "mbrl_buffers": {"real": {"rows": torch.full((size, 2), number)}},
    }


def flip(path: Path) -> None:
    """Changes one bit of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoints" / "ckpt-10"
    write_checkpoint(folder, state(), {"position": 10})
    return folder


def test_model_buffers_and_manifest_are_files_of_their_own(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["buffer-real.pt", "manifest.json", "model.pt"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["position"] == 10
    for name in ("model.pt", "buffer-real.pt"):
        data = (folder / name).read_bytes()
        assert manifest["files"][name] == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    assert "mbrl_buffers" not in torch.load(folder / "model.pt", weights_only=True)


def test_reads_back_with_and_without_buffers(folder: Path) -> None:
    assert torch.equal(read_checkpoint(folder, buffers=True)["mbrl_buffers"]["real"]["rows"], torch.ones(4, 2))
    assert "mbrl_buffers" not in read_checkpoint(folder, buffers=False)


@pytest.mark.parametrize("name", ["model.pt", "buffer-real.pt"])
def test_a_flipped_byte_is_named(folder: Path, name: str) -> None:
    flip(folder / name)
    with pytest.raises(CheckpointError, match=rf"{name} as it was written, but it is missing or damaged"):
        read_checkpoint(folder, buffers=True)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "buffer-real.pt").unlink()
    with pytest.raises(CheckpointError, match=r"buffer-real\.pt as it was written, but it is missing"):
        read_manifest(folder)


def test_without_a_manifest_there_is_no_checkpoint(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"expected a whole checkpoint in .* has no manifest\.json"):
        read_manifest(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"files": 3, "format": 1}', '{"format": 1, "files": {"model.pt": 1}}'])
def test_a_garbled_manifest_is_named(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"expected a manifest in .*manifest\.json"):
        read_manifest(folder)


def test_another_format_is_named(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(CheckpointError, match=r"expected format 1 in .*, got 99; load it with the version"):
        read_manifest(folder)


def test_a_manifest_never_leads_out_of_its_folder(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../x.pt"] = {"sha256": "0"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"expected plain file names in .*'\.\./x\.pt'"):
        read_manifest(folder)


def test_a_checkpoint_of_something_else_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "ckpt-1"
    write_checkpoint(folder, {"state_dict": {}}, {})
    with pytest.raises(CheckpointError, match=r"expected a planner's or model's checkpoint .*got another"):
        read_checkpoint(folder, buffers=False)


class Evil:
    """Runs something when a careless reader unpickles it."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("evil",)


def test_a_checkpoint_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "ckpt-1"
    folder.mkdir()
    torch.save({"mbrl": Evil()}, folder / "model.pt")
    digest = hashlib.sha256((folder / "model.pt").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": {"model.pt": {"sha256": digest}}}))
    with pytest.raises(CheckpointError, match=r"expected tensors and plain data .*but it holds something else"):
        read_checkpoint(folder, buffers=False)
    assert not (tmp_path / "evil").exists()


def test_what_could_not_be_loaded_never_replaces_what_can(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(CheckpointError, match="expected tensors and plain data"):
        write_checkpoint(folder.with_name("ckpt-20"), {**state(), "extra": Evil}, {"position": 20})
    assert find_last(tmp_path) == folder
    assert list(folder.parent.iterdir()) == [folder], "nothing is left of it"


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path: Path, folder: Path) -> None:
    """A file-size limit stands for a full disk; the child says what it saw through its exit code."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            write_checkpoint(folder.with_name("ckpt-20"), state(size=100_000), {"position": 20})
        except CheckpointError as error:
            expected = (
                "expected room for a checkpoint in",
                "failed (File too large)",
                "the checkpoint before this one is intact",
            )
            raise SystemExit(7 if all(part in str(error) for part in expected) else 8) from None

    assert in_child(write) == 7
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert checkpoint_folders(tmp_path) == [folder]  # the half-written one is gone, and its space with it
    assert find_last(tmp_path) == folder


def test_last_is_the_newest_whole_one(tmp_path: Path, folder: Path) -> None:
    for number in (9, 100, 200):
        write_checkpoint(folder.with_name(f"ckpt-{number}"), state(), {"position": number})
    (folder.with_name("ckpt-200") / "manifest.json").unlink()
    (folder.with_name("ckpt-new")).mkdir()  # not ours
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["ckpt-200", "ckpt-100", "ckpt-10", "ckpt-9"]
    with pytest.warns(MbrlWarning, match="ckpt-200 is not a whole checkpoint and is ignored"):
        assert find_last(tmp_path) == folder.with_name("ckpt-100")
    with pytest.warns(MbrlWarning, match="ckpt-200 is not a whole checkpoint and is removed"):
        find_last(tmp_path, remove=True)
    assert not folder.with_name("ckpt-200").exists()
    assert folder.with_name("ckpt-new").exists()


def test_a_damaged_checkpoint_never_means_starting_anew(tmp_path: Path, folder: Path) -> None:
    flip(folder / "buffer-real.pt")
    assert find_last(tmp_path) == folder  # for what needs no buffers
    with pytest.raises(CheckpointError, match=r"buffer-real\.pt as it was written, but it is missing or damaged"):
        find_last(tmp_path, remove=True)
    older = folder.with_name("ckpt-9")
    write_checkpoint(older, state(), {"position": 9})
    with pytest.warns(MbrlWarning, match="ckpt-10 is not a whole checkpoint and is removed"):
        assert find_last(tmp_path, remove=True) == older


def test_a_checkpoint_of_another_version_is_not_removed(tmp_path: Path, folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(CheckpointError, match="load it with the version"):
        find_last(tmp_path, remove=True)
    assert (folder / "model.pt").exists()


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert find_last(tmp_path) is None


def test_writing_again_replaces_an_unfinished_attempt(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "buffer-old.pt").touch()
    write_checkpoint(folder, state(2.0), {})
    assert sorted(path.name for path in folder.iterdir()) == ["buffer-real.pt", "manifest.json", "model.pt"]


def test_lightnings_interface(tmp_path: Path) -> None:
    io = FolderCheckpointIO()
    path = tmp_path / "ckpt-5"
    loops = {"fit_loop": {"epoch_loop.batch_progress": {"is_last_batch": True}}}
    io.save_checkpoint({**state(), "loops": loops, "callbacks": {}, "mbrl_run": {"position": 5, "versions": {}}}, path)
    assert read_manifest(path)["position"] == 5
    whole = io.load_checkpoint(path, weights_only=False)
    assert "mbrl_buffers" in whole
    assert not whole["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]
    io.training = False
    assert set(io.load_checkpoint(path)) == {"mbrl", "mbrl_run", "state_dict"}
    io.remove_checkpoint(path)
    assert not path.exists()
