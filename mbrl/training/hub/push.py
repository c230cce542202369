"""`push_to_hub` and `pack`: what acting with a run needs, and its card, uploaded or in a folder."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mbrl.arguments import check_argument
from mbrl.errors import RunFolderError, reading
from mbrl.training.checkpoint import BUFFERS_LEFT_OUT, MANIFEST, MODEL, read_checkpoint, read_manifest
from mbrl.training.hub.card import card, test_of
from mbrl.training.hub.client import Client, asking_hub, check_repo, client_or_hub
from mbrl.training.load import module_of
from mbrl.training.resume import checkpoint_at
from mbrl.training.run_folder import inside
from mbrl.training.yaml_text import read_mapping, write_mapping


def push_to_hub(
    run: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool = False,
    allow: Sequence[str] = (),
    client: Client | None = None,
) -> str:
    """Uploads a run to the Hugging Face hub, so that `from_hub` loads it anywhere; what was there is replaced.

    Uploaded are the checkpoint without its replay buffers, the settings without the folder's path, `test.json` if it is of
    this checkpoint, and a card with environment, steps, return and versions. The checkpoint is loaded once before, so that
    what nobody could load isn't uploaded. Needs the extra `hub`, and a login (`hf auth login`).

    Args:
        run: a run folder (its newest whole checkpoint), `RUN/best`, a checkpoint folder, or its `model.pt`.
        repo_id: the repository, `user/name`; made if there is none.
        private: whether one that is made can be seen by you alone.
        allow: modules of your own whose classes or functions the checkpoint names; the card says that they are needed.
        client: what speaks to the hub, in place of `huggingface_hub.HfApi()`.

    Returns:
        The repository's address.

    Raises:
        CheckpointError: if there is no checkpoint, or it is damaged.
        UntrustedNameError: if it names a module that isn't allowed.
        ConfigError: if `repo_id` is no repository's name, or huggingface_hub isn't installed.
        HubError: if the hub doesn't take it.

    Example:
        >>> mbrl.push_to_hub("runs/mbpo-pendulum/seed0/best", "user/mbpo-pendulum")  # doctest: +SKIP
    """
    check_argument("push_to_hub(run=…)", run, str | os.PathLike)
    check_argument("push_to_hub(allow=…)", allow, str | Sequence[str])
    check_repo(repo_id)
    client = client_or_hub(client)
    folder = checkpoint_at(run)
    modules = (allow,) if isinstance(allow, str) else tuple(allow)
    with tempfile.TemporaryDirectory() as stage:
        _lay_out(folder, Path(stage), repo_id, modules, on_hub=True)
        with asking_hub(repo_id):
            made = client.create_repo(repo_id, private=private, exist_ok=True)
            client.upload_folder(
                repo_id=repo_id,
                folder_path=stage,
                commit_message=f"Upload {folder.name}",
                delete_patterns=["checkpoints/*", "test.json"],
            )
    return str(made)


def pack(run: str | os.PathLike[str], folder: str | os.PathLike[str], *, allow: Sequence[str] = ()) -> Path:
    """Writes what `push_to_hub` uploads into a new folder, for a release's file or another machine.

    `load` and `load_policy` take the folder, `mbrl test` and `mbrl play` too.

    Args:
        run: as of `push_to_hub`.
        folder: a new one; its name stands in the card.
        allow: as of `push_to_hub`.

    Raises:
        CheckpointError, UntrustedNameError: as `push_to_hub`.
        RunFolderError: if the folder is there already, or can't be written.
    """
    check_argument("pack(run=…)", run, str | os.PathLike)
    check_argument("pack(folder=…)", folder, str | os.PathLike)
    check_argument("pack(allow=…)", allow, str | Sequence[str])
    found, place = checkpoint_at(run), Path(folder)
    if os.path.lexists(place):
        raise RunFolderError(f"expected a new folder to pack a run into, but {place} is there; give another.")
    with tempfile.TemporaryDirectory() as stage:
        laid = Path(stage) / "run"
        laid.mkdir()
        _lay_out(found, laid, place.name, (allow,) if isinstance(allow, str) else tuple(allow), on_hub=False)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(laid, place)
        except OSError as error:
            raise RunFolderError(
                f"expected to write {place}, but that failed ({error.strerror or error}); give another folder."
            ) from error
    return place


def _lay_out(folder: Path, stage: Path, name: str, allow: tuple[str, ...], *, on_hub: bool) -> None:
    """Lays out in `stage` what is shared of a checkpoint: a run folder with it alone."""
    manifest = read_manifest(folder, buffers=False)
    checkpoint = read_checkpoint(folder, buffers=False)
    module_of(checkpoint, folder, allow)
    test = test_of(inside(folder), manifest["files"][MODEL]["sha256"])
    with reading("a run's checkpoint"):
        place = stage / "checkpoints" / f"ckpt-{int(checkpoint['mbrl_run']['position'])}"
        place.mkdir(parents=True)
        shutil.copyfile(folder / MODEL, place / MODEL)
        left = {**manifest, "files": {MODEL: manifest["files"][MODEL]}, BUFFERS_LEFT_OUT: True}
        _write(place / MANIFEST, json.dumps(left, indent=1) + "\n")
        _write(stage / "README.md", card(name, checkpoint, test, allow, on_hub=on_hub))
    config = inside(folder) / "config.yaml"
    if config.is_file():
        _write(stage / "config.yaml", write_mapping(_without_folder(config)))
    if test is not None:
        _write(stage / "test.json", json.dumps(test, indent=1) + "\n")


def _without_folder(config: Path) -> dict[str, Any]:
    """A run's settings without the path on this machine that it lies at."""
    found = read_mapping(config.read_text(encoding="utf-8", errors="replace"), str(config))
    if isinstance(trainer := found.get("trainer"), dict):
        trainer.pop("folder", None)
    return found


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
