"""Printed text is broken between words where a terminal would break it anywhere, and is as it was elsewhere."""

from __future__ import annotations

import io
import os
import warnings

import pytest

from mbrl.cli import main
from mbrl.errors import wrapped
from mbrl.training.output import quiet, tell


class Screen(io.StringIO):
    """A terminal of 40 columns."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda *given, **options: os.terminal_size((40, 24)))


def test_lines_break_between_words_below_their_beginning() -> None:
    text = "short\n  Mind: every reward is one, so that nothing says which action is better\n"
    broken = wrapped(text, Screen())
    assert broken == "short\n  Mind: every reward is one, so that\n    nothing says which action is better\n"
    assert wrapped(text, io.StringIO()) == text


def test_lines_of_two_columns_go_on_below_the_second() -> None:
    text = "commands:\n  test      test a checkpoint on episodes that training never saw"
    broken = wrapped(text, Screen())
    assert broken == "commands:\n  test      test a checkpoint on\n            episodes that training never\n            saw"
    assert wrapped("a  table of  three columns that is too long", Screen()).splitlines()[1][:3] == "  l"


def test_lines_for_a_shell_stay_whole() -> None:
    text = "a trial  mbrl fit \\\n    --config a/path/that/is/longer/than/a/line/is \\\n    --seed_everything=0"
    assert wrapped(text, Screen()) == text


@pytest.mark.parametrize("command", [["--help"], ["search", "--help"], ["presets"]])
def test_help_and_lists_are_broken(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    out = Screen()
    monkeypatch.setattr("sys.stdout", out)
    assert main(command) == 0
    lines = out.getvalue().splitlines()
    assert lines and all(len(line) <= 40 or len(line.split()) == 1 for line in lines), "in words of whole"


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


def test_what_a_library_is_told_of_its_future_is_not_for_the_user() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with quiet("pytorch_lightning"):
            for module in ("pytorch_lightning.utilities._pytree", "pytorch_lightning_extra", "mine"):
                warnings.warn_explicit(f"{module} does so in the old way", FutureWarning, "its.py", 1, module=module)
            warnings.warn_explicit("few rows", UserWarning, "its.py", 2, module="pytorch_lightning.trainer")
    assert [str(each.message).split()[0] for each in seen] == ["pytorch_lightning_extra", "mine", "few"]
