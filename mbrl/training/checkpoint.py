"""Checkpoints that are whole or not there: `checkpoints/ckpt-<clock>/` with a manifest that is written last.

A folder holds `model.pt` (parameters, optimisers, generators, environment state), one `buffer-<name>.pt` for each replay
buffer, and `manifest.json` with the SHA-256 of every file. It gets its name when it is whole, and loses its manifest before
it is removed: a kill at any moment leaves the older one intact, and one without a manifest beside no other was damaged.
Everything is read with `weights_only=True`, so a checkpoint runs nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import re
import shutil
import time
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning_fabric.plugins import CheckpointIO

from mbrl.errors import CheckpointError, MbrlWarning, reading
from mbrl.replacing import remove
from mbrl.training.files import room_for, sync_folder, write_whole

MANIFEST = "manifest.json"
MODEL = "model.pt"
FORMAT = 1
BUFFERS_LEFT_OUT = "buffers_left_out"  # true in the manifest of a copy that was made to act with
_SPOILED = (ValueError, TypeError, LookupError, AttributeError)  # what torch raises of a file that was cut or changed
_BUFFER = "buffer-"  # what their files' names begin with
_WEIGHTS_ONLY = ("epoch", "global_step", "pytorch-lightning_version", "state_dict", "mbrl", "mbrl_run")


class _HashingFile:
    """A file that keeps the SHA-256 of what is written to it, and the error that stopped it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            written = self.file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.sha256.update(data)
        return written

    def flush(self) -> None:
        self.file.flush()


def write_checkpoint(folder: Path, checkpoint: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Writes `checkpoint` into `folder`, then reads it back.

    Args:
        folder: `checkpoints/ckpt-<clock>`; one that is there is replaced once this one is whole.
        checkpoint: Lightning's dict; `mbrl_buffers` (name → state) goes to files of its own.
        about: plain data for the manifest.

    Raises:
        CheckpointError: if the disk is full or can't be written; older checkpoints stay as they were.
    """
    began = time.perf_counter()
    beside, replaced = (folder.with_name(f".{folder.name}.{why}.unfinished") for why in ("new", "old"))
    rest = dict(checkpoint)
    contents: dict[str, Any] = {f"{_BUFFER}{name}.pt": state for name, state in rest.pop("mbrl_buffers", {}).items()}
    contents[MODEL] = rest
    try:
        for left in (beside, replaced):
            remove(left)
        beside.mkdir(parents=True)
        files = {name: _write_tensors(beside / name, value) for name, value in contents.items()}
        for name, entry in files.items():
            if _sha256(beside / name) != entry["sha256"]:
                raise OSError(errno.EIO, "the file reads back differently from what was written")
        read_tensors(beside / MODEL)  # what a planner adds must be plain, or nobody could load it
        manifest = {"format": FORMAT, **about, "files": files, "seconds": time.perf_counter() - began}
        write_whole(beside / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
        put_in_place(beside, folder, replaced)
    except CheckpointError:
        remove(beside)
        raise
    except OSError as error:
        remove(beside)
        raise CheckpointError(
            f"expected room for a checkpoint in {folder.parent}, but writing {folder.name} failed ({error.strerror}); free "
            "space and resume with --ckpt_path last: the checkpoint before this one is intact."
        ) from error


def put_in_place(beside: Path, folder: Path, replaced: Path) -> None:
    """Moves a whole checkpoint to its place; what was there goes out of the way first, and is then removed."""
    if folder.is_symlink() or folder.exists():
        folder.rename(replaced)
    beside.rename(folder)
    sync_folder(folder.parent)
    remove(replaced)


def link_checkpoint(folder: Path, place: Path) -> None:
    """Keeps a whole checkpoint at another place of its run too, whole or not at all; what was there goes.

    Files are linked, not copied, where the file system can do that, so they take room once while both are there.

    Raises:
        RunFolderError: if the disk is full or can't be written; what was there stays.
    """
    beside, replaced = (place.with_name(f".{place.name}.{why}.unfinished") for why in ("new", "old"))
    with room_for(f"the checkpoint {place}"):
        remove(beside)
        beside.mkdir()
        for path in folder.iterdir():
            try:
                os.link(path, beside / path.name)
            except OSError:
                shutil.copy2(path, beside / path.name)
        put_in_place(beside, place, replaced)


def _write_tensors(path: Path, value: Any) -> dict[str, Any]:
    with open(path, "wb") as file:
        hashing = _HashingFile(file)
        try:
            torch.save(value, hashing)  # type: ignore[arg-type]
        except RuntimeError as error:  # torch reports a failed write as its own error
            raise hashing.error or error from None
        file.flush()
        os.fsync(file.fileno())
    return {"sha256": hashing.sha256.hexdigest(), "bytes": path.stat().st_size}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class OtherFormatError(CheckpointError):
    """A whole checkpoint that another version of the library wrote."""


def read_manifest(folder: Path, *, buffers: bool = True) -> dict[str, Any]:
    """The manifest of a checkpoint whose files are all there and unchanged.

    Args:
        folder: of the checkpoint.
        buffers: whether to read the replay buffers' files too, which only a resume needs; otherwise they only have to be
            there.

    Raises:
        CheckpointError: if it is no checkpoint, or a file is missing or damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(
            f"expected a whole checkpoint in {folder}, but it has no {MANIFEST}; use another, or copy the whole folder."
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        files = {name: entry["sha256"] for name, entry in manifest["files"].items()}
        known = manifest["format"] == FORMAT and MODEL in files
        if not isinstance(manifest.get("position", 0), int):
            raise TypeError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CheckpointError(f"expected a manifest in {path}, but it can't be read; use another checkpoint.") from None
    if not known:
        raise OtherFormatError(
            f"expected format {FORMAT} in {folder}, got {manifest['format']!r}; load it with the version that wrote it."
        )
    for name, expected in files.items():
        if Path(name).name != name:
            raise CheckpointError(f"expected plain file names in {path}, got {name!r}; use another checkpoint.")
        is_read = buffers or not name.startswith(_BUFFER)
        if not (folder / name).is_file() or (is_read and _sha256(folder / name) != expected):
            raise CheckpointError(f"expected {folder / name} as it was written, but it is missing or damaged; use another.")
    if buffers and manifest.get(BUFFERS_LEFT_OUT):
        raise CheckpointError(
            f"expected {folder} with its replay buffers, but it is a copy without, made to act with; use the run's own."
        )
    return manifest


def read_tensors(path: Path) -> Any:
    """Reads a file of a checkpoint: tensors and plain data only, on the CPU.

    Raises:
        CheckpointError: if it holds anything else.
    """
    _check_archive(path)
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, *_SPOILED) as error:
        raise CheckpointError(
            f"expected tensors and plain data in {path}, but it holds something else ({_reason(error)}); use another file."
        ) from error


def _check_archive(path: Path) -> None:
    """Refuses an archive that torch would unpack into more than it is; what isn't one is left to torch's own words."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed = [member.filename for member in archive.infolist() if member.file_size > member.compress_size]
    except zipfile.BadZipFile:
        return
    if packed:
        raise CheckpointError(f"{path}: expected tensors as torch.save writes them, got {packed[0]} packed; use another.")


def _reason(error: BaseException) -> str:
    """Says what torch found, without its advice to load the file unsafely."""
    found = re.search(r"Unsupported (?:global|class|operand)[^.]*?: ?(?:GLOBAL )?(\S+)", str(error))
    return found.group(1) if found else type(error).__name__


def read_checkpoint(folder: Path, *, buffers: bool) -> dict[str, Any]:
    """Lightning's dict of a checkpoint, with its replay buffers if wanted.

    Raises:
        CheckpointError: if it is missing, damaged, or not written by this library.
    """
    manifest = read_manifest(folder, buffers=buffers)
    checkpoint = read_tensors(folder / MODEL)
    if not isinstance(checkpoint, dict) or "mbrl" not in checkpoint:
        raise CheckpointError(f"expected a planner's or model's checkpoint in {folder}, got another; give one of a run.")
    if buffers:
        names = [name for name in manifest["files"] if name.startswith(_BUFFER)]
        checkpoint["mbrl_buffers"] = {
            name.removeprefix(_BUFFER).removesuffix(".pt"): read_tensors(folder / name) for name in names
        }
    return checkpoint


def _is_one(path: Path) -> bool:
    """Whether a path has a checkpoint's name and is a folder of the run's own; isdigit knows other digits than 0 to 9."""
    return re.fullmatch(r"ckpt-[0-9]{1,18}", path.name) is not None and path.is_dir() and not path.is_symlink()


def checkpoint_folders(run: Path) -> list[Path]:
    """Lists all checkpoint folders of a run, the newest first, valid or not."""
    folders = [path for path in (run / "checkpoints").glob("ckpt-*") if _is_one(path)]
    return sorted(folders, key=lambda path: int(path.name[5:]), reverse=True)


def find_last(run: Path, *, remove: bool = False) -> Path | None:
    """The newest checkpoint of a run that is whole.

    Args:
        run: the run folder.
        remove: whether to check the replay buffers too and to remove the folders that are not whole, after naming them (a
            resume does).

    Returns:
        The folder, or None if the run has no whole checkpoint.

    Raises:
        CheckpointError: if another version wrote one, or the only ones are damaged: starting anew would lose the run.
            Nothing is removed then.
    """
    last: Path | None = None
    damaged: CheckpointError | None = None
    unfinished: list[tuple[Path, CheckpointError]] = []
    for folder in checkpoint_folders(run):
        try:
            read_manifest(folder, buffers=remove)
        except CheckpointError as error:
            if isinstance(error, OtherFormatError) and last is None:
                raise
            unfinished.append((folder, error))
            damaged = damaged or error  # it was whole once, or it wouldn't have its name
            continue
        last = last or folder
    if last is None and damaged is not None:
        raise damaged
    for folder, reason in unfinished:
        fate = "removed" if remove else "ignored"
        warnings.warn(f"{folder} is not a whole checkpoint and is {fate}: {reason}", MbrlWarning, 2)
        if remove:
            shutil.rmtree(folder)
    return last


class FolderCheckpointIO(CheckpointIO):
    """Writes and reads Lightning's checkpoints as folders with a manifest.

    Attributes:
        training: whether reading includes what only `fit` needs: buffers, environments, optimisers, callbacks, loops.
    """

    def __init__(self) -> None:
        self.training = True

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes the folder `path`."""
        run = checkpoint.get("mbrl_run", {})
        about = {
            name: run[name]
            for name in (
                "clock",
                "position",
                "class_path",
                "model",
                "data",
                "knows_rows",
                "trainer",
                "threads",
                "ended",
                "eval_return",
                "eval_episodes",
            )
            if name in run
        }
        write_checkpoint(Path(path), checkpoint, about)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads the folder `path`; tensors and plain data only, whatever `weights_only` says."""
        checkpoint = read_checkpoint(Path(path), buffers=self.training)
        if not self.training:
            return {name: value for name, value in checkpoint.items() if name in _WEIGHTS_ONLY}
        with reading(f"a run of a planner or a model in {path}"):
            if checkpoint["mbrl"]["kind"] == "planner":  # a finished run may be given more steps, and then goes on
                checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = False
            if checkpoint.get("mbrl_run", {}).get("data", {}).get("class_path") == "mbrl.envs.OnlineData":
                checkpoint["OnlineData"]["experience"]
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        """Removes the folder `path`: its manifest first, so that what is left of it is never taken for whole."""
        folder = Path(path)
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder)
