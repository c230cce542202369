"""`kill -9` loses nothing, and several workers share a file; many more kills are in `benchmarks/search/kills.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbrl.search.study.outcome import label_of
from mbrl.search.study.storage import load_study
from tests.search.kills import create, kill_at_random, problems, start


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("scheme", "look"), [("sqlite:///", True), ("journal://", False)])
def test_kill_9_loses_nothing(scheme: str, look: bool, tmp_path: Path) -> None:
    """With `look` a dead process is seen at once; without, only its lease tells, as it does between machines."""
    trials = kill_at_random(
        f"{scheme}{tmp_path}/study.store", kills=2, trials=8, seconds=0.05, grace_s=1.0, longest_s=0.4, seed=1, look=look
    )
    assert not problems(trials, 8)
    assert [label_of(trial) for trial in trials].count("lost") <= 2


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scheme", ["sqlite:///", "journal://"])
def test_workers_share_a_file(scheme: str, tmp_path: Path) -> None:
    url = f"{scheme}{tmp_path}/study.store"
    create(url)
    workers = [start(url, 10, 0.5, 60.0, look=True) for _ in range(2)]  # so long that a late one finds work
    for worker in workers:
        _, errors = worker.communicate(timeout=100)
        assert worker.returncode == 0 and b"rror" not in errors, errors.decode()
    trials = load_study("quadratic", url).trials
    assert not problems(trials, 10)
    assert {label_of(trial) for trial in trials} <= {"ok", "surplus"}
    assert len({trial.user_attrs["worker"]["pid"] for trial in trials}) == 2, "both worked"
