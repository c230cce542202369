"""A study on a PostgreSQL server: workers that are killed, passwords that show nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import optuna
import pytest
from optuna.storages import RDBStorage

from mbrl.errors import DataError
from mbrl.search.study.storage import load_study, open_storage
from tests.search.kills import kill_at_random, problems
from tests.search.postgres import PASSWORD, missing, server

pytestmark = pytest.mark.skipif(missing() != "", reason=missing())


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server() as where:
        yield where


class Closed(RDBStorage):
    """Optuna leaves a pool's connections to the end of the process; psycopg warns of each."""

    made: ClassVar[list[RDBStorage]] = []

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.made.append(self)


@pytest.fixture(autouse=True)
def _no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    monkeypatch.setattr("mbrl.search.study.storage.RDBStorage", Closed)
    yield
    while Closed.made:
        storage = Closed.made.pop()
        storage.scoped_session.remove()
        storage.engine.dispose()


def test_the_password_comes_from_the_environment_or_a_pgpass_file(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"--storage: expected a storage at postgresql://searcher@127.0.0.1.*PGPASSWORD"):
        open_storage(url)
    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(DataError, match="password authentication failed") as caught:
        open_storage(url)
    assert "wrong" not in str(caught.value)
    monkeypatch.delenv("PGPASSWORD")
    (tmp_path / "pgpass").write_text(f"127.0.0.1:*:*:*:{PASSWORD}\n")
    (tmp_path / "pgpass").chmod(0o600)
    optuna.create_study(study_name="by-file", storage=open_storage(url))
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert load_study("by-file", url).trials == []


@pytest.mark.timeout(600)
def test_kill_9_loses_nothing_and_the_password_is_stored_nowhere(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    trials = kill_at_random(url, kills=1, trials=7, seconds=0.05, grace_s=1.0, longest_s=0.4, seed=2, look=False)
    assert not problems(trials, 7)
    assert PASSWORD not in repr(trials) and PASSWORD not in repr(load_study("quadratic", url).user_attrs)
