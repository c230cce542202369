"""`mbrl search confirm`, with runs whose value is x + seed + 45; once by the runner of commands, with a stand-in process."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from mbrl.analysis.runs.run_scores import Estimate
from mbrl.cli import dispatch
from mbrl.errors import ConfigError, DataError, UnsupportedError
from mbrl.search.confirmation.confirmation import Confirmation, read_confirmation
from mbrl.search.confirmation.runs import Candidate, confirmation_study, find_confirmation, queue
from mbrl.search.file.search_file import SearchFile
from mbrl.search.study.lease import identity
from mbrl.search.study.outcome import Job, Outcome
from mbrl.search.study.storage import load_study
from mbrl.search.study.study import open_study, read_search
from mbrl.search.work.command_runner import CommandRunner

FAKE = str(Path(__file__).parents[1] / "fake_run.py")
URL = "journal://study.log"
WRITTEN: dict[str, Any] = {
    "study": "fake",
    "fixed": {"model.mode": "ok"},
    "objectives": [{"metric": "eval/return", "direction": "maximize", "reduce": "mean_last_2"}],
    "space": {"model.x": {"float": [0, 10], "start": 2}},
    "seeds": {"tune": [0], "select": [50, 51], "test": [100, 102, 103], "per_trial": 1},
    "budget": {"trials": 4},
}


class Instant:
    """Runs that take no time; with `model.mode` unlucky they diverge on odd seeds, with bug they end by an error."""

    mode: str | None = None

    def __init__(self, search: SearchFile, folder: Path, allow: Sequence[str] = ()) -> None:
        self.search = search

    def suggest(self, trial: optuna.Trial) -> Mapping[str, Any]:
        return self.search.space.suggest(trial)

    def run(self, job: Job) -> Outcome:
        [seed] = job.seeds
        mode = self.mode or self.search.fixed["model.mode"]
        if mode == "bug":
            return Outcome("error", detail="a bug")
        if mode == "unlucky" and seed % 2:
            return Outcome("diverged")
        value = job.params["model.x"] + seed + 45
        return Outcome("ok", values=(value,), seed_values=((value,),))


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mbrl.search.commands.workers.CommandRunner", Instant)
    monkeypatch.setattr("mbrl.options.search.STORAGE", URL)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    monkeypatch.setattr(os, "fsync", lambda file: None)  # on a busy disk it is most of a test
    monkeypatch.chdir(tmp_path)


def parse(arguments: list[str]) -> Mapping[str, Any]:
    return {"model": {}, "data": {}}


def mbrl(*arguments: str) -> int:
    return dispatch(["search", *arguments], (), parse)


def study(values: Mapping[float, float | None], **changes: Any) -> optuna.Study:
    """A search whose trials were told: x → value, None for one that diverged."""
    search = SearchFile.from_text(yaml.safe_dump({**WRITTEN, **changes}), [])
    made = open_study(search, URL)
    for x, value in values.items():
        if x != 2:
            made.enqueue_trial({"model.x": x})
        trial = made.ask()
        search.space.suggest(trial)
        trial.set_user_attr("seeds", [0])
        trial.set_user_attr("outcome", "diverged" if value is None else "ok")
        made.tell(trial, value, state=TrialState.FAIL if value is None else TrialState.COMPLETE)
    return made


def confirmation() -> optuna.Study:
    tried = load_study("fake", URL)
    found = find_confirmation(tried, tried._storage)
    assert found is not None
    return found


def read() -> Confirmation | None:
    tried = load_study("fake", URL)
    return read_confirmation(confirmation(), read_search(tried), tried)


def rows(stage: str) -> list[dict[str, str]]:
    with Path("runs/fake/confirmation.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["stage"] == stage]


# trial 0 is the start; the model has trial 2 best, then 1
TRIED = {2.0: 10.0, 4.0: 40.0, 6.0: 60.0, 8.0: 5.0}


def test_the_best_are_selected_and_one_is_tested_beside_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    study(TRIED)
    assert mbrl("confirm", "fake", "--top", "2") == 0
    # x + seed + 45: by the select seeds' mean 6 beats 4, and is tested beside 2
    assert [(row["label"], row["seed"], float(row["value"])) for row in rows("select")] == [
        ("trial 2", "50", 101.0), ("trial 2", "51", 102.0), ("trial 1", "50", 99.0), ("trial 1", "51", 100.0),
    ]  # fmt: skip
    assert [(row["label"], row["seed"], float(row["value"])) for row in rows("test")] == [
        ("trial 2", "100", 151.0), ("trial 2", "102", 153.0), ("trial 2", "103", 154.0),
        ("trial 0", "100", 147.0), ("trial 0", "102", 149.0), ("trial 0", "103", 150.0),
    ]  # fmt: skip
    found = read()
    assert found is not None and found.chosen.trial == 2 and found.chosen.params == {"model.x": 6.0}
    assert found.value.value == pytest.approx(458 / 3) and found.estimates["test", "trial 0"].value == pytest.approx(446 / 3)
    assert (found.value.low, found.value.high) == (151.0, 154.0), "of three runs it is their range"
    assert found.better is not None and found.better.value == 1.0
    assert found.gain == Estimate(4.0, 4.0, 4.0), "what the seed adds to both falls out"
    text = capsys.readouterr().out
    assert "trial 2 on 3 test seeds: interquartile mean 152.7 (95 % interval 151 to 154)." in text
    assert (
        "The start (trial 0) on the same seeds: 148.7" in text
        and "model.x = 6.0" in text
        and "Of 3 test seeds little can be said" in text
    )
    assert "On the same seed it gains 4 (95 % interval 4 to 4)." in text
    assert rows("test")[0]["folder"].startswith("runs/fake/confirmation/")
    assert len(load_study("fake", URL).trials) == 4, "the search's table is as it was"


def test_runs_are_those_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mbrl.search.commands.workers.CommandRunner", CommandRunner)
    monkeypatch.setattr("mbrl.training.processes.run_process.CHILD", (FAKE,))
    monkeypatch.setattr("mbrl.search.work.command_runner.POLL_S", 0.02)
    study({2.0: 10.0}, seeds={"tune": [0], "select": [50], "test": [100]})
    assert mbrl("confirm", "fake") == 0
    [row] = rows("test")
    folder = Path(row["folder"])
    assert folder == Path("runs/fake/confirmation/0/seed100") and (folder / "metrics.jsonl").is_file()
    assert row["value"] == "147.0" and "--seed_everything=100" in (folder / "seen.json").read_text()
    found = read()
    assert found is not None and found.value == Estimate(147.0, None, None), "one run has no interval"


def test_selection_may_overrule_the_model() -> None:
    study({2.0: 10.0, 4.0: 60.0, 9.0: 58.0})
    assert mbrl("confirm", "fake", "--top", "3") == 0
    found = read()
    assert found is not None and found.chosen.params == {"model.x": 9.0}, "the stand-in is better with more"
    assert {row["label"] for row in rows("select")} == {"trial 0", "trial 1", "trial 2"}


def test_less_is_better() -> None:
    study({2.0: 10.0, 4.0: 1.0, 9.0: 30.0}, objectives=[{"metric": "eval/return", "direction": "minimize"}])
    assert mbrl("confirm", "fake", "--top", "2") == 0
    found = read()
    assert found is not None and found.chosen.params == {"model.x": 2.0}, "the start itself"
    assert found.start is None and found.better is None and {row["label"] for row in rows("test")} == {"trial 0"}
    study({2.0: 10.0, 4.0: 1.0, 9.0: 30.0}, study="other", objectives=[{"metric": "eval/return", "direction": "minimize"}])
    assert mbrl("confirm", "other", "--top", "1") == 0
    other = load_study("other", URL)
    only = read_confirmation(confirmation_study(read_search(other), URL), read_search(other), other)
    assert only is not None and only.chosen.params == {"model.x": 4.0} and only.better is not None
    assert not any(run.stage == "select" for run in only.runs), "of one there is nothing to select"
    assert only.better.value == pytest.approx(1.5 / 9), "one pair of nine, and one tie"
    assert only.gain == Estimate(-2.0, -2.0, -2.0), "above 0 is better, whichever way the objective goes"


def test_failed_runs_count_as_the_worst_and_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    study(TRIED, fixed={"model.mode": "unlucky"})
    assert mbrl("confirm", "fake", "--top", "1") == 0
    found = read()
    assert found is not None and found.failed("test", "trial 2") == 1
    assert [(run.outcome, run.value, run.counted) for run in found.runs if run.seed == 103] == [("diverged", None, 5.0)] * 2
    assert found.value.value == pytest.approx((151 + 153 + 5) / 3), "the worst value of the search's trials is 5"
    assert found.better is not None and found.better.value == pytest.approx(6.5 / 9)
    text = capsys.readouterr().out
    assert "1 of which failed" in text and "2 of 6 runs failed; each counts as the worst value" in text


def test_the_choice_stays_whatever_the_test_seeds_and_later_trials_bring(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed run counts as the worst of all, which a test run or a further trial may lower."""
    mean = {6.0: 151.0, 4.0: 149.0}

    def run(self: Instant, job: Job) -> Outcome:
        [seed] = job.seeds
        if (job.params["model.x"], seed) == (6.0, 51):
            return Outcome("diverged")
        return Outcome("ok", values=(mean.get(job.params["model.x"], 1.0) if seed < 100 else 2.0,))

    monkeypatch.setattr(Instant, "run", run)
    tried = study({2.0: 148.0, 4.0: 149.0, 6.0: 151.0})
    assert mbrl("confirm", "fake", "--top", "2") == 0
    found = read()
    assert found is not None and found.chosen.params == {"model.x": 6.0}, "(151 + 148) / 2 is more than 149"
    tried.enqueue_trial({"model.x": 9.5})
    trial = tried.ask()
    read_search(tried).space.suggest(trial)
    tried.tell(trial, 0.0)
    again = read()
    assert again is not None and again.chosen == found.chosen


def test_the_same_command_goes_on_and_repeats_nothing() -> None:
    tried = study(TRIED)
    found = confirmation_study(read_search(tried), URL)
    queue(found, [Candidate(2, {"model.x": 6.0})], [50])
    assert mbrl("confirm", "fake", "--top", "2", "--queued") == 0
    assert len(confirmation().trials) == 1 and confirmation().trials[0].value == 101.0
    assert mbrl("confirm", "fake", "--top", "2") == 0
    first = [(trial.number, trial.datetime_complete) for trial in confirmation().trials]
    assert len(first) == 4 + 6
    assert mbrl("confirm", "fake") == 0
    assert [(trial.number, trial.datetime_complete) for trial in confirmation().trials] == first


def test_a_killed_run_goes_on_in_its_folder() -> None:
    tried = study(TRIED)
    found = confirmation_study(read_search(tried), URL)
    queue(found, [Candidate(2, {"model.x": 6.0})], [100])
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    asked = found.ask()  # a worker that died at its run
    read_search(tried).space.suggest(asked)
    asked.set_user_attr("run_dir", "runs/fake/confirmation/0")
    asked.set_user_attr("worker", {**identity(), "pid": dead.pid})
    assert mbrl("confirm", "fake", "--top", "1") == 0
    again = [trial for trial in confirmation().trials if trial.user_attrs.get("retry_of") == 0]
    assert len(again) == 1 and again[0].user_attrs["run_dir"] == "runs/fake/confirmation/0"
    assert len([trial for trial in confirmation().trials if trial.state == TrialState.COMPLETE]) == 6


def test_errors_are_no_results_and_run_again(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    study(TRIED)
    with monkeypatch.context() as patch:
        patch.setattr(Instant, "mode", "bug")
        assert mbrl("confirm", "fake", "--top", "1") == 3
    assert "3 runs ended without a result" in capsys.readouterr().err and read() is None
    assert mbrl("confirm", "fake") == 0 and read() is not None


def test_several_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    study(TRIED)
    here = Path("worker.py")
    here.write_text("import pathlib, sys\npathlib.Path('seen').write_text(' '.join(sys.argv[2:]))\n")
    monkeypatch.setattr("mbrl.search.commands.workers.CHILD", (str(here),))
    assert mbrl("confirm", "fake", "--workers", "2", "--device", "cpu") == 3, "these do nothing"
    assert Path("seen").read_text() == f"search confirm fake --queued --storage {URL} --workers 1 --device cpu"
    assert mbrl("confirm", "fake", "--queued") == 0, "what each of them does"
    assert mbrl("confirm", "fake") == 0 and read() is not None


def test_candidates_stay_until_they_are_taken_anew(capsys: pytest.CaptureFixture[str]) -> None:
    tried = study(TRIED)
    assert mbrl("confirm", "fake", "--top", "1") == 0
    with pytest.raises(ConfigError, match=r"--top: expected 1, with which .* got 2; .*--again"):
        mbrl("confirm", "fake", "--top", "2")
    tried.enqueue_trial({"model.x": 9.5})
    trial = tried.ask()
    read_search(tried).space.suggest(trial)
    tried.tell(trial, 200.0)
    assert mbrl("confirm", "fake") == 0
    assert "taken after 4 trials, and now there are 5" in capsys.readouterr().err
    assert mbrl("confirm", "fake", "--again", "--top", "1") == 0
    found = read()
    assert found is not None and found.chosen.params == {"model.x": 9.5}
    assert any("measured 2 configurations" in note for note in found.notes)


def test_what_can_not_be_confirmed() -> None:
    study({2.0: None})
    with pytest.raises(DataError, match="expected a trial that finished with a value"):
        mbrl("confirm", "fake")
    many = [{"metric": "eval/return", "direction": "maximize"}, {"metric": "time/wall_s", "direction": "minimize"}]
    open_study(SearchFile.from_text(yaml.safe_dump({**WRITTEN, "study": "two", "objectives": many}), []), URL)
    with pytest.raises(UnsupportedError, match="two: expected a search with one objective, got 2"):
        mbrl("confirm", "two")
    with pytest.raises(ConfigError, match="--top: expected a whole number of at least 1"):
        mbrl("confirm", "fake", "--top", "0")
    with pytest.raises(ConfigError, match="without a password"):
        mbrl("confirm", "fake", "--storage", "postgresql://ann:secret@127.0.0.1:1/search")


def test_a_trial_on_a_test_seed_is_refused() -> None:
    tried = study(TRIED)
    trial = tried.ask()
    read_search(tried).space.suggest(trial)
    trial.set_user_attr("seeds", [102])
    tried.tell(trial, 1.0)
    with pytest.raises(ConfigError, match=r"trial 4 on \[102\]"):
        mbrl("confirm", "fake")


def test_another_search_of_the_same_name_is_refused() -> None:
    tried = study(TRIED)
    confirmation_study(read_search(tried), URL).set_user_attr("hash", "another")
    with pytest.raises(ConfigError, match="got that of another search of this name"):
        mbrl("confirm", "fake")


def test_the_figure_and_the_summary() -> None:
    study(TRIED, fixed={"model.mode": "unlucky"})
    mbrl("confirm", "fake", "--top", "2")
    found = read()
    assert found is not None
    axes = found.plot().axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "select: trial 2", "select: trial 1", "test: trial 2, chosen", "test: trial 0, the start",
    ]  # fmt: skip
    assert "eval/return, more is better" in axes.get_xlabel()
    numbers = found.summary()["interquartile mean"]["test: trial 2"]
    assert numbers["runs"] == 3 and numbers["failed"] == 1 and numbers["value"] == found.value.value
    assert isinstance(found.better, Estimate) and len(found.in_short()) == 5
