"""The notebooks run, and what is committed of them is the output of a whole run that gives away nothing of the machine."""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook

from notebooks import run

PATHS = pytest.mark.parametrize("path", run.NOTEBOOKS, ids=lambda path: path.stem)
# paths, users and times; a figure's bytes are text of none of these
LEAKS = {
    "a path": r"(?<![\w.])(/(home|root|tmp|usr|var|work|opt|mnt|private|Users)\b|~/|[A-Z]:\\)",
    "a time of day": r"\b\d\d:\d\d:\d\d",
    "a date": r"\b20\d\d-\d\d-\d\d\b",
    "an address": r"\b0x[0-9a-f]{6,}",
}


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in code(notebook) for output in cell.outputs]


def pictures(notebook: Any) -> list[bytes]:
    shown = [output.data for output in outputs(notebook) if "data" in output]
    return [base64.b64decode(data["image/png"]) for data in shown if "image/png" in data]


def said(notebook: Any) -> str:
    """All text in its outputs."""
    parts = []
    for output in outputs(notebook):
        parts.append(output.get("text", ""))
        parts += [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
    return "\n".join(parts)


def leaks(text: str) -> list[str]:
    found = [f"{what}: {match.group()}" for what, form in LEAKS.items() for match in re.finditer(form, text)]
    return found + [f"a path: {folder}" for folder in (str(Path.home()), str(run.FOLDER.parent)) if folder in text]


def one_cell(path: Path, source: str) -> Path:
    nbformat.write(new_notebook(cells=[new_code_cell(source)]), path)
    return path


def test_there_are_nine() -> None:
    assert [path.name[:2] for path in run.NOTEBOOKS] == ["01", "02", "03", "04", "05", "06", "07", "08", "09"]


@PATHS
@pytest.mark.timeout(400)
def test_runs_on_small_settings(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    notebook = run.execute(path, tmp_path, small=True, timeout=300)
    assert all(cell.execution_count for cell in code(notebook))
    assert [output.text for output in outputs(notebook) if output.get("name") == "stderr"] == []
    assert len(pictures(notebook)) == len(pictures(nbformat.read(path, as_version=4)))
    assert path.read_bytes() == before


@PATHS
def test_committed_outputs_are_those_of_one_run(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output.output_type for output in outputs(notebook)}
    assert kinds <= {"execute_result", "stream", "display_data"}
    assert [output for output in outputs(notebook) if output.get("name") == "stderr"] == []
    assert len(pictures(notebook)) >= 3
    assert all(picture.startswith(b"\x89PNG") for picture in pictures(notebook))


@PATHS
def test_committed_notebooks_say_nothing_of_the_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert leaks(said(notebook)) == []
    assert leaks("\n".join(cell.source for cell in notebook.cells)) == []
    assert [cell.metadata for cell in notebook.cells if cell.metadata] == []
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}
    assert not any(b"tIME" in picture[:400] or b"Creation Time" in picture[:400] for picture in pictures(notebook))


@pytest.mark.parametrize(
    "text",
    [
        "in /home/someone/x",
        "/tmp/abc/train.npz: 4000 steps",
        r"C:\data",
        "~/x",
        "12:01:59 done",
        "2024-01-31",
        "<object at 0x7fc57f040790>",
        str(run.FOLDER),
    ],
)
def test_leaks_are_seen(text: str) -> None:
    assert leaks(text)


def test_units_and_ratios_are_no_leaks() -> None:
    assert leaks("θ̇ (rad/s), 3/4 of work/tmp, obs/action, 0x P, 12:30") == []


@PATHS
def test_the_small_settings_are_one_visible_cell(path: Path) -> None:
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    assert sum('os.environ.get("MBRL_NOTEBOOK_SMALL") == "1"' in source for source in cells) == 1


def test_the_kernel_is_this_python_whatever_is_registered(tmp_path: Path) -> None:
    path = one_cell(tmp_path / "who.ipynb", "import os, sys\nprint(sys.executable, os.environ.get('MBRL_NOTEBOOK_SMALL'))")
    for small, expected in ((True, "1"), (False, "None")):
        assert said(run.execute(path, tmp_path, small=small)).split() == [sys.executable, expected]


@pytest.mark.parametrize(
    ("source", "message"),
    [("import warnings\nwarnings.warn('old ways', DeprecationWarning)", "old ways"), ("1 / 0", "division by zero")],
)
def test_warnings_and_errors_fail(source: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError, match=message):
        run.execute(one_cell(tmp_path / "bad.ipynb", source), tmp_path, small=True)


def test_the_command_writes_full_runs_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = one_cell(tmp_path / "07_x.ipynb", "6 * 7")
    monkeypatch.setattr(run, "NOTEBOOKS", [path])
    before = path.read_bytes()
    run.main(["07", "--small"])
    assert path.read_bytes() == before
    run.main([])
    assert said(nbformat.read(path, as_version=4)).strip() == "42"
    assert capsys.readouterr().out.count("07_x.ipynb") == 2
    with pytest.raises(SystemExit):
        run.main(["08"])
    assert "expected names among 07_x, got 08" in capsys.readouterr().err
