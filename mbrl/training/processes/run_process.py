"""`RunProcess`: one `mbrl` run in a process of its own, from its start to the cause of its end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from mbrl.errors import ConfigError
from mbrl.replacing import following_no_link
from mbrl.training.run_lock import locked

DIVERGED = 4  # exit code of `mbrl fit`

CHILD = ("-P", "-m", "mbrl.child_process")  # how Python starts `mbrl`; tests put something quicker here

SECRETS = ("PGPASSWORD", "MYSQL_PWD")  # environment variables that a run's process never needs

LOCK = ".running"
_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|^MemoryError\b|CUBLAS_STATUS_ALLOC_FAILED|DefaultCPUAllocator|Cannot allocate memory",
    re.MULTILINE | re.IGNORECASE,
)
_TEXT_END = 20_000  # bytes of stderr that are looked at


class RunProcess:
    """A run, as a context: whatever happens within, no process of it is left after.

    Args:
        arguments: after `mbrl`.
        folder: of the run, free for it; its stdout and stderr are appended to `stdout.log` and `stderr.log`.
        lock: open file that holds the folder; the run's process keeps it too.
        device: see `environment`.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, lock: BinaryIO, device: str | None = None) -> None:
        self.folder = folder
        self._ooms = _kernel_ooms()
        log = folder / "stderr.log"
        self._before = log.stat().st_size if log.exists() else 0
        command = [sys.executable, *CHILD, str(os.getpid()), *arguments]
        with (
            open(folder / "stdout.log", "ab", opener=following_no_link) as out,
            open(log, "ab", opener=following_no_link) as err,
        ):
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment(device, os.environ),
                start_new_session=True,  # Ctrl-C is for the worker, which ends the run in its own way
                pass_fds=(lock.fileno(),),
            )

    def __enter__(self) -> RunProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def wait(self, seconds: float) -> bool:
        """Waits for the end, at most this long, and tells whether it came."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self, patience_s: float) -> None:
        """Asks the run to end, which lets it write a checkpoint; after `patience_s` seconds ends it."""
        self.ask_to_end()
        if not self.wait(patience_s):
            self.close()

    def ask_to_end(self) -> None:
        """Asks the run to end, and doesn't wait."""
        self._process.send_signal(signal.SIGTERM)

    def verdict(self) -> tuple[str, str]:
        """Names the outcome of a run that ended by itself, `ok`, `diverged`, `oom` or `error`, and its cause in one line."""
        code = self._process.returncode
        if code == 0:
            return "ok", ""
        text = self._errors()
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        why = (lines[-1] if lines else f"exit code {code}").removeprefix("mbrl: ")[:500]
        if code == DIVERGED:
            return "diverged", why
        if _OUT_OF_MEMORY.search(text):
            return "oom", why
        if code < 0:
            name = signal.Signals(-code).name
            if code == -signal.SIGKILL and _kernel_ooms() > self._ooms:
                return "oom", f"ended by {name} while the system was out of memory"
            return "error", f"ended by {name}"
        return "error", why

    def _errors(self) -> str:
        """The end of what this run wrote to stderr."""
        with open(self.folder / "stderr.log", "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self._before, end - _TEXT_END))
            return file.read().decode(errors="replace")

    def close(self) -> None:
        """Ends the run and the processes that it started, once: afterwards the system may give its number to others."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def free_folder(folder: Path) -> tuple[Path, BinaryIO]:
    """Finds a folder that no living run writes to: this one or, if one does, the same with a number.

    A worker that was taken for dead may still be at it. The returned file holds the folder until it is closed here and in
    every process that inherited it. File systems without locks leave it to the lease's grace.
    """
    number = 0
    while True:
        chosen = folder if number == 0 else folder.with_name(f"{folder.name}-{number}")
        chosen.mkdir(parents=True, exist_ok=True)
        try:
            return chosen, locked(chosen / LOCK)
        except BlockingIOError:
            number += 1


def environment(device: str | None, given: Mapping[str, str]) -> dict[str, str]:
    """Makes the environment variables of a run: no database passwords, and one device.

    Args:
        device: `cpu`, or `cuda:<n>`, the n-th that this process may use; None leaves it as it is.
        given: this process's environment.

    Raises:
        ConfigError: for another device.
    """
    kept = {name: value for name, value in given.items() if name not in SECRETS}
    if device is None:
        return kept
    found = re.fullmatch(r"cuda:(\d+)", device)
    if device != "cpu" and found is None:
        raise ConfigError(f"--device: expected cpu or cuda:<number>, got {device!r}.")
    if found is None:
        return {**kept, "CUDA_VISIBLE_DEVICES": ""}
    number, visible = int(found[1]), given.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return {**kept, "CUDA_VISIBLE_DEVICES": str(number)}
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if number >= len(names):
        raise ConfigError(f"--device: expected one of the {len(names)} of CUDA_VISIBLE_DEVICES={visible}, got {device}.")
    return {**kept, "CUDA_VISIBLE_DEVICES": names[number]}


def _kernel_ooms() -> int:
    """The number of processes that this system has ended for want of memory."""
    try:
        text = Path("/proc/vmstat").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return 0 if found is None else int(found[1])
