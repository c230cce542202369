"""The errors that this library raises on purpose, each also a standard type.

Every message is one sentence of three parts: what was expected, what came, what to do.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO

# what a terminal obeys (escapes, returns), what turns the order of letters around, and what is no letter in UTF-8 or XML
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def shown(text: str) -> str:
    """A text for a terminal: whatever one would obey stands there as its code, since labels come from files too."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def wrapped(text: str, stream: IO[str]) -> str:
    """A text for a stream: lines that a terminal would break anywhere are broken between words, below their beginning.

    A line of two columns, such as a command and what it does, goes on below its second. One of a shell's that ends with a
    backslash stays as it is, to be copied.

    Args:
        text: of one line or several.
        stream: that it goes to; what is no terminal gets it as it is.
    """
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    lines: list[str] = []
    for line in text.split("\n"):
        columns = re.fullmatch(r"( *\S+(?: \S+)* {2,})\S+(?: \S+)*", line)
        below = len(columns[1]) if columns else len(line) - len(line.lstrip()) + 2
        broken = textwrap.wrap(line, width, subsequent_indent=" " * below, break_long_words=False, break_on_hyphens=False)
        lines += broken if len(line) > width and not line.endswith("\\") else [line]
    return "\n".join(lines)


class MbrlError(Exception):
    """Base of every error that the library raises on purpose.

    Attributes:
        results: numbers by name that were found before it, and that could not be written; None of most errors.
    """

    results: Mapping[str, float] | None = None

    def __str__(self) -> str:
        return shown(super().__str__())


class ShapeError(MbrlError, ValueError):
    """A tensor has other dims than the docstring states."""


class DataError(MbrlError, ValueError):
    """A dataset, a transition or a statistic holds values that can't be used."""


class ConfigError(MbrlError, ValueError):
    """An option has a value that can't be used, alone or with another option."""


class ArgumentError(ConfigError, TypeError):
    """A constructor was called with arguments that it doesn't take, or without one that it needs."""


class TaskError(MbrlError, ValueError):
    """An environment can't be used as a task, or disagrees with what was said about it."""


class EnvironmentFailedError(TaskError, DataError):
    """An environment raised, or answered what can't be used; whatever was stepped before is whole."""


class UntrustedNameError(MbrlError, ValueError):
    """A dotted name from a file points outside the modules that the caller allows."""


class NotBuiltError(MbrlError, RuntimeError):
    """A model, policy or planner was used before `build(task)` made its parameters."""


class UnsupportedError(MbrlError, NotImplementedError):
    """Two parts can't work together, for a stated reason."""


class CheckpointError(MbrlError, RuntimeError):
    """A checkpoint is missing, damaged, or belongs to something else."""


class RunFolderError(MbrlError, RuntimeError):
    """A run folder can't be written, or already holds a run."""


class HubError(MbrlError, OSError):
    """The hub, where runs are shared, didn't answer as it should."""


class DivergedError(MbrlError, RuntimeError):
    """A loss or a parameter is no longer finite."""


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Reads from a checkpoint, in which anything may lie instead of what was written.

    Args:
        what: what is expected there, for the message.

    Raises:
        CheckpointError: in place of whatever else is raised by data of another kind.
    """
    try:
        yield
    except MbrlError:
        raise
    except (RuntimeError, TypeError, LookupError, ValueError, AttributeError) as error:
        text = " ".join(str(error).split())[:300] or type(error).__name__
        raise CheckpointError(f"expected {what}, got something else ({text}); use another checkpoint.") from error


@contextmanager
def keeping(results: Mapping[str, float]) -> Iterator[None]:
    """Gives results to whatever error stops their writing, so that a full disk doesn't cost what was found.

    Args:
        results: numbers by name; the command line shows them before the error.

    Raises:
        RunFolderError: in place of the system's error.
    """
    try:
        yield
    except MbrlError as error:
        error.results = results
        raise
    except OSError as error:
        where = error.filename or "the results"
        unwritten = RunFolderError(
            f"expected room for {where}, but writing failed ({error.strerror}); free space, change permissions or name "
            "another place."
        )
        unwritten.results = results
        raise unwritten from error


class MbrlWarning(UserWarning):
    """Base of every warning that the library gives."""

    def __str__(self) -> str:
        return shown(super().__str__())
