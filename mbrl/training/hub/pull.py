"""`from_hub`: a run that was uploaded, loaded with the same care as a local one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mbrl.arguments import check_argument
from mbrl.errors import RunFolderError
from mbrl.models import DynamicsModel
from mbrl.planners import Planner
from mbrl.training.files import make_writable
from mbrl.training.hub.client import Client, asking_hub, check_repo, client_or_hub
from mbrl.training.load import load

# what a run on the hub has; whatever else lies in a repository stays there
_FILES = ["README.md", "config.yaml", "test.json", "checkpoints/ckpt-*/model.pt", "checkpoints/ckpt-*/manifest.json"]
_PULLED = ["README.md", "config.yaml", "test.json", "checkpoints"]
_OURS = ".mbrl_hub"  # in a folder that was pulled


def from_hub(
    repo_id: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    allow: Sequence[str] = (),
    client: Client | None = None,
) -> Planner | DynamicsModel:
    """Loads what `push_to_hub` uploaded: downloads it, then loads it as `load` does.

    Nothing in it runs: a checkpoint holds tensors and plain data, and the names in it resolve only in `mbrl` and in the
    modules that you allow, whatever its card says.

    Args:
        repo_id: the repository, `user/name`.
        folder: where the run goes, for `mbrl test` and `mbrl play`; by default the hub's own cache.
        revision: a branch, tag or commit; by default the newest.
        allow: modules of your own whose classes or functions the checkpoint names.
        client: what speaks to the hub, in place of `huggingface_hub.HfApi()`.

    Returns:
        The `Planner`, or the `DynamicsModel` where one was fitted alone.

    Raises:
        ConfigError: if `repo_id` is no repository's name, or huggingface_hub isn't installed.
        HubError: if the hub doesn't give it.
        RunFolderError: if `folder` holds something else.
        CheckpointError: if it holds no checkpoint, or a damaged one.
        UntrustedNameError: if it names a module that isn't allowed.

    Example:
        >>> policy = mbrl.from_hub("user/mbpo-pendulum")  # doctest: +SKIP
        >>> action = policy.predict(obs)  # environment units, as obs is; doctest: +SKIP
    """
    check_argument("from_hub(allow=…)", allow, str | Sequence[str])
    return load(pull(repo_id, folder=folder, revision=revision, client=client), allow)


def pull(
    repo_id: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    client: Client | None = None,
) -> Path:
    """Downloads a run, without loading it; returns its folder. Arguments and errors are those of `from_hub`."""
    check_argument("from_hub(folder=…)", folder, str | os.PathLike | None)
    check_argument("from_hub(revision=…)", revision, str | None)
    check_repo(repo_id)
    client = client_or_hub(client)

    def download(local_dir: str | None) -> Path:
        with asking_hub(repo_id):
            return Path(client.snapshot_download(repo_id, revision=revision, local_dir=local_dir, allow_patterns=_FILES))

    if folder is None:
        return download(None)
    place = Path(folder)
    _check_free(place, repo_id)
    make_writable(place.parent, "--folder")
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=place.parent) as stage:
        _renew(place, download(stage), repo_id)
    return place


def _renew(place: Path, stage: Path, repo_id: str) -> None:
    """Moves what was downloaded to its place; what an earlier pull left there goes, such as a checkpoint further on."""
    make_writable(place, "--folder")
    (place / _OURS).write_text(f"{repo_id}\n", encoding="utf-8")
    for name in _PULLED:
        if (there := place / name).is_dir() and not there.is_symlink():
            shutil.rmtree(there)
        else:
            there.unlink(missing_ok=True)
        if (stage / name).exists():
            shutil.move(stage / name, there)


def _check_free(place: Path, repo_id: str) -> None:
    """Refuses a folder in which a download would mix with something else."""
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    note = place / _OURS
    if note.is_file() and note.read_text(encoding="utf-8", errors="replace").strip() == repo_id:
        return
    raise RunFolderError(f"expected an empty folder for {repo_id}, but {place} holds something else; give another.")
