"""Printed text is broken between words where a terminal would break it anywhere, and is as it was elsewhere."""

from __future__ import annotations

import io
import os

import pytest

from mbrl.cli import main
from mbrl.errors import wrapped
from mbrl.training.output import tell


class Screen(io.StringIO):
    """A terminal of 40 columns."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda *given: os.terminal_size((40, 24)))


def test_lines_break_between_words_below_their_beginning() -> None:
    text = "short\n  Mind: every reward is one, so that nothing says which action is better\n"
    broken = wrapped(text, Screen())
    assert broken == "short\n  Mind: every reward is one, so that\n    nothing says which action is better\n"
    assert wrapped(text, io.StringIO()) == text


def test_paths_stay_whole() -> None:
    path = "/a-very-long-path/that-has-dashes/and-goes-on-beyond-the-width"
    assert path in wrapped(f"the run is in {path}: look there", Screen()).split()[4]


def test_results_and_errors_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = Screen(), Screen()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    tell("Mind: every reward is one, so that nothing says which action is better")
    assert main(["no-such-command"]) == 2
    for screen in (out, err):
        lines = screen.getvalue().splitlines()
        assert len(lines) > 1 and max(map(len, lines)) <= 40
