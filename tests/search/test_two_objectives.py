"""A search for return and wall-clock, from its file to its report, with a stand-in for `mbrl fit`."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from mbrl.cli import dispatch
from mbrl.search.file.search_file import SearchFile, read_search_file
from mbrl.search.sampler import pareto
from mbrl.search.study.best_yaml import best_of
from mbrl.search.study.storage import load_study
from mbrl.search.study.study import bo_sampler, open_study

URL = "journal://study.log"
# As a run on a small task: the overlay shortens it, and what is searched trades its return for time.
SEARCH = """
study: quick
config: [base.yaml, debug.yaml]
fixed: {model.mode: ok}
objectives:
  - {metric: eval/return, direction: maximize, reduce: mean_last_2}
  - {metric: time/wall_s, direction: minimize, log: true}
space:
  model.x: {float: [0, 10], start: 5.0}
  model.pace: {float: [0.01, 100], log: true, start: 1.0}
seeds: {tune: [0], select: [50], test: [100]}
budget: {trials: 7}
sampler: {name: bo, startup: 6}
"""


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mbrl.training.processes.run_process.CHILD", (str(Path(__file__).parent / "fake_run.py"),))
    monkeypatch.setattr("mbrl.search.work.command_runner.POLL_S", 0.02)
    monkeypatch.setattr("mbrl.options.search.STORAGE", URL)
    monkeypatch.setattr(os, "fsync", lambda file: None)  # on a busy disk it is most of a test
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text("model: {x: 0, pace: 1.0}\n")
    Path("debug.yaml").write_text("data: {init_args: {steps: 50}}\n")
    Path("search.yaml").write_text(SEARCH)
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def parse(arguments: list[str]) -> Mapping[str, Any]:
    """In place of the real parser, which takes seconds to import: all that was given was taken."""
    parsed: dict[str, Any] = {"model": {}, "data": {}}
    for option, value in zip(arguments, [*arguments[1:], ""], strict=True):
        text = Path(value).read_text() if option == "--config" else option.removeprefix("--config=")
        if option.startswith("--config"):
            for part, settings in yaml.safe_load(text).items():
                parsed[part] = {**parsed.get(part, {}), **settings} if isinstance(settings, dict) else settings
    return parsed


def mbrl(*arguments: str) -> int:
    return dispatch(["search", *arguments], (), parse)


def test_from_the_file_to_the_report(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mbrl.search.report.search_report.optuna_pictures", lambda *given: [])  # tested elsewhere
    assert mbrl("run", "search.yaml") == 0
    study = load_study("quick", URL)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 7
    for trial in study.trials:  # stored in own units, whatever the model sees
        assert trial.values == [pytest.approx(trial.params["model.x"] + 45), pytest.approx(5 * trial.params["model.pace"])]
    expected = study.trials[-1].user_attrs["acq"]["mean"]
    assert 0 < expected[1] < 5, "a model of seconds would be some tens off at this end of a range up to 500"
    capsys.readouterr()

    assert mbrl("status", "quick") == 0
    assert "; time/wall_s " in capsys.readouterr().out
    assert mbrl("report", "quick") == 0
    folder = Path("runs/quick/report")
    front = {trial.number for trial in study.best_trials}
    best = sorted(folder.glob("best-*.yaml"))
    assert best and {"trials.csv", "report.html"} <= set(os.listdir(folder))
    assert front & {int(path.stem.removeprefix("best-")) for path in best}
    assert "the model's median and a standard deviation either way" in best[0].read_text()
    with (folder / "trials.csv").open(newline="") as file:
        assert [float(row["value_1"]) for row in csv.DictReader(file)] == [trial.values[1] for trial in study.trials]


def test_medians_and_intervals_are_in_seconds() -> None:
    """Of times over four orders of magnitude none is expected, at any end of an interval, below 0."""
    search = read_search_file("search.yaml")
    sampler = bo_sampler(search)
    assert sampler.log_objectives == (1,) and not sampler.fidelity
    study = open_study(search, URL)
    assert study.ask().params == {}  # the start, which is under way
    for i in range(8):
        chosen = {"model.x": float(i), "model.pace": 10.0 ** (i / 2 - 2)}
        values = [45.0 + i, 5 * chosen["model.pace"]]
        distributions = search.space.distributions()
        study.add_trial(
            optuna.trial.create_trial(
                values=values, params=chosen, distributions=distributions, user_attrs={"outcome": "ok", "seeds": [0]}
            )
        )
    for entry in pareto(study, sampler):
        assert entry.mean[1] == pytest.approx(5 * entry.params["model.pace"], rel=0.5)  # type: ignore[index]
    for best in best_of(study, search):
        assert f"observed {5 * best.params['model.pace']:.5g} (1 run, seed 0), expected " in best.values[1]
        found = re.search(r"expected (\S+) \((\S+) to (\S+)\)", best.values[1])
        assert found is not None
        median, low, high = map(float, found.groups())
        assert 0 < low < median < high and median**2 == pytest.approx(low * high, rel=1e-3)


def test_fidelity_and_logarithms_of_one_objective_reach_the_sampler() -> None:
    written = yaml.safe_load(SEARCH)
    written |= {"objectives": [{**written["objectives"][1]}], "sampler": {"name": "bo", "fidelity": True}}
    sampler = bo_sampler(SearchFile.from_text(yaml.safe_dump(written), [("base.yaml", ""), ("debug.yaml", "")]))
    assert sampler.log_objectives == (0,) and sampler.fidelity
