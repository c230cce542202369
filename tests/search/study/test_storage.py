"""Storages: which URLs are taken, that passwords stay out, and that a torn journal is mended."""

from __future__ import annotations

import sqlite3
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages._rdb import models

from mbrl.errors import ConfigError, DataError
from mbrl.search.study.storage import check_url, load_study, open_storage, patiently, redacted


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///study.db", "sqlite:///study.db"),
        ("postgresql://ann@host:5432/search", "postgresql://ann@host:5432/search"),
        ("postgresql://ann:se:cret@host/search", "postgresql://ann@host/search"),
        ("postgresql+psycopg://ann:p@ss@host/search?password=x", "postgresql+psycopg://ann@host/search"),
        ("mysql://:secret@host/search", "mysql://@host/search"),
        ("ann:secret@host", "…@host"),
    ],
)
def test_what_may_be_secret_is_not_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:secret@host/search",
        "postgresql://ann:@host/search",
        "mysql://ann@host/search?password=secret",
        "postgresql://ann@host/search?passfile=secret",
        "postgresql://ann@host/search?sslpassword=secret",
    ],
)
def test_passwords_in_urls_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match=r"without a password.*PGPASSWORD.*pgpass") as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["study.db", "sqlite://", "journal://", "redis://host/0", "postgresql://ann:secret@host", ""]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"--storage: expected sqlite:///FILE, journal://FILE, postgresql://") as caught:
        check_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "module", "package"),
    [("mysql://ann@host/search", "pymysql", "pymysql"), ("postgresql://ann@host/search", "psycopg", r"psycopg\[binary\]")],
)
def test_a_driver_that_is_not_there_is_named(url: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        ConfigError, match=rf"--storage: expected .* for {url}, got: .*{module}.*; install {package} with pip\."
    ):
        open_storage(url)


@pytest.mark.parametrize("scheme", ["sqlite:///", "journal://"])
def test_files_are_made_where_the_url_says(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    optuna.create_study(study_name="one", storage=open_storage(f"{scheme}deep/a.store"))
    assert (tmp_path / "deep/a.store").is_file()
    assert load_study("one", f"{scheme}{tmp_path}/deep/a.store").study_name == "one"
    with pytest.raises(ConfigError, match=r"other: expected a study in .*a.store, which has one"):
        load_study("other", f"{scheme}deep/a.store")


@pytest.mark.parametrize("scheme", ["sqlite:///", "journal://"])
def test_a_wrong_path_makes_no_empty_storage(scheme: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"isn't there"):
        load_study("one", f"{scheme}{tmp_path}/no.db")
    assert not (tmp_path / "no.db").exists()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database" * 100)
    with pytest.raises(DataError, match=r"expected a storage at sqlite:///.*text.db, got: .*not a database"):
        open_storage(f"sqlite:///{tmp_path}/text.db")


def test_a_server_that_does_not_answer_is_named() -> None:
    with pytest.raises(DataError, match=r"expected a storage at postgresql://ann@127.0.0.1:1/search, got: .*PGPASSWORD"):
        open_storage("postgresql://ann@127.0.0.1:1/search")


def test_a_line_that_a_crash_tore_is_cut_off(tmp_path: Path) -> None:
    """Glued to the next one, it would end every later reading of the journal."""
    path = tmp_path / "study.log"
    study = optuna.create_study(study_name="one", storage=open_storage(f"journal://{path}"))
    study.set_user_attr("before", 1)
    with open(path, "ab") as file:
        file.write(b'{"op_code":2,"worker_id":"x","user_attr":{"torn":' + b"1" * 70000)
    study.set_user_attr("after", 2)
    fresh = load_study("one", f"journal://{path}")
    assert fresh.user_attrs == {"before": 1, "after": 2}
    assert path.read_bytes().endswith(b"\n") and b"torn" not in path.read_bytes()


def test_a_whole_journal_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    study = optuna.create_study(study_name="one", storage=open_storage(f"journal://{path}"))
    before = path.read_bytes()
    study.set_user_attr("after", 2)
    assert path.read_bytes().startswith(before) and path.read_bytes() != before


def test_a_lock_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def locked_twice() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise StorageInternalError("database is locked")
        return "done"

    assert patiently(locked_twice) == "done" and len(calls) == 3
    with pytest.raises(StorageInternalError):
        patiently(lambda: (_ for _ in ()).throw(StorageInternalError("locked")), patience_s=0.05)  # type: ignore[misc]


@pytest.mark.parametrize("scheme", ["sqlite:///", "journal://"])
def test_one_queued_trial_goes_to_one_worker(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that ask in the same instant: both look, and only then does either take."""
    url = f"{scheme}{tmp_path}/a.store"
    optuna.create_study(study_name="one", storage=open_storage(url)).enqueue_trial({"x": 1.0})
    studies = [load_study("one", url) for _ in range(2)]
    both = threading.Barrier(2)
    find = models.TrialModel.find_or_raise_by_id

    def find_and_wait(*arguments: Any, **options: Any) -> Any:
        found = find(*arguments, **options)
        with suppress(threading.BrokenBarrierError):
            both.wait(1.0)  # until the other has looked too, which it can't where looking takes the lock
        return found

    monkeypatch.setattr(models.TrialModel, "find_or_raise_by_id", find_and_wait)
    numbers: list[int] = []
    threads = [threading.Thread(target=lambda study=study: numbers.append(study.ask().number)) for study in studies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [0, 1]


@pytest.mark.parametrize("scheme", ["sqlite:///", "journal://"])
def test_threads_write_at_once(scheme: str, tmp_path: Path) -> None:
    """A worker and its lease write from two threads."""
    study = optuna.create_study(study_name="one", storage=open_storage(f"{scheme}{tmp_path}/a.store"))
    trial = study.ask()
    threads = [threading.Thread(target=lambda k=k: [trial.set_user_attr(f"{k}", n) for n in range(4)]) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert study.trials[0].user_attrs == {"0": 3, "1": 3}


@pytest.mark.parametrize("content", [b"\0" * 40, b"my notes, without a line end", b"[1, 2]"])
def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"expected Optuna's journal at .*, got another file"):
        open_storage(f"journal://{path}")
    assert path.read_bytes() == content


def test_notes_of_a_study_that_are_no_json_are_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(study_name="mine", storage=url).set_user_attr("search", {})
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("update study_user_attributes set value_json = '{'")
    with pytest.raises(DataError, match=r"mine: expected what a search notes of its study in .*, got no JSON"):
        load_study("mine", url)
