"""Forked children of a process that has imported everything: a command or a call costs what it does and no import."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mbrl.errors import MbrlError

CPU_S, WALL_S = 20, 150  # a busy machine gives little of the second
MEMORY = 2 * 2**30  # what a child may take beside what it shares with its parent


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: its exit code, negative for a signal.
        hung: whether it was ended since it took too long.
        printed: its stdout.
        told: its stderr.
    """

    code: int
    hung: bool
    printed: str
    told: str


def in_child(function: Callable[[], int | None], folder: Path, notes: Path, kill: tuple[int, float] | None = None) -> Ended:
    """Runs `function` in a forked process and waits for it.

    Args:
        function: what to run; what it returns is the exit code.
        folder: where the process stands, and what its modules are imported from.
        notes: a folder for what it prints.
        kill: a signal that is sent to it, and after how many seconds.
    """
    notes.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forking beside threads
        child = os.fork()
    if child == 0:
        _be_child(function, folder, notes)
    began, hung = time.monotonic(), False
    until = began + WALL_S
    while True:
        ended, status, _ = os.wait4(child, os.WNOHANG)
        if ended:
            break
        now = time.monotonic()
        if kill is not None and now >= began + kill[1]:
            os.kill(child, kill[0])
            kill = None
        if now > until:
            os.killpg(child, signal.SIGKILL)
            hung = True
        time.sleep(0.002)
    code = os.waitstatus_to_exitcode(status)
    hung = hung or code == -signal.SIGXCPU
    texts = [(notes / name).read_text(errors="replace") for name in ("stdout", "stderr")]
    return Ended(code, hung, *texts)


def _be_child(function: Callable[[], int | None], folder: Path, notes: Path) -> None:
    code = 1
    try:
        os.setsid()  # so that what it starts ends with it
        for name, number in (("stdout", 1), ("stderr", 2)):
            os.dup2(os.open(notes / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = os.fdopen(1, "w", closefd=False, encoding="utf-8")
        sys.stderr = os.fdopen(2, "w", closefd=False, encoding="utf-8", buffering=1)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        code = function() or 0
    except MbrlError as error:
        print(f"mbrl: {error}", file=sys.stderr)
        code = 2
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
