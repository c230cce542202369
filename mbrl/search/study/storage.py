"""Storages of studies: a SQLite file, a journal file, or a database server; passwords stay out of every URL."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from mbrl.errors import ConfigError, DataError, MbrlError

# what Optuna raises of a journal that is none, or of tables that another version made
_SPOILED = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)

_JOURNAL = "journal://"
_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
_PACKAGES = {"postgresql": "psycopg[binary]", "mysql": "pymysql"}
_KINDS = "sqlite:///FILE, journal://FILE, postgresql://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE"
_LOCK_WAIT_S = 120  # how long a writer of a SQLite file waits for another
_TAKE_OVER_S = 15  # a journal's lock whose file stood still for so long belonged to a process that was killed

Result = TypeVar("Result")


def open_storage(url: str) -> BaseStorage:
    """Opens the storage of studies.

    Args:
        url: `sqlite:///FILE` (one machine), `journal://FILE` (several machines on one shared file system), or
            `postgresql://USER@HOST/DATABASE` or `mysql://USER@HOST/DATABASE` (several machines). A file is made if it isn't
            there. A relative FILE starts in the current folder, an absolute one gives one slash more.

    Raises:
        ConfigError: for another kind of URL, one that holds a password, or a driver that isn't installed.
        DataError: if the storage can't be opened.
    """
    check_url(url)
    try:
        if url.startswith(_JOURNAL):
            return _journal(url)
        parsed = make_url(url)
        storage = RDBStorage(parsed.set(drivername=_driver(parsed)).render_as_string(), engine_kwargs=_engine(parsed))
        if parsed.get_backend_name() == "sqlite":
            # A transaction takes the lock before it reads: SQLite knows no SELECT FOR UPDATE, by which two workers are kept
            # from popping the same queued trial elsewhere.
            event.listen(storage.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        return storage
    except ImportError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        package = _PACKAGES.get(make_url(url).get_backend_name(), "the driver that it names")
        raise ConfigError(
            f"--storage: expected an installed driver for {redacted(url)}, got: {reason}; install {package} with pip."
        ) from error
    except MbrlError:
        raise
    except (StorageInternalError, DBAPIError, OSError, *_SPOILED) as error:
        cause = error.__cause__ or error
        reason = " ".join(str(getattr(cause, "orig", None) or cause).split())
        raise DataError(
            f"--storage: expected a storage at {redacted(url)}, got: {reason}; check the address, and where it needs a "
            "password set PGPASSWORD or MYSQL_PWD, or write a pgpass file."
        ) from None


def check_url(url: str) -> None:
    """Refuses a URL that names no storage, or that holds a password: it would show in process lists and logs.

    Raises:
        ConfigError: saying what to write.
    """
    if url.startswith(_JOURNAL) and len(url) > len(_JOURNAL):
        return
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    kind = "" if parsed is None else parsed.get_backend_name()
    if parsed is None or kind not in ("sqlite", *_DRIVERS) or not parsed.database:
        raise ConfigError(f"--storage: expected {_KINDS}, got {redacted(url)!r}.")
    if parsed.password is not None or any("pass" in name.lower() for name in parsed.query):
        raise ConfigError(
            f"--storage: expected a URL without a password, got {redacted(url)}; set PGPASSWORD, MYSQL_PWD or a pgpass file."
        )


def redacted(url: str) -> str:
    """Removes from a URL all that may be secret: a password, and everything after `?`."""
    head, scheme, rest = url.partition("://")
    if not scheme:
        return url if "@" not in url else "…@" + url.rpartition("@")[2]
    rest = rest.partition("?")[0]
    account, at, place = rest.rpartition("@")
    user = account.partition(":")[0]
    return f"{head}://{user}{at}{place}"


def patiently(operation: Callable[[], Result], *, patience_s: float = 60.0) -> Result:
    """Does something with a storage, again where a lock or a lost connection was in the way.

    Args:
        operation: a call that is safe to repeat.
        patience_s: seconds to go on trying; more rides out longer absences of a server.
    """
    until = time.monotonic() + patience_s
    wait = 0.1
    while True:
        try:
            return operation()
        except (StorageInternalError, OperationalError):
            if time.monotonic() + wait > until:
                raise
        time.sleep(wait)
        wait = min(2 * wait, 5.0)


class _TornLineLock(JournalFileSymlinkLock):
    """The lock that other tools take on the same file, under which a line that a crash left half-written is cut off.

    Without that the next line would be glued to it, and no one could read the journal from there on.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, grace_period=_TAKE_OVER_S)
        self._journal = path

    def acquire(self) -> bool:
        """Waits for the lock, then mends the file's end."""
        taken = super().acquire()
        with open(self._journal, "r+b") as file:
            size = end = file.seek(0, os.SEEK_END)
            while end > 0:  # back to the last line end
                start = max(0, end - 65536)
                file.seek(start)
                block = file.read(end - start)
                found = block.rfind(b"\n")
                if found >= 0:
                    end = start + found + 1
                    break
                end = start
            if end < size:
                file.truncate(end)
        return taken


def _journal(url: str) -> JournalStorage:
    """Opens a journal; a file of another kind is left as it is.

    Raises:
        DataError: if the file is none.
    """
    try:
        return JournalStorage(_journal_file(url))
    except _SPOILED as error:
        raise DataError(
            f"--storage: expected Optuna's journal at {url}, got another file ({type(error).__name__}: {error}); check the "
            "path."
        ) from error


def _journal_file(url: str) -> JournalFileBackend:
    # an absolute path: the lock is a symbolic link to it, and a relative one would lead nowhere from another folder
    path = Path(url.removeprefix(_JOURNAL)).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ValueError("it is no file")
    if path.exists() and _first_byte(path) not in (b"", b"{"):  # its lock would cut off what has no line end
        raise ValueError("a journal is lines of JSON")
    return JournalFileBackend(str(path), lock_obj=_TornLineLock(str(path)))


def _first_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1)


def _driver(url: URL) -> str:
    return url.drivername if "+" in url.drivername else _DRIVERS.get(url.drivername, url.drivername)


def _engine(url: URL) -> dict[str, Any]:
    kind = url.get_backend_name()
    if kind == "sqlite":
        Path(url.database or "").absolute().parent.mkdir(parents=True, exist_ok=True)
        # None: transactions are begun by the engine alone, never by the driver behind its back
        return {"connect_args": {"timeout": _LOCK_WAIT_S, "isolation_level": None}}
    if kind == "mysql":  # its driver reads no environment variable
        password = os.environ.get("MYSQL_PWD")
        return {"pool_pre_ping": True, "connect_args": {} if password is None else {"password": password}}
    return {"pool_pre_ping": True}  # libpq itself reads PGPASSWORD and pgpass


def is_missing(url: str) -> bool:
    """Tells whether a URL names a file that isn't there; opening it would make one."""
    for scheme in ("sqlite:///", _JOURNAL):
        if url.startswith(scheme):
            return not Path(url.removeprefix(scheme)).exists()
    return False


def load_study(name: str, url: str) -> optuna.Study:
    """Loads the study of a name.

    Raises:
        ConfigError: if there is no such study; as `open_storage` for its address.
        DataError: if the storage can't be opened, or what it notes of the study can't be read.
    """
    check_url(url)
    if is_missing(url):
        raise ConfigError(f"--storage: expected a file of studies, got {url}, which isn't there; check the path.")
    storage = open_storage(url)
    try:
        names = [study.study_name for study in storage.get_all_studies()]
    except json.JSONDecodeError as error:
        text = f"{name}: expected what a search notes of its study in {redacted(url)}, got no JSON ({error}); restore it."
        raise DataError(text) from error
    if name not in names:
        raise ConfigError(
            f"{name}: expected a study in {redacted(url)}, which has {', '.join(sorted(names)) or 'none'}; check --storage."
        )
    return optuna.load_study(study_name=name, storage=storage)
