"""`MetricsFile`: one JSON object a line, appended while training, cut on resume, made into a CSV at the end."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from mbrl.errors import RunFolderError
from mbrl.replacing import following_no_link
from mbrl.training.files import room_for, write_whole

CLOCKS = {"env_steps": "steps", "updates": "updates", "epoch": "epochs"}  # keys of lines, and what each counts


class MetricsFile:
    """The lines of `metrics.jsonl`, each with the clock it was written at.

    Metrics that depend on the wall clock are named `time/…`; all others are the same in a resumed run as in the unbroken
    one. A number that isn't finite is written as null, which JSON has and NaN is not.

    Args:
        path: the file.
        clock: the key that orders lines, one of `CLOCKS`: a planner's `clock_name`, `epoch` in the fit of a model alone.
    """

    def __init__(self, path: Path, clock: str = "env_steps") -> None:
        self.path = path
        self.clock = clock

    def append(self, line: Mapping[str, float]) -> None:
        """Writes one line, whole, before returning.

        Raises:
            RunFolderError: if the disk is full or the file can't be written.
        """
        values = {name: _json_number(value) for name, value in line.items()}
        text = json.dumps(values) + "\n"
        with room_for(f"a line in {self.path}"), self._appended() as file:
            file.write(text)

    def _appended(self) -> TextIO:
        return open(self.path, "a", encoding="utf-8", opener=following_no_link)

    def read(self) -> list[dict[str, Any]]:
        """Reads the whole lines, without what a kill left half-written.

        Raises:
            RunFolderError: if it can't be read, is no text, or a line says what is no number.
        """
        if not self.path.exists():
            return []
        if not self.path.is_file():  # a pipe would be waited for
            raise RunFolderError(f"expected a file of metric lines, got {self.path}, which is none; move it away.")
        try:
            texts = self.path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RunFolderError(
                f"expected metric lines in {self.path}, got {error}; put the file back, or move it away."
            ) from error
        lines = []
        for number, text in enumerate(texts, 1):
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict) and self.clock in line:
                for name, value in line.items():
                    if not isinstance(value, int | float | None) or (name == self.clock and value is None):
                        raise RunFolderError(
                            f"expected numbers in line {number} of {self.path}, got {value!r} as {name}; take the line out."
                        )
                lines.append(line)
        return lines

    def cut(self, position: float) -> None:
        """Drops the lines after `position` on the clock, which the resumed run will write again."""
        kept = [line for line in self.read() if line[self.clock] <= position]
        write_whole(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def sync(self) -> None:
        """Flushes the lines to disk, so that a checkpoint never knows more than they."""
        if self.path.exists():
            with open(self.path, "rb") as file:
                os.fsync(file.fileno())

    def write_csv(self, path: Path) -> None:
        """The same as a table: a column a metric, in the order of first appearance, empty where a line has none."""
        lines = self.read()
        columns = list(dict.fromkeys(name for line in lines for name in line))
        text = io.StringIO()
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(lines)
        write_whole(path, text.getvalue().encode())


def _json_number(value: float) -> float | int | None:
    if isinstance(value, int):
        return value
    return float(value) if math.isfinite(value) else None
