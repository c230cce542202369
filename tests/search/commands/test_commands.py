"""`mbrl search run`, `join`, `status`, `retry` and `stop`, with a stand-in for `mbrl fit`; once with the real one."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from mbrl.cli import dispatch, main
from mbrl.errors import ConfigError, MbrlError, UntrustedNameError
from mbrl.search.commands.workers import show_run
from mbrl.search.file.search_file import SearchFile
from mbrl.search.study import study as studies
from mbrl.search.study.outcome import label_of
from mbrl.search.study.storage import load_study
from mbrl.search.study.study import pruner_of, sampler_of
from mbrl.search.study.warm_start import queue_from
from mbrl.training.processes.run_process import CHILD

FAKE = str(Path(__file__).parents[1] / "fake_run.py")
ROOT = Path(__file__).parents[3]
URL = "journal://study.log"
WRITTEN: dict[str, Any] = {
    "study": "fake",
    "config": ["base.yaml"],
    "fixed": {"model.mode": "ok"},
    "objectives": [{"metric": "eval/return", "direction": "maximize", "reduce": "mean_last_2"}],
    "space": {"model.x": {"float": [0, 10], "start": 2.0}},
    "budget": {"trials": 3},
    "sampler": {"name": "random"},
}


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mbrl.training.processes.run_process.CHILD", (FAKE,))
    monkeypatch.setattr("mbrl.search.work.command_runner.POLL_S", 0.02)
    monkeypatch.setattr("mbrl.options.search.STORAGE", URL)
    monkeypatch.setattr("mbrl.search.commands.run.leave_best", lambda *given: None)  # a model takes seconds to import
    monkeypatch.setattr(os, "fsync", lambda file: None)  # on a busy disk it is most of a test
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text("model: {x: 0}\n")


def parse(arguments: list[str]) -> Mapping[str, Any]:
    """In place of the real parser, which takes seconds to import."""
    if "refused" in " ".join(arguments):
        raise ConfigError("model.mode: expected another, got refused; correct it.")
    return {"model": {}, "data": {}}


def write(**changes: Any) -> str:
    Path("search.yaml").write_text(yaml.safe_dump({**WRITTEN, **changes}))
    return "search.yaml"


def mbrl(*arguments: str, allow: tuple[str, ...] = ()) -> int:
    return dispatch(["search", *arguments], allow, parse)


def trials(name: str = "fake", url: str = URL) -> list[optuna.trial.FrozenTrial]:
    return load_study(name, url).trials


def test_a_search_runs_and_the_same_command_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert mbrl("run", write(), "--trials", "2") == 0
    done = trials()
    assert [trial.state for trial in done] == [TrialState.COMPLETE] * 2
    assert done[0].params == {"model.x": 2.0} and done[0].value == 47.0, "the known good configuration first"
    assert done[0].user_attrs["run_dir"] == "runs/fake/0" and done[0].user_attrs["argv"][0] == "fit"
    assert Path("runs/fake/1/seed0/metrics.jsonl").is_file()
    errors = capsys.readouterr().err
    assert "trial 0  ok  eval/return 47  seed 0" in errors and "2/2 done" in errors and "[I" not in errors
    assert mbrl("run", "search.yaml") == 0 and len(trials()) == 3
    capsys.readouterr()
    assert mbrl("status", "fake") == 0 and "3 of 3" in capsys.readouterr().out
    assert mbrl("run", "search.yaml") == 0 and len(trials()) == 3


def test_on_a_terminal_what_a_trial_tried_has_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    show_run("trial 1", "ok", "", "2/6 done", then=("real_ratio 0.38", "", "best so far -1370 of trial 1"))
    show_run("run 1", "ok")
    assert capsys.readouterr().err == ("trial 1  ok  2/6 done\n  real_ratio 0.38  best so far -1370 of trial 1\nrun 1  ok\n")


def test_a_search_says_at_once_what_it_is_and_each_trial_what_it_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert mbrl("run", write(limits={"trial_minutes": 20}), "--trials", "2") == 0
    said = capsys.readouterr().err
    assert said.index(f"fake in {URL}: a new study\n  budget   2 trials, 1 at a time") < said.index("trial 0  ok")
    assert "  time     known once a trial has ended, and none takes longer than 20 min\n" in said
    first, second = (line for line in said.splitlines() if line.startswith("trial "))
    assert re.search(r"  1/2 done, 0:00:\d\d left  x 2  best so far 47 of trial 0$", first)
    value = trials()[1].value
    best = max((47.0, 0), (value, 1))
    chosen = f"x {trials()[1].params['model.x']:.4g}"
    assert second.endswith(f"2/2 done  {chosen}  best so far {best[0]:.5g} of trial {best[1]}")
    assert mbrl("run", "search.yaml", "--hours", "5") == 0
    said = capsys.readouterr().err
    assert "goes on after 2 ok" in said and "time     about 0:00:0" in said and "no trial begins after 5 h" in said


def test_of_several_workers_one_says_what_the_search_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MBRL_ONE_OF_SEVERAL", "1")
    assert mbrl("run", write(), "--trials", "1") == 0
    assert "a new study" not in capsys.readouterr().err


def test_a_search_that_was_interrupted_draws_what_one_in_one_go_draws() -> None:
    mbrl("run", write(), "--trials", "1")
    mbrl("run", "search.yaml")
    mbrl("run", write(study="whole"))
    assert [trial.params for trial in trials()] == [trial.params for trial in trials("whole")]


def test_a_dry_run_writes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write(budget={"trials": 3, "hours": 1.5})
    before = sorted(tmp_path.rglob("*"))
    assert mbrl("run", "search.yaml", "--dry-run", "--workers", "2") == 0
    text = capsys.readouterr().out
    assert f"fake in {URL}: a new study" in text and "3 trials, 1.5 h, 2 at a time" in text
    assert "  a trial  mbrl fit \\\n    --config base.yaml" in text
    assert sorted(tmp_path.rglob("*")) == before


def test_what_the_parser_refuses_begins_no_study() -> None:
    with pytest.raises(MbrlError, match="refused"):
        mbrl("run", write(fixed={"model.mode": "refused"}))
    assert not Path("study.log").exists()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"space": {"model.x": {"float": [0, 11], "start": 2.0}}}, "space"),
        ({"space": {"model.x": {"float": [0, 10], "start": 2.0}, "model.y": {"int": [1, 2], "start": 1}}}, "space"),
        ({"fixed": {"model.mode": "slow"}}, "fixed"),
        ({"objectives": [{"metric": "eval/return", "direction": "maximize"}]}, "objectives"),
        ({"seeds": {"tune": [0, 1]}}, "seeds"),
    ],
)
def test_a_changed_search_is_refused(changes: dict[str, Any], what: str) -> None:
    mbrl("run", write(), "--trials", "1")
    before = load_study("fake", URL).user_attrs
    with pytest.raises(ConfigError, match=rf"fake: expected the search of the study .* got other {what}; .*`study`"):
        mbrl("run", write(**changes))
    assert load_study("fake", URL).user_attrs == before


def test_a_changed_configuration_is_refused() -> None:
    mbrl("run", write(), "--trials", "1")
    Path("base.yaml").write_text("model: {x: 1}\n")
    with pytest.raises(ConfigError, match="got other configs"):
        mbrl("run", "search.yaml")


def test_budget_limits_and_sampler_may_change() -> None:
    mbrl("run", write(), "--trials", "1")
    assert mbrl("run", write(budget={"trials": 4}, limits={"retries": 5}, sampler={"name": "tpe", "startup": 2})) == 0
    assert len(trials()) == 4
    assert "tpe" in load_study("fake", URL).user_attrs["search"], "who joins gets it as it is now"


def test_a_study_that_was_being_made_is_made_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    search = SearchFile.from_text(yaml.safe_dump(WRITTEN), [("base.yaml", "model: {x: 0}\n")])

    def killed(self: optuna.Study, *arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "enqueue_trial", killed)
        with pytest.raises(KeyboardInterrupt):
            studies.open_study(search, URL)
    with pytest.raises(ConfigError, match=r"fake: expected a study that mbrl search run has made"):
        mbrl("join", "fake")
    assert mbrl("run", write(), "--trials", "1") == 0
    assert trials()[0].params == {"model.x": 2.0}


def test_what_a_study_holds() -> None:
    mbrl("run", write(), "--trials", "1")
    known = load_study("fake", URL).user_attrs
    assert known["search"] == Path("search.yaml").read_text() and known["configs"] == [["base.yaml", "model: {x: 0}\n"]]
    assert known["command"] == "fit" and known["seeds"]["test"] == list(range(100, 110)) and known["host"]
    assert set(known["versions"]) == {"mbrl", "git", "torch", "botorch", "gpytorch", "optuna"}
    assert known["versions"]["optuna"] == optuna.__version__


# a second machine ----------------------------------------------------------------------------------------------------


def test_joining_needs_nothing_but_url_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mbrl("run", write(), "--trials", "1", "--storage", f"journal://{tmp_path}/shared/study.log")
    empty = tmp_path / "elsewhere"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert mbrl("join", "fake", "--storage", f"journal://{tmp_path}/shared/study.log") == 0
    assert len(trials(url=f"journal://{tmp_path}/shared/study.log")) == 3
    arguments = json.loads(Path("runs/fake/2/seed0/seen.json").read_text())["arguments"]
    assert Path(arguments[arguments.index("--config") + 1]).read_text() == "model: {x: 0}\n"


@pytest.mark.parametrize(
    ("changes", "base"),
    [
        ({"space": {"model": {"choice": ["theirs.models.Odd", "mbrl.models.Ensemble"]}}}, "model: {x: 0}\n"),
        ({"fixed": {"model.hook": "theirs.hooks.Odd"}}, "model: {x: 0}\n"),
        ({}, "model: {class_path: theirs.models.Odd}\n"),
        ({}, "data: {init_args: {env_id: 'theirs:Odd-v0'}}\n"),
    ],
)
def test_foreign_names_are_refused_unless_allowed(changes: dict[str, Any], base: str) -> None:
    search = SearchFile.from_text(yaml.safe_dump({**WRITTEN, **changes}), [("base.yaml", base)])
    studies.open_study(search, URL)
    with pytest.raises(UntrustedNameError, match=r"--allow theirs"):
        mbrl("join", "fake")
    assert not any(trial.state.is_finished() for trial in trials()), "nothing ran"
    assert studies.join_study("fake", URL, ["theirs"])[1].study == "fake"


def test_a_study_whose_search_was_changed_in_the_storage_is_refused() -> None:
    mbrl("run", write(), "--trials", "1")
    study = load_study("fake", URL)
    study.set_user_attr("search", study.user_attrs["search"].replace("10", "20"))
    with pytest.raises(ConfigError, match=r"expected the search with hash [0-9a-f]{12}, got [0-9a-f]{12}"):
        mbrl("join", "fake")


def test_joining_with_another_version_warns(capsys: pytest.CaptureFixture[str]) -> None:
    mbrl("run", write(), "--trials", "1")
    study = load_study("fake", URL)
    study.set_user_attr("versions", {**study.user_attrs["versions"], "torch": "1.0"})
    assert mbrl("join", "fake") == 0
    assert "the study was started with other versions: torch 1.0 there and" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["run", "search.yaml"], ["join", "fake"], ["status", "fake"], ["retry", "fake", "0"], ["stop", "fake"]]
)
def test_passwords_are_refused_by_every_command(command: list[str]) -> None:
    write()
    with pytest.raises(ConfigError, match="without a password") as caught:
        mbrl(*command, "--storage", "postgresql://ann:secret@127.0.0.1:1/search")
    assert "secret" not in str(caught.value)


# looking and steering ------------------------------------------------------------------------------------------------


def test_status(capsys: pytest.CaptureFixture[str]) -> None:
    mbrl("run", write(budget={"trials": 5}), "--trials", "2")
    study = load_study("fake", URL)
    left = study.ask()
    left.set_user_attr("host", "here")
    left.set_user_attr("lease", {"count": 3, "at": "2026-01-01T00:00:00+00:00"})
    capsys.readouterr()
    assert mbrl("status", "fake") == 0
    text = capsys.readouterr().out
    assert "2 ok, 1 running" in text and "3 of 2" in text and "trial 2  here  last beat " in text
    assert "time left about" in text and "model.x = " in text and "best      trial 1: eval/return" in text


def test_stop_and_go(capsys: pytest.CaptureFixture[str]) -> None:
    mbrl("run", write(), "--trials", "1")
    assert mbrl("stop", "fake") == 0
    assert mbrl("join", "fake") == 0 and len(trials()) == 1
    assert mbrl("run", "search.yaml") == 0 and len(trials()) == 3


def test_errors_in_a_row_and_their_retry(capsys: pytest.CaptureFixture[str]) -> None:
    assert mbrl("run", write(fixed={"model.mode": "bug"})) == 3
    assert [label_of(trial) for trial in trials()] == ["error"] * 3
    assert "3 trials in a row ended by an error" in capsys.readouterr().err
    assert trials()[0].user_attrs["detail"] == "ZeroDivisionError: division by zero"
    assert mbrl("retry", "fake", "1", "1") == 0
    assert [label_of(trial) for trial in trials()] == ["error"] * 3 + ["waiting"]
    with pytest.raises(ConfigError, match="1: expected a trial that isn't queued"):
        mbrl("retry", "fake", "1")
    for wrong in ("3", "4", "-1"):
        with pytest.raises((ConfigError, SystemExit)):
            mbrl("retry", "fake", wrong)
    assert mbrl("run", "search.yaml") == 3
    again = trials()[3]
    assert again.params == trials()[1].params and again.user_attrs["run_dir"] == "runs/fake/1"


def test_a_retry_runs_whatever_the_budget() -> None:
    assert mbrl("run", write(fixed={"model.mode": "diverged"}, budget={"trials": 1})) == 0
    mbrl("retry", "fake", "0")
    assert mbrl("run", "search.yaml") == 0
    assert [label_of(trial) for trial in trials()] == ["diverged"] * 2


def test_beginning_with_what_an_earlier_study_found() -> None:
    mbrl("run", write(study="old", budget={"trials": 5}))
    ranked = sorted(trials("old"), key=lambda trial: -(trial.value or 0.0))
    narrow = {"model.x": {"float": [0, 10]}, "model.more": {"int": [1, 3]}}
    assert mbrl("run", write(space=narrow), "--from", "old:2") == 0
    assert [trial.params["model.x"] for trial in trials()[:2]] == [trial.params["model.x"] for trial in ranked[:2]]
    assert all("model.more" in trial.params for trial in trials()) and len(trials()) == 3
    assert mbrl("run", "search.yaml", "--from", "old:2") == 0 and len(trials()) == 3, "the same command goes on"
    with pytest.raises(ConfigError, match="--from: expected a search that has not begun"):
        mbrl("run", write(study="old", budget={"trials": 5}), "--from", "fake")
    for wrong, message in (("none", "none: expected a study"), ("old:0", "k above 0"), ("old:x", "k above 0")):
        with pytest.raises(ConfigError, match=message):
            mbrl("run", write(study="new"), "--from", wrong)
    with pytest.raises(ConfigError, match="got none that fit"):
        mbrl("run", write(study="far", space={"model.x": {"float": [20, 30]}}), "--from", "old")


def test_queuing_that_was_killed_goes_on_without_repeating() -> None:
    mbrl("run", write(study="old", budget={"trials": 3}))
    search = SearchFile.from_text(yaml.safe_dump(WRITTEN), [("base.yaml", "model: {x: 0}\n")])
    study = studies.open_study(search, URL)
    queue_from(study, search, "old:2", URL)
    whole = [trial.system_attrs["fixed_params"] for trial in study.trials]
    for left in (1, 2, 3):  # after so many entries, before the study said that all were there
        part = studies.open_study(dataclasses.replace(search, study=f"part{left}"), URL)
        for params in whole[1:left]:
            part.enqueue_trial(params, user_attrs={"warm": "old"})
        queue_from(part, search, "old:2", URL)
        assert [trial.system_attrs["fixed_params"] for trial in part.trials] == whole


# several processes ---------------------------------------------------------------------------------------------------

WORKER = """
import json, os, pathlib, signal, sys, time
device = sys.argv[sys.argv.index("--device") + 1]
pathlib.Path(f"worker-{device.replace(':', '')}.json").write_text(json.dumps(sys.argv[2:]))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
pathlib.Path(f"up-{os.getpid()}").touch()
if pathlib.Path("wait").exists():
    time.sleep(60)
sys.exit(3 if device == "cuda:1" else 0)
"""


def test_workers_are_processes_with_a_device_each(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("worker.py").write_text(WORKER)
    monkeypatch.setattr("mbrl.search.commands.workers.CHILD", ("worker.py",))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices = ["--workers", "2", "--device", "cuda:0,cuda:1", "--trials", "7"]
    assert mbrl("run", write(), *devices, allow=("mine",)) == 3, "the worst of their codes"
    seen = {path.stem: json.loads(path.read_text()) for path in Path().glob("worker-*.json")}
    options = ["--storage", URL, "--workers", "1", "--trials", "7", "--device"]
    expected = ["--allow", "mine", "search", "run", "search.yaml", *options]
    assert seen == {"worker-cuda0": [*expected, "cuda:0"], "worker-cuda1": [*expected, "cuda:1"]}
    assert mbrl("join", "fake", "--workers", "2", "--device", "cpu", allow=("mine",)) == 0
    assert json.loads(Path("worker-cpu.json").read_text())[2:4] == ["search", "join"]


def test_workers_are_told_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    mbrl("run", write(), "--trials", "1")
    Path("worker.py").write_text(WORKER)
    Path("wait").touch()
    monkeypatch.setattr("mbrl.search.commands.workers.CHILD", ("worker.py",))

    def tell() -> None:
        until = time.monotonic() + 60
        while len(list(Path().glob("up-*"))) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=tell)
    thread.start()
    assert mbrl("join", "fake", "--workers", "2", "--device", "cpu") == 143
    thread.join()


def test_an_interrupted_search_says_how_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write()
    with monkeypatch.context() as patch:
        patch.setattr("mbrl.search.work.worker.Worker._one", lambda self: setattr(self, "_signal", signal.SIGINT))
        assert mbrl("run", "search.yaml") == 130
    assert "interrupted" in (said := capsys.readouterr().err) and "the same command goes on" in said
    assert mbrl("run", "search.yaml", "--trials", "1") == 0
    assert "interrupted" not in capsys.readouterr().err


def test_a_worker_that_is_killed_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    mbrl("run", write(), "--trials", "1")
    Path("worker.py").write_text("import os; os.kill(os.getpid(), 9)")
    monkeypatch.setattr("mbrl.search.commands.workers.CHILD", ("worker.py",))
    assert mbrl("join", "fake", "--workers", "2") == 137
    assert "a worker was ended by SIGKILL" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "0"], "--workers: expected a whole number of at least 1, got 0"),
        (["--trials", "0"], "--trials: expected a whole number of at least 1, got 0"),
        (["--hours", "0"], "--hours: expected a finite number above 0"),
        (["--device", "tpu"], "--device: expected cpu or cuda"),
    ],
)
def test_options_are_checked_before_anything_is_written(options: list[str], message: str) -> None:
    write()
    with pytest.raises(ConfigError, match=message):
        mbrl("run", "search.yaml", *options)
    assert not Path("study.log").exists()


# samplers and pruners ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "made"), [("random", "RandomSampler"), ("tpe", "TPESampler"), ("gp", "GPSampler"), ("bo", "BOSampler")]
)
def test_samplers(name: str, made: str) -> None:
    search = SearchFile.from_text(yaml.safe_dump({**WRITTEN, "sampler": {"name": name}}), [("base.yaml", "")])
    assert type(sampler_of(search)(0)).__name__ == made


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("none", "NopPruner"),
        ("median", "MedianPruner"),
        ("percentile", "PercentilePruner"),
        ("halving", "SuccessiveHalvingPruner"),
    ],
)
def test_pruners(name: str, made: str) -> None:
    search = SearchFile.from_text(yaml.safe_dump({**WRITTEN, "pruner": {"name": name}}), [("base.yaml", "")])
    assert type(pruner_of(search)).__name__ == made


def test_draws_differ_by_order_and_seed_and_by_nothing_else() -> None:
    def draw(seed: int, order: int) -> float:
        search = SearchFile.from_text(
            yaml.safe_dump({**WRITTEN, "sampler": {"name": "random", "seed": seed}}), [("base.yaml", "")]
        )
        study = optuna.create_study(sampler=sampler_of(search)(order))
        return study.ask().suggest_float("x", 0, 1)

    assert draw(0, 0) == draw(0, 0) and len({draw(seed, order) for seed in (0, 1) for order in (0, 1)}) == 4


# the real command ----------------------------------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_one_trial_of_the_real_command(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "learner": {"init_args": {"hidden": [8, 8]}},
        "dynamics": {"init_args": {"members": 2, "elites": 2, "hidden": [8, 8], "max_epochs": 1}},
    }
    small = {"warmup_steps": 40, "refit_every": 40, "rollouts_per_step": 4, "epoch_steps": 50, "batch_size": 16, **settings}
    Path("small.yaml").write_text(
        yaml.safe_dump(
            {
                "model": {"init_args": small},
                "data": {"init_args": {"eval_episodes": 1}},
                "trainer": {"eval_every": 30, "log_every": 30, "tensorboard": False, "stop_at": None},
            }
        )
    )
    configs = [f"{ROOT}/configs/base/mbpo.yaml", f"{ROOT}/configs/mbpo/pendulum.yaml", "small.yaml"]
    space = {"model.init_args.updates_per_step": {"int": [1, 2], "start": 1}}
    fixed = {"data.init_args.steps": 60}
    write(study="real", config=configs, space=space, fixed=fixed, budget={"trials": 1})
    monkeypatch.setattr("mbrl.training.processes.run_process.CHILD", CHILD)
    assert main(["search", "run", "search.yaml", "--storage", "sqlite:///study.db"]) == 0
    [trial] = trials("real", "sqlite:///study.db")
    assert label_of(trial) == "ok" and trial.params == {"model.init_args.updates_per_step": 1}
    assert trial.user_attrs["env_steps"] == 60 and list(trial.intermediate_values) == [30, 60]
    folder = Path("runs/real/0/seed0")
    assert yaml.safe_load((folder / "config.yaml").read_text())["data"]["init_args"]["seed"] == 0
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    returns = [line["eval/return"] for line in lines if "eval/return" in line]
    assert trial.value == pytest.approx(sum(returns[-2:]) / 2)
