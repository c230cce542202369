"""Leases: heartbeats of running trials, and a watch that finds the trials whose worker died."""

from __future__ import annotations

import os
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial


class Lease(threading.Thread):
    """Bumps a running trial's counter until the trial is done.

    Args:
        trial: the running one.
        beat_s: seconds between bumps; more means less writing and a longer wait for what a dead worker left.

    Attributes:
        revoked: whether the trial was finished by someone else, who took this worker for dead.
    """

    def __init__(self, trial: optuna.Trial, beat_s: float) -> None:
        super().__init__(name=f"lease-{trial.number}", daemon=True)
        self.trial = trial
        self.beat_s = beat_s
        self.revoked = False
        self._count = 0
        self._done = threading.Event()

    def run(self) -> None:
        """Beats; a storage that can't be reached is tried again at the next beat."""
        while not self._done.wait(self.beat_s):
            try:
                self.beat()
            except UpdateFinishedTrialError:
                self.revoked = True
                return
            except Exception:  # whatever a driver raises: the worker's own next write will show it
                continue

    def beat(self) -> None:
        """Bumps the counter once. The time is for people to read; no clock is compared between machines."""
        self._count += 1
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.trial.set_user_attr("lease", {"count": self._count, "at": now})

    def end(self) -> None:
        """Stops beating, before the outcome is told."""
        self._done.set()
        if self.is_alive():
            self.join()


class Watch:
    """Tells which running trials' workers died: their counters stood still for `grace_s`.

    Time is measured on this machine only, since it first saw the counter's value. A worker of this machine whose process is
    gone is known to be dead at once.

    Args:
        grace_s: seconds; more forgives longer pauses, and waits longer for the dead.
        processes: whether to look for the processes of this machine's workers.
    """

    def __init__(self, grace_s: float, *, processes: bool = True) -> None:
        self.grace_s = grace_s
        self.processes = processes
        self._seen: dict[int, tuple[Any, float]] = {}
        self._alive: set[int] = set()

    def is_dead(self, trial: FrozenTrial) -> bool:
        """Tells whether the worker of this running trial is dead, as far as can be seen now."""
        worker = trial.user_attrs.get("worker")
        if self.processes and worker is not None and worker["machine"] == machine():
            if started(worker["pid"]) != worker["started"]:
                return True
            self._alive.add(trial.number)
        now, count = time.monotonic(), trial.user_attrs.get("lease")
        seen, since = self._seen.setdefault(trial.number, (count, now))
        if seen != count:
            self._seen[trial.number] = (count, now)
            self._alive.add(trial.number)
            return False
        return now - since >= self.grace_s

    def is_known_alive(self, trial: FrozenTrial) -> bool:
        """Tells whether the worker of a running trial was seen to live."""
        return trial.number in self._alive

    def forget_alive(self) -> None:
        """Asks for new signs of life of every worker."""
        self._alive.clear()

    def stood_still(self, trial: FrozenTrial) -> bool:
        """Tells whether a finished trial has been seen for `grace_s`, so that its worker had the time to act."""
        now = time.monotonic()
        _, since = self._seen.setdefault(-1 - trial.number, (None, now))
        return now - since >= self.grace_s


def identity() -> dict[str, Any]:
    """Describes this process, so that others of the same machine can see whether it still exists."""
    return {"machine": machine(), "pid": os.getpid(), "started": started(os.getpid())}


def machine() -> str:
    """Names this machine since its start; a container counts as one of its own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()}/{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return f"{socket.gethostname()}/{os.getpid()}"  # never equal to another process's, so that no one draws conclusions


def started(pid: int) -> int | None:
    """Reads the start of a process of this machine, in ticks since the machine's own; None if it is gone."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(rest[18])
