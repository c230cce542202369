"""`SeedRuns`: several seeds side by side, with a stand-in for `mbrl fit`."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mbrl.training.processes.run_process import LOCK, RunProcess
from mbrl.training.processes.seed_runs import INTERRUPTED, Ended, SeedRuns, exit_code
from mbrl.training.run_lock import locked

FAKE = str(Path(__file__).parents[2] / "search" / "fake_run.py")


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mbrl.training.processes.run_process.CHILD", (FAKE,))


def runs(folder: Path, modes: Mapping[int, str], workers: int = 2, patience_s: float = 10.0) -> tuple[SeedRuns, list[str]]:
    """Runs of these seeds that end as `modes` say, and the events."""
    said: list[str] = []

    def arguments(seed: int, of_seed: Path) -> list[str]:
        config = json.dumps({"model": {"mode": modes[seed], "x": 0}})
        return ["fit", f"--config={config}", f"--seed_everything={seed}", f"--trainer.folder={of_seed}"]

    made = SeedRuns(
        {seed: folder / f"seed{seed}" for seed in modes},
        arguments,
        workers=workers,
        show=lambda seed, text: said.append(f"{seed} {text}"),
        poll_s=0.02,
        patience_s=patience_s,
    )
    return made, said


def test_one_that_fails_stops_no_other(tmp_path: Path) -> None:
    made, said = runs(tmp_path, {0: "ok", 3: "refused", 4: "diverged", 7: "ok"})
    ends = made.run()
    assert [how.outcome for how in ends.values()] == ["ok", "error", "diverged", "ok"] and list(ends) == [0, 3, 4, 7]
    assert ends[3].why == "model.x: expected less, got more; lower it."
    assert "3 error: model.x: expected less, got more; lower it." in said and "7 done" in said
    assert "7 env_steps 50: eval/return 57" in said, "evaluations are shown as they come"
    assert said.count("0 env_steps 50: eval/return 50") == 1
    assert json.loads((tmp_path / "seed7/seen.json").read_text())["arguments"][2] == "--seed_everything=7"
    assert made.signal == 0


def test_one_that_ended_is_closed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be another process's soon, which must not be ended with the rest."""
    closed: list[Path] = []
    real = RunProcess.close
    monkeypatch.setattr(RunProcess, "close", lambda self: (closed.append(self.folder), real(self)))
    made, _ = runs(tmp_path, {0: "ok", 1: "slow"})
    at_the_end: list[list[Path]] = []
    monkeypatch.setattr(made, "show", lambda seed, text: at_the_end.append(list(closed)) if text == "done" else None)
    made.run()
    assert at_the_end == [[tmp_path / "seed0"], [tmp_path / "seed0", tmp_path / "seed1"]]
    assert len(closed) == 2


def test_a_disk_without_room_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = runs(tmp_path, {0: "ok", 1: "ok"})
    real = made._start

    def start(seed: int) -> RunProcess:
        if seed == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(seed)

    monkeypatch.setattr(made, "_start", start)
    ends = made.run()
    assert ends[1] == Ended("ok") and "No space left on device" in ends[0].why


def test_no_more_run_at_once_than_workers(tmp_path: Path) -> None:
    for workers in (1, 2):
        made, said = runs(tmp_path / str(workers), {0: "slow", 1: "slow", 2: "slow"}, workers)
        made.run()
        order = [line.split()[1].rstrip(":,") for line in said if "started" in line or "done" in line]
        most = now = 0
        for word in order:
            now += 1 if word == "started" else -1
            most = max(most, now)
        assert most == workers


def test_a_folder_that_another_trains_in_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "seed0").mkdir()
    with locked(tmp_path / "seed0" / LOCK):
        made, _ = runs(tmp_path, {0: "ok", 1: "ok"})
        ends = made.run()
    assert ends[0].outcome == "error" and "another trains in" in ends[0].why and ends[1] == Ended("ok")
    (tmp_path / "seed2").write_text("a file")
    made, _ = runs(tmp_path, {2: "ok", 1: "ok"})
    ends = made.run()
    assert ends[2].outcome == "error" and "expected a folder that can be written" in ends[2].why and ends[1].outcome == "ok"


def in_time(when: Callable[[], bool], number: int, then: Callable[[], bool] | None = None) -> threading.Thread:
    """Sends this process a signal once something is so, and again once another thing is."""

    def wait() -> None:
        for condition in (when, then):
            until = time.monotonic() + 20
            while condition is not None and not condition() and time.monotonic() < until:
                time.sleep(0.01)
            if condition is not None:
                os.kill(os.getpid(), number)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_and_starts_no_more(number: int, tmp_path: Path) -> None:
    made, said = runs(tmp_path, {0: "hang", 1: "hang", 2: "ok"})
    before = signal.getsignal(number)
    thread = in_time(lambda: all((tmp_path / f"seed{seed}/metrics.jsonl").exists() for seed in (0, 1)), number)
    ends = made.run()
    thread.join()
    assert set(ends.values()) == {Ended(INTERRUPTED)} and made.signal == number
    assert all((tmp_path / f"seed{seed}/asked").exists() for seed in (0, 1)), "each may write its checkpoint"
    assert not (tmp_path / "seed2").exists() and not any("2 started" in line for line in said)
    assert signal.getsignal(number) is before
    for seed in (0, 1):
        pid = json.loads((tmp_path / f"seed{seed}/seen.json").read_text())["pid"]
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_one_that_does_not_end_is_ended(tmp_path: Path) -> None:
    made, _ = runs(tmp_path, {0: "stubborn"}, patience_s=0.2)
    thread = in_time((tmp_path / "seed0/metrics.jsonl").exists, signal.SIGINT)
    assert made.run() == {0: Ended(INTERRUPTED)}
    thread.join()
    made, _ = runs(tmp_path / "again", {0: "stubborn"}, patience_s=60)
    thread = in_time((tmp_path / "again/seed0/metrics.jsonl").exists, signal.SIGINT, (tmp_path / "again/seed0/asked").exists)
    with pytest.raises(KeyboardInterrupt):
        made.run()
    thread.join()
    for folder in (tmp_path, tmp_path / "again"):
        with pytest.raises(ProcessLookupError):
            os.kill(json.loads((folder / "seed0/seen.json").read_text())["pid"], 0)


def test_exit_codes() -> None:
    well, diverged, failed = Ended("ok"), Ended("diverged"), Ended("error")
    assert exit_code({0: well, 1: well}, 0) == 0
    assert exit_code({0: well, 1: diverged}, 0) == 4
    assert exit_code({0: diverged, 1: failed}, 0) == 2
    assert exit_code({0: well, 1: Ended(INTERRUPTED)}, signal.SIGINT) == 130
    assert exit_code({0: well}, signal.SIGTERM) == 143
