"""One judgement of what a study found, whoever asks: its status, what begins with it, confirms it or reports it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from mbrl.errors import DataError
from mbrl.search.commands.status import status
from mbrl.search.confirmation.runs import new_round
from mbrl.search.file.search_file import SearchFile
from mbrl.search.study.best_configurations import best_configurations, valued
from mbrl.search.study.best_yaml import best_of
from mbrl.search.study.outcome import counts_of
from mbrl.search.study.study import open_study
from mbrl.search.study.warm_start import queue_from

URL = "journal://study.log"
WRITTEN: dict[str, Any] = {
    "study": "old",
    "objectives": [{"metric": "eval/return", "direction": "maximize"}],
    "space": {"model.x": {"float": [0, 10]}},
    "budget": {"trials": 20},
    "sampler": {"name": "random"},
}
TWO = [{"metric": "a", "direction": "maximize"}, {"metric": "b", "direction": "minimize"}]
LUCKY = 1.0
# best at 5; a lucky run among poor ones, which a list of means would put first
TRIED: dict[float, Any] = {x: -((x - 5) ** 2) for x in (0.8, 0.9, 1.1, 1.2, 3.0, 4.5, 5.0, 5.5, 7.0, 9.0)} | {LUCKY: 2.0}


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: None)  # on a busy disk it is most of a test
    monkeypatch.chdir(tmp_path)
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def study(tried: Mapping[float, Any], **changes: Any) -> tuple[optuna.Study, SearchFile]:
    search = SearchFile.from_text(yaml.safe_dump({**WRITTEN, **changes}), [])
    made = open_study(search, URL)
    for x, value in tried.items():
        made.enqueue_trial({"model.x": x})
        trial = made.ask()
        search.space.suggest(trial)
        trial.set_user_attr("seeds", [0])
        trial.set_user_attr("outcome", "diverged" if value is None else "ok")
        made.tell(trial, value, state=TrialState.FAIL if value is None else TrialState.COMPLETE)
    return made, search


def test_the_model_judges_whatever_chose_and_whoever_asks() -> None:
    made, search = study(TRIED)
    assert made.best_params["model.x"] == LUCKY
    found = [one.params["model.x"] for one in best_configurations(made, search)]
    assert set(found[:3]) == {4.5, 5.0, 5.5} and set(found) == set(TRIED) and found.index(LUCKY) > 4
    assert [one.params["model.x"] for one in best_configurations(made, search, 2)] == found[:2]
    [best] = best_of(made, search)
    lines = status(made, search, URL)
    assert best.params["model.x"] == found[0] and f"    model.x = {found[0]}" in lines
    assert f"  best      trial {best.trial}: {best.values[0]}" in lines and best.values[0] in best.comment
    assert [one.params["model.x"] for one in new_round(made, search, 3).candidates] == found[:3]
    new, theirs = study({}, study="new", sampler={"name": "bo"})
    queue_from(new, theirs, "old:3", URL)
    assert [trial.system_attrs["fixed_params"]["model.x"] for trial in new.trials] == found[:3]


def test_several_objectives_have_a_front_by_what_is_expected() -> None:
    front = {x: [x, 3 * x + 1] for x in (0.5, 2.0, 4.0, 6.0, 8.0, 9.5)}
    made, search = study(front, objectives=TWO)
    assert [one.params["model.x"] for one in best_configurations(made, search)] == sorted(front, reverse=True)
    for many, kept in ((1, [9.5]), (2, [9.5, 0.5]), (3, [9.5, 6.0, 0.5]), (7, sorted(front, reverse=True))):
        assert [one.params["model.x"] for one in best_configurations(made, search, many)] == kept
    lines = status(made, search, URL)
    shown = [line for line in lines if line.startswith("  front ")]
    assert len(shown) == 6 and not any("model.x" in line for line in lines)
    assert re.fullmatch(r"  front     trial 5: a 9\.5, expected 9\.\S+ ± \S+; b 29\.5, expected 29\S* ± \S+", shown[0])
    assert [best.comment[-1] for best in best_of(made, search)[:2]] == [
        f"Run it: mbrl fit --config best-{number}.yaml" for number in (5, 4)
    ]


def test_nothing_to_judge() -> None:
    made, search = study({1.0: None, 2.0: None})
    assert best_configurations(made, search) == [] == valued(made)
    assert counts_of(made.trials) == "2 diverged" and status(made, search, URL)[1:2] == ["  trials    2 diverged"]
    with pytest.raises(DataError, match="old: expected a trial that finished with a value, got 2 diverged; run some"):
        new_round(made, search, 3)


def test_a_single_value_is_shown_without_an_expectation() -> None:
    made, search = study({5.0: 1.5})
    assert status(made, search, URL)[3] == "  best      trial 0: eval/return (last, maximize): observed 1.5 (1 run, seed 0)."
