"""`optuna-dashboard` opens the studies of `mbrl search`: what its server answers, without a browser."""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from mbrl.search.file.search_file import SearchFile
from mbrl.search.study.outcome import Outcome
from mbrl.search.study.storage import open_storage
from mbrl.search.study.study import open_study
from mbrl.search.work.worker import Worker
from tests.search.fake_problem import Quadratic, random_sampler

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its imports
    dashboard = pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed (extra: dashboard)")

SEARCH = {
    "study": "quadratic",
    "objectives": [{"metric": "eval/return", "direction": "maximize"}],
    "space": {
        "kind": {"choice": ["plain", "tilted"]},
        "x": {"float": [0, 1]},
        "y": {"int": [1, 20], "when": {"kind": ["tilted"]}},
    },
    "budget": {"trials": 5},
}


def get(application: Callable[..., Any], path: str) -> tuple[str, Any]:
    """Status and body of an answer."""
    said: list[str] = []
    environment = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
    }
    body = b"".join(application(environment, lambda status, headers, error=None: said.append(status)))
    return said[0], json.loads(body)


@pytest.mark.parametrize(
    ("url", "shown"), [("sqlite:///study.db", "sqlite:///study.db"), ("journal://study.log", "study.log")]
)
def test_the_dashboard_shows_a_search(url: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda file: None)  # on a busy disk it is most of a test
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = open_study(SearchFile.from_text(yaml.safe_dump(SEARCH), []), url)
    problem = Quadratic(after=lambda job: Outcome("diverged", detail="not finite") if job.number == 2 else None)
    assert Worker(study, problem, Path("runs"), trials=5, sampler=random_sampler).work() == 0

    application = dashboard.wsgi(shown)
    status, listed = get(application, "/api/studies")
    assert status == "200 OK"
    [entry] = listed["study_summaries"]
    assert entry["study_name"] == "quadratic" and entry["directions"] == ["maximize"]

    status, told = get(application, f"/api/studies/{entry['study_id']}")
    assert status == "200 OK" and len(told["trials"]) == 5
    assert [trial["state"] for trial in told["trials"]] == ["Fail" if number == 2 else "Complete" for number in range(5)]
    attributes = {one["key"]: one["value"] for one in told["trials"][2]["user_attrs"]}
    assert attributes["outcome"] == "diverged" and attributes["detail"] == "not finite" and attributes["seeds"] == "[0]"
    trials = open_storage(url).get_all_trials(study._study_id, states=(TrialState.COMPLETE,))
    assert [trial["values"] for trial in told["trials"] if trial["state"] == "Complete"] == [one.values for one in trials]
