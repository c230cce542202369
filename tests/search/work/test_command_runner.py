"""Runs as processes: how each end is understood, limits, pruning, devices, secrets, folders; none outlives its worker."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbrl.errors import ConfigError
from mbrl.search.file.search_file import SearchFile
from mbrl.search.study.outcome import Job, Outcome
from mbrl.search.work.command_runner import CommandRunner
from mbrl.search.work.reduce import reduced
from mbrl.training.processes.run_process import environment, free_folder

FAKE = str(Path(__file__).parents[1] / "fake_run.py")
WRITTEN: dict[str, Any] = {
    "study": "fake",
    "config": ["base.yaml"],
    "objectives": [{"metric": "eval/return", "direction": "maximize", "reduce": "mean_last_2"}],
    "space": {
        "model.mode": {
            "choice": [
                "ok",
                "slow",
                "hang",
                "stubborn",
                "null",
                "no metric",
                "diverged",
                "gpu",
                "host",
                "bug",
                "refused",
                "killed",
            ]
        },
        "model.x": {"float": [0, 10]},
    },
    "budget": {"trials": 3},
}


@pytest.fixture(autouse=True)
def _fake_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mbrl.training.processes.run_process.CHILD", (FAKE,))
    monkeypatch.chdir(tmp_path)


def search(**changes: Any) -> SearchFile:
    return SearchFile.from_text(yaml.safe_dump({**WRITTEN, **changes}), [("base.yaml", "model: {x: 0}\n")])


def run(
    mode: str,
    *,
    seeds: tuple[int, ...] = (3,),
    job: dict[str, Any] | None = None,
    clock: Callable[[], float] = time.monotonic,
    x: float = 1.5,
    **changes: Any,
) -> Outcome:
    runner = CommandRunner(search(**changes), Path("runs/fake"), poll_s=0.02, patience_s=0.5, clock=clock)
    params = {"model.mode": mode, "model.x": x}
    return runner.run(Job(number=0, params=params, seeds=seeds, folder=Path("runs/fake/0"), **(job or {})))


def lines_written() -> int:
    path = Path("runs/fake/0/seed3/metrics.jsonl")
    return path.read_text().count("\n") if path.exists() else 0


def minutes_once_it_writes() -> Callable[[], float]:
    """A clock that stands still until the run has written a line, and from then on jumps a minute at every look."""
    looks = itertools.count()
    return lambda: 60.0 * next(looks) if lines_written() else 0.0


def seen(seed: int = 3) -> dict[str, Any]:
    return json.loads(Path(f"runs/fake/0/seed{seed}/seen.json").read_text())  # type: ignore[no-any-return]


def test_a_run_gives_its_objective_and_what_it_took() -> None:
    outcome = run("ok")
    assert outcome.outcome == "ok" and outcome.values == (1.5 + 3 + 45,)  # the mean of the last two of 14.5, …, 54.5
    assert outcome.seed_values == ((49.5,),) and outcome.variances == () and outcome.env_steps == 50 and outcome.wall_s > 0
    arguments = seen()["arguments"]
    assert arguments[0] == "fit" and arguments[-3:] == [
        "--seed_everything=3",
        "--trainer.folder=runs/fake/0/seed3",
        "--ckpt_path=last",
    ]
    assert list(outcome.argv) == arguments
    assert Path(arguments[arguments.index("--config") + 1]).read_text() == "model: {x: 0}\n", "on any machine"


def test_seeds_are_averaged() -> None:
    outcome = run("ok", seeds=(0, 2, 4))
    assert outcome.seed_values == ((46.5,), (48.5,), (50.5,)) and outcome.values == (48.5,)
    assert outcome.variances == (pytest.approx(4 / 3),)  # variance 4 of three numbers, of their mean a third
    assert outcome.env_steps == 150 and {path.name for path in Path("runs/fake/0").iterdir()} == {"seed0", "seed2", "seed4"}


def test_several_objectives() -> None:
    two = [*WRITTEN["objectives"], {"metric": "time/wall_s", "direction": "minimize", "reduce": "last"}]
    assert run("ok", objectives=two).values == (49.5, 5.0)
    two[1]["log"] = True
    assert run("ok", objectives=two).values == (49.5, 5.0), "in its own units"


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_what_has_no_logarithm_is_an_error_of_the_search_file(value: float) -> None:
    evaluated = [{"metric": "eval/return", "direction": "maximize", "log": True}]
    space = {**WRITTEN["space"], "model.x": {"float": [-60, 10]}}
    outcome = run("ok", x=value - 53.0, objectives=evaluated, space=space)  # seed 3 at step 50
    assert (outcome.outcome, outcome.values) == ("error", ())
    assert outcome.detail == f"expected eval/return above 0, got {value:g}; remove `log: true` from the objective."


@pytest.mark.parametrize(
    ("mode", "outcome", "detail"),
    [
        ("diverged", "diverged", "expected finite metrics at step 50; lower the learning rates."),
        ("null", "diverged", "eval/return is not finite"),
        ("gpu", "oom", "CUDA out of memory"),
        ("host", "oom", "Cannot allocate memory"),
        ("bug", "error", "ZeroDivisionError: division by zero"),
        ("refused", "error", "model.x: expected less, got more; lower it."),
        ("killed", "error", "ended by SIGKILL"),
        ("no metric", "error", "expected eval/return in runs/fake/0/seed3/metrics.jsonl, got env_steps, train/return"),
    ],
)
def test_how_a_run_ended(mode: str, outcome: str, detail: str) -> None:
    found = run(mode, seeds=(3, 4))
    assert found.outcome == outcome and detail in found.detail and found.values == ()
    assert not Path("runs/fake/0/seed4").exists(), "one seed that fails is enough"


def test_only_this_try_is_looked_at() -> None:
    """An earlier try in the same folder ran out of memory; this one has a bug."""
    assert run("gpu").outcome == "oom"
    assert run("bug").outcome == "error"


def test_out_of_memory_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([4, 5])
    monkeypatch.setattr("mbrl.training.processes.run_process._kernel_ooms", lambda: next(counts))
    assert run("killed").outcome == "oom"


@pytest.mark.parametrize(
    ("limits", "detail"),
    [
        ({"trial_minutes": 5, "stall_minutes": None}, "limits.trial_minutes"),
        ({"trial_minutes": None, "stall_minutes": 5}, "limits.stall_minutes without a line of metrics"),
    ],
)
def test_limits_end_a_run_that_hangs(limits: dict[str, Any], detail: str) -> None:
    outcome = run("hang", limits=limits, clock=minutes_once_it_writes())
    assert outcome.outcome == "timeout" and f"5 minutes ({detail})" in outcome.detail
    assert Path("runs/fake/0/seed3/asked").exists(), "it may write its checkpoint"
    assert gone(seen()["pid"])


def test_a_run_that_goes_on_writing_does_not_stall() -> None:
    assert run("slow", limits={"stall_minutes": 3}, clock=lambda: 60.0 * lines_written()).outcome == "ok"  # in 5 minutes
    assert run("slow", limits={"trial_minutes": 3}, clock=lambda: 60.0 * lines_written()).outcome == "timeout"


def test_one_that_does_not_listen_is_killed() -> None:
    assert run("stubborn", limits={"trial_minutes": 5}, clock=minutes_once_it_writes()).outcome == "timeout"
    assert Path("runs/fake/0/seed3/asked").exists()
    assert gone(seen()["pid"])


def test_a_worker_that_is_told_to_end_ends_its_run() -> None:
    outcome = run("hang", job={"should_stop": lambda: lines_written() > 0})
    assert outcome.outcome == "interrupted" and Path("runs/fake/0/seed3/asked").exists() and gone(seen()["pid"])


def test_an_exception_leaves_no_process() -> None:
    def fail() -> bool:
        if Path("runs/fake/0/seed3/seen.json").exists():
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        run("hang", job={"should_stop": fail})
    assert gone(seen()["pid"])


def test_the_curve_is_reported_as_it_would_count() -> None:
    reports: list[tuple[float, int]] = []
    assert run("slow", seeds=(3, 4), job={"report": lambda value, step: reports.append((value, step))}).outcome == "ok"
    assert reports == [(14.5, 10), (19.5, 20), (29.5, 30), (39.5, 40), (49.5, 50)]  # of the first seed


@pytest.mark.parametrize(("fraction", "first"), [(0.0, 1), (0.7, 4)])
def test_pruning_waits_for_its_warm_up(fraction: float, first: int) -> None:
    reports: list[int] = []
    job = {"report": lambda value, step: reports.append(step), "should_prune": lambda: True}
    outcome = run("slow", seeds=(3, 4), job=job, pruner={"name": "median", "warmup_fraction": fraction})
    assert outcome.outcome == "pruned" and not Path("runs/fake/0/seed4").exists()
    assert first <= len(reports) <= 4 and Path("runs/fake/0/seed3/asked").exists()


def test_without_a_pruner_none_is_asked() -> None:
    assert run("slow", job={"should_prune": lambda: pytest.fail("asked")}).outcome == "ok"


def test_a_folder_in_use_is_left_to_its_run() -> None:
    """A worker that was taken for dead may still be at it."""
    folder, lock = free_folder(Path("runs/fake/0/seed3"))
    assert folder.name == "seed3"
    with lock:
        assert run("ok").outcome == "ok"
        assert not (folder / "seen.json").exists() and Path("runs/fake/0/seed3-1/seen.json").exists()
    assert run("ok").outcome == "ok" and (folder / "seen.json").exists()


def test_allowed_modules_are_handed_on() -> None:
    runner = CommandRunner(search(), Path("runs/fake"), allow=("mine", "theirs"), poll_s=0.02)
    job = Job(number=0, params={"model.mode": "ok", "model.x": 1.5}, seeds=(3,), folder=Path("runs/fake/0"))
    assert runner.run(job).outcome == "ok"
    assert seen()["arguments"][:5] == ["--allow", "mine", "--allow", "theirs", "fit"]


def test_passwords_stay_out_of_runs_and_devices_get_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGPASSWORD", "MYSQL_PWD"):
        monkeypatch.setenv(name, "secret")
    outcome = run("ok", job={"device": "cuda:1"})
    assert "secret" not in json.dumps(seen()) and "secret" not in str(outcome)
    assert seen()["environment"]["CUDA_VISIBLE_DEVICES"] == "1"


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [
        (None, "5", "5"),
        (None, None, None),
        ("cpu", "5", ""),
        ("cuda:0", None, "0"),
        ("cuda:1", "4,7", "7"),
        ("cuda:0", "GPU-abc", "GPU-abc"),
    ],
)
def test_a_run_sees_its_device_only(device: str | None, visible: str | None, expected: str | None) -> None:
    given = {"A": "1", **({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})}
    assert environment(device, given) == {"A": "1", **({} if expected is None else {"CUDA_VISIBLE_DEVICES": expected})}


@pytest.mark.parametrize(("device", "visible"), [("cuda", None), ("gpu:0", None), ("cuda:1", "4"), ("", None)])
def test_other_devices_are_refused(device: str, visible: str | None) -> None:
    with pytest.raises(ConfigError, match=r"--device: expected"):
        environment(device, {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})


def test_reductions() -> None:
    values = [1.0, 5.0, 2.0, 4.0]
    found = {how: reduced(values, how) for how in ("last", "mean", "max", "min", "mean_last_2", "mean_last_9")}
    assert found == {"last": 4.0, "mean": 3.0, "max": 5.0, "min": 1.0, "mean_last_2": 3.0, "mean_last_9": 3.0}


# no run outlives its worker -------------------------------------------------------------------------------------------

CHILD = """
import sys, time
from mbrl.child_process import end_with
end_with(int(sys.argv[1]))
print('up', flush=True)
time.sleep(60)
"""
PARENT = f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}, str(os.getpid())], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


def gone(pid: int, seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_kill_9_of_a_worker_ends_its_run() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert parent.stdout.readline() == "up\n"
        os.kill(parent.pid, signal.SIGKILL)
        assert gone(child)


def test_a_run_whose_worker_died_before_it_started_ends_at_once() -> None:
    one = subprocess.run([sys.executable, "-c", CHILD, "1"], capture_output=True, timeout=60, check=False)
    assert one.returncode == 1 and one.stdout == b""
