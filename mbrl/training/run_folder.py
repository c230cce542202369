"""The folder of one run: `runs/<name>/seed<k>`, the same for logs, checkpoints, configuration and figures."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mbrl.errors import ConfigError, MbrlWarning, RunFolderError
from mbrl.training.files import make_writable, write_whole
from mbrl.training.metrics_file import MetricsFile
from mbrl.training.run_lock import LOCK
from mbrl.training.yaml_text import write_mapping

METRICS = "metrics.jsonl"
SUMMARY = "summary.json"

_UNTIL = re.compile(r"config\.until-(\d{1,18})\.yaml")
_PIECE = re.compile(r"(?!\.+$)(?!(?i:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?$)[^\x00-\x1f\x7f-\x9f\\/:]{1,200}")


def check_name(option: str, name: str) -> None:
    """Refuses a run's name that would lead out of `runs`, or that some system can't write as a folder's.

    Args:
        option: that it was given to.
        name: of a folder, or several with a slash between them.

    Raises:
        ConfigError: for `..`, an absolute path, control characters, a device's name, or more than 200 letters.
    """
    if not all(_PIECE.fullmatch(piece) for piece in name.split("/")):
        raise ConfigError(
            f"{option}: expected a name of a folder below runs, got {name!r}; use letters, digits, dots and dashes."
        )


def refuse_links(folder: Path) -> None:
    """Refuses to train in a run folder with links, through which its files would be written or removed elsewhere.

    Raises:
        RunFolderError: naming the first.
    """
    for part in (folder, folder / "checkpoints"):
        for item in sorted(part.iterdir()) if part.is_dir() else ():
            if item.is_symlink():
                raise RunFolderError(
                    f"expected files and folders of its own in {folder}, but {item} is a link; copy what it points to there."
                )


def default_folder(name: str, seed: int) -> Path:
    """`runs/<name>/seed<k>`, below the current folder."""
    return Path("runs") / name / f"seed{seed}"


def folder_of_run(folder: Path | None, name: str | None, variant: str | None, model: Any, datamodule: Any) -> Path:
    """The folder of a run: as given, or by its name and its seed.

    Args:
        folder: as given.
        name: of the run; None for that of the model's class and the environment.
        variant: appended to the name.
        model: what is trained.
        datamodule: with the seed, and the environment's id where it has one.
    """
    if folder is not None:
        return folder
    env_id = getattr(datamodule, "env_id", None) or type(datamodule).__name__
    name = name or f"{type(model).__name__.lower()}-{str(env_id).replace('/', '-').replace(':', '-')}"
    return default_folder(f"{name}-{variant}" if variant else name, int(datamodule.seed))


def holds_run(folder: Path) -> bool:
    """Tells whether a run was started in `folder`."""
    return any((folder / name).exists() for name in ("config.yaml", METRICS)) or any(folder.glob("checkpoints/ckpt-*"))


def refuse_used(folder: Path) -> None:
    """Refuses a folder that holds a run.

    Raises:
        RunFolderError: naming both ways out.
    """
    if holds_run(folder):
        raise RunFolderError(
            f"expected an empty run folder, but {folder} holds a run; resume it with --ckpt_path last, or give another."
        )


def make_folder(folder: Path) -> None:
    """Makes `folder` for a run.

    Raises:
        RunFolderError: if it can't be written.
    """
    make_writable(folder, "trainer.folder")
    make_writable(folder / "checkpoints", "trainer.folder")


def take_back(made: Sequence[Path]) -> None:
    """Removes folders that were made for a run, if it has written nothing; the caller holds the run's.

    Args:
        made: the run's folder and those above it that weren't there; none for a folder that was.
    """
    there = list(made[0].rglob("*")) if made else []
    if any(path.name != LOCK and not path.is_dir() for path in there):
        return
    with suppress(OSError):  # another run may have begun beside it
        for path in sorted(there, reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        for path in made:
            path.rmdir()


def begin_files(
    folder: Path,
    metrics: MetricsFile,
    config: Mapping[str, Any],
    found: Path | None,
    position: int,
    changed: bool = False,
) -> None:
    """Writes what a run's folder holds from its start on: the configuration, and the metrics up to the checkpoint.

    Args:
        folder: of the run.
        metrics: its lines.
        config: the settings, as `mbrl fit --config` takes them.
        found: the checkpoint that the run goes on from; None begins anew, and what an attempt that reached no checkpoint
            has left goes to `earlier-<n>`.
        position: of that checkpoint, on the clock.
        changed: whether the settings are others than the checkpoint's (`--override`).
    """
    if found is None:
        _set_aside(folder)
        metrics.cut(-1)
    else:  # a run that goes on in another folder takes its lines along
        source, every = inside(found) / METRICS, config.get("trainer", {}).get("log_every", 1)
        if not source.exists() or (position >= every and not MetricsFile(source, metrics.clock).read()):
            warnings.warn(
                f"{source} is lost, so the curves begin at the checkpoint, {metrics.clock} {position}; put it back and "
                "resume again if you have it.",
                MbrlWarning,
                2,
            )
        if source.exists() and not is_same(inside(found), folder):
            write_whole(metrics.path, source.read_bytes())
        metrics.cut(position - 1 if metrics.clock == "epoch" else position)
        _go_on(inside(found), folder, config, position, changed)
    write_config(folder, config)
    try:
        (folder / SUMMARY).unlink(missing_ok=True)  # last: it says that the run has ended, which nothing above may cost
    except OSError as error:
        text = f"expected the file {folder / SUMMARY}, got {error.strerror}; move what lies there away."
        raise RunFolderError(text) from error


def _set_aside(folder: Path) -> None:
    """Moves the configuration and lines of an earlier attempt out of the way, so that each folder describes one run."""
    names = (METRICS, "metrics.csv", "curve.png", "tensorboard/hparams.yaml")
    kept = (path for kind in ("best", "return") for path in folder.glob(f"checkpoints/{kind}-*"))
    left = [path for path in (*(folder / name for name in names), *folder.glob("config*.yaml"), *kept) if path.exists()]
    if not left:
        return
    number = 1
    while (folder / f"earlier-{number}").exists():
        number += 1
    aside = folder / f"earlier-{number}"
    aside.mkdir()
    for path in left:
        path.rename(aside / path.name)


def is_same(folder: Path, other: Path) -> bool:
    """Tells whether two paths name one folder."""
    return folder.resolve() == other.resolve()


def settings_until(folder: Path) -> dict[int, Path]:
    """The files of settings that a run had before it went on with others, by the position on its clock, rising.

    Each holds from the position before it, the first from the start, and `config.yaml` from the last one on.
    """
    found = ((_UNTIL.fullmatch(path.name), path) for path in folder.glob("config.until-*.yaml"))
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def _go_on(source: Path, folder: Path, config: Mapping[str, Any], position: int, changed: bool) -> None:
    """Has `config.yaml` say what holds from a resume on, and `config.until-<position>.yaml` what held before it.

    Args:
        source: folder of the run that goes on, which may be another one.
        folder: where it goes on.
        config: the settings from now on.
        position: of the resume, on the clock.
        changed: whether they are others.
    """
    held, now = settings_until(source), folder / "config.yaml"
    before = next((path for end, path in held.items() if end >= position), source / "config.yaml")  # an attempt left none
    text = before.read_bytes() if before.is_file() else None
    if not is_same(source, folder):
        for end, path in held.items():
            if end < position and path.is_file():  # a pipe would be waited for
                write_whole(folder / path.name, path.read_bytes())
    if changed and text is not None:
        write_whole(folder / f"config.until-{position}.yaml", text)
    if not is_same(source, folder):
        return  # config.yaml is still to be written there
    if changed:
        write_whole(now, write_mapping(config).encode())
    elif before.name != now.name and text is not None:  # the attempt that changed them reached no checkpoint
        write_whole(now, text)
        before.unlink()


def write_config(folder: Path, config: Mapping[str, Any]) -> Path:
    """Writes `config.yaml` once; a resume writes `config.resume-<n>.yaml` beside it."""
    path = folder / "config.yaml"
    number = 0
    while path.exists():
        number += 1
        path = folder / f"config.resume-{number}.yaml"
    write_whole(path, write_mapping(config).encode())
    return path


def inside(path: str | os.PathLike[str]) -> Path:
    """The run folder that a path lies in: of `checkpoints/ckpt-…`, of its `model.pt`, of `best`, or the folder itself."""
    folder = Path(path)
    if folder.name in ("last", "best") and not folder.exists():
        return folder.parent
    if folder.name == "model.pt":
        folder = folder.parent
    return folder.parent.parent if folder.parent.name == "checkpoints" else folder
