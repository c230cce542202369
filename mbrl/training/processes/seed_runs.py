"""`SeedRuns`: runs that differ in their seed alone, side by side, a process each."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from mbrl.errors import RunFolderError
from mbrl.handled_signals import handled
from mbrl.training.files import make_writable
from mbrl.training.metrics_file import CLOCKS
from mbrl.training.processes.run_process import LOCK, RunProcess
from mbrl.training.run_folder import METRICS, refuse_links
from mbrl.training.run_lock import locked

POLL_S = 0.5
INTERRUPTED = "interrupted"


class Ended(NamedTuple):
    """The end of a seed's run.

    Attributes:
        outcome: `ok`, `diverged`, `oom`, `error` or `interrupted`.
        why: one line, empty if all went well.
    """

    outcome: str
    why: str = ""


class SeedRuns:
    """Runs several seeds, each in a process of its own; one that fails stops no other.

    A folder that another process trains in fails alone. The first Ctrl-C or SIGTERM has every run write its checkpoint and
    end, and starts no further one; a second ends them at once.

    Args:
        folders: of the runs by seed, in the order in which they start.
        arguments: makes the arguments after `mbrl` of a seed's run in a folder.
        workers: runs at the same time.
        show: told of each event: the seed, and the words.
        metric: whose new values are events.
        poll_s: seconds between looks at the runs; None for 0.5.
        patience_s: seconds that runs that are told to end may take to write their checkpoints.

    Attributes:
        signal: the signal that ended them, 0 for none.
    """

    def __init__(
        self,
        folders: Mapping[int, Path],
        arguments: Callable[[int, Path], Sequence[str]],
        *,
        workers: int,
        show: Callable[[int, str], None],
        metric: str = "eval/return",
        poll_s: float | None = None,
        patience_s: float = 60.0,
    ) -> None:
        self.folders = folders
        self.arguments = arguments
        self.workers = workers
        self.show = show
        self.metric = metric
        self.poll_s = POLL_S if poll_s is None else poll_s
        self.patience_s = patience_s
        self.signal = 0

    def run(self) -> dict[int, Ended]:
        """Runs all, and returns how each ended; those that a signal kept from starting were interrupted."""
        waiting = list(self.folders)
        running: dict[int, RunProcess] = {}
        lines = {seed: _NewLines(folder / METRICS) for seed, folder in self.folders.items()}
        ended: dict[int, Ended] = {}
        until: float | None = None  # when patience ends
        with ExitStack() as stack, handled(self._take):
            stack.callback(_close, running)
            while running or (waiting and not self.signal):
                while waiting and len(running) < self.workers and not self.signal:
                    seed = waiting.pop(0)
                    try:
                        running[seed] = self._start(seed)
                    except (OSError, RunFolderError) as error:
                        ended[seed] = self._end(seed, Ended("error", self._held(seed, error)))
                if self.signal and until is None:
                    until = time.monotonic() + self.patience_s
                    for process in running.values():
                        process.ask_to_end()
                if until is not None and time.monotonic() > until:
                    break  # leaving the stack ends them
                time.sleep(self.poll_s)
                for seed, process in list(running.items()):
                    over = process.wait(0)
                    for line in lines[seed].read():
                        self._show_value(seed, line)
                    if over:
                        running.pop(seed).close()
                        ended[seed] = self._end(seed, self._outcome(process))
        return {seed: ended.get(seed, Ended(INTERRUPTED)) for seed in self.folders}

    def _take(self, number: int, frame: Any) -> None:
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number

    def _start(self, seed: int) -> RunProcess:
        folder = self.folders[seed]
        make_writable(folder, "--name")
        refuse_links(folder)
        with locked(folder / LOCK) as lock:  # the run's process keeps it
            process = RunProcess(self.arguments(seed, folder), folder, lock)
        self.show(seed, f"started, its words are in {folder / 'stderr.log'}")
        return process

    def _held(self, seed: int, error: OSError | RunFolderError) -> str:
        if isinstance(error, RunFolderError):
            return str(error)
        if not isinstance(error, BlockingIOError):  # such as a full disk
            return f"expected to write into {self.folders[seed]}, but that failed ({error.strerror}); free space there."
        return (
            f"expected a run folder for this process alone, but another trains in {self.folders[seed]}; wait until that has "
            "ended, or stop it."
        )

    def _outcome(self, process: RunProcess) -> Ended:
        outcome, why = process.verdict()
        return Ended(INTERRUPTED) if self.signal and outcome == "error" else Ended(outcome, why)

    def _end(self, seed: int, how: Ended) -> Ended:
        self.show(seed, {"ok": "done"}.get(how.outcome, how.outcome) + (f": {how.why}" if how.why else ""))
        return how

    def _show_value(self, seed: int, line: Mapping[str, Any]) -> None:
        value, clock = line.get(self.metric), next((name for name in CLOCKS if name in line), None)
        if value is not None and clock is not None:
            self.show(seed, f"{clock} {line[clock]}: {self.metric} {value:.5g}")


def _close(running: Mapping[int, RunProcess]) -> None:
    for process in running.values():
        process.close()


class _NewLines:
    """Lines that come to a run's `metrics.jsonl`; a resumed run cuts some off first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = path.stat().st_size if path.is_file() else 0

    def read(self) -> list[dict[str, Any]]:
        try:
            with open(self.path, "rb") as file:
                size = file.seek(0, 2)
                file.seek(min(self._read, size))
                whole, _, _ = file.read().rpartition(b"\n")
                self._read = min(self._read, size) + (len(whole) + 1 if whole else 0)
            return [json.loads(line) for line in whole.splitlines()]
        except (FileNotFoundError, ValueError):  # not begun, or cut in the middle of a line
            return []


def exit_code(ends: Mapping[int, Ended], number: int) -> int:
    """The exit code of a command that ran seeds.

    Args:
        ends: of the runs.
        number: of the signal that ended them, or 0.

    Returns:
        128 and the signal's number; 0 if all went well; 4 if those that failed diverged; else 2.
    """
    if number:
        return 128 + int(signal.Signals(number))
    failed = {how.outcome for how in ends.values()} - {"ok"}
    return 0 if not failed else 4 if failed == {"diverged"} else 2
