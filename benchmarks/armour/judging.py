"""What became of an input: one verdict, found from the exit code, what was printed, and the files before and after."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.armour.children import Ended

VERDICTS = ("sentence", "accepted", "wrongly accepted", "traceback", "silent", "hang", "died", "marker", "lost")
GOOD = VERDICTS[:2]
MARKER = "marker"  # the file that a payload would leave

Action = Callable[[], int | None]


@dataclass(frozen=True)
class Input:
    """One hostile or clumsy input.

    Attributes:
        kind: its kind.
        name: unlike all others of its kind.
        prepare: writes what is hostile into a folder of its own and returns what is then run in it: the arguments of the
            command line, or a function.
        may: whether it may be accepted too, since it has a meaning.
    """

    kind: str
    name: str
    prepare: Callable[[Path], list[str] | Action]
    may: bool = False


def files(folder: Path) -> dict[str, str]:
    """Every file below a folder by what it holds, and every link by where it leads."""
    found = {}
    for place, folders, names in os.walk(folder):
        for name in (*names, *folders):
            path = Path(place, name)
            if path.is_symlink():
                found[str(path.relative_to(folder))] = f"link to {os.readlink(path)}"
            elif path.is_file():
                found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def judge(ended: Ended, before: Mapping[str, str], after: Mapping[str, str], *, may: bool) -> tuple[str, str]:
    """The verdict on an input, and the first line of what was said.

    Args:
        ended: how the process ended.
        before: the files that were there.
        after: those that are there now.
        may: whether the input may be accepted.
    """
    lines = [line.strip() for line in ended.told.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("mbrl: ") and not line.startswith("mbrl: warning: ")]
    told += [line for line in lines if ": error: " in line]  # argparse, after its usage
    message = told[-1] if told else (lines[-1] if lines else "")
    if MARKER in after:
        return "marker", message
    if ended.hung:
        return "hang", message
    if ended.code < 0:
        return "died", f"signal {-ended.code}: {message}"
    changed = [name for name in before if after.get(name) != before[name]]
    if ended.code != 0:
        if any(line.startswith("Traceback (most recent call last)") for line in lines):
            return "traceback", lines[-1]
        if changed:
            return "lost", f"{', '.join(sorted(changed)[:3])} changed: {message}"
        return ("sentence", message) if told else ("silent", message or f"exit code {ended.code}")
    mine = [name for name in changed if name.startswith("mine")]  # what no accepted input may touch either
    if mine:
        return "lost", f"{', '.join(mine)} changed: {message}"
    return ("accepted" if may else "wrongly accepted"), message
