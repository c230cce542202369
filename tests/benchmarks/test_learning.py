"""The learning benchmark's files: rows are appended once a seed, and the figure is drawn from them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "learning"


def load(name: str) -> ModuleType:
    """The script, which is no module of the package."""
    spec = importlib.util.spec_from_file_location(f"learning_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_are_appended_under_one_header(tmp_path: Path) -> None:
    run = load("run")
    path = tmp_path / "x.csv"
    run.append(path, [{"seed": 0, "return": 1.5}])
    run.append(path, [{"seed": 1, "return": 2.5}])
    assert path.read_text() == "seed,return\n0,1.5\n1,2.5\n"
    assert [row["seed"] for row in run.read(path)] == ["0", "1"]
    with pytest.raises(ValueError, match="expected the columns"):  # a row of other columns would be read as something else
        run.append(path, [{"seed": 2, "return": 2.5, "length": 3}])
    assert len(run.read(path)) == 2


def test_a_seed_that_is_recorded_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load("run")
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    run.append(tmp_path / "x.test.csv", [{"seed": 0}])
    fitted: list[str] = []
    monkeypatch.setattr(run, "fit", lambda folder, options: fitted.append(folder.name) or {})
    monkeypatch.setattr(run, "record", lambda *arguments: None)
    monkeypatch.setattr(sys, "argv", ["run.py", "x", "--config", "a.yaml", "--seeds", "0", "1", "--runs", str(tmp_path)])
    run.main()
    assert fitted == ["seed1"]


@pytest.mark.parametrize("path", sorted((FOLDER / "results").glob("*.test.csv")), ids=lambda path: path.name)
def test_committed_results_say_what_ran_where(path: Path) -> None:
    run = load("run")
    curve = run.read(path.with_name(path.name.replace(".test.", ".curve.")))
    for row in run.read(path):
        assert row["commit"] and row["hardware"] and row["versions"] and row["configs"]
        clock = "env_steps" if "env_steps" in row else "updates"  # of what learns from a dataset
        assert int(row[clock]) > 0 and float(row["test_episodes"]) >= 10
        assert any(point["seed"] == row["seed"] for point in curve)


def test_the_figure_is_drawn_from_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, draw = load("run"), load("draw")
    monkeypatch.setattr(draw, "RESULTS", tmp_path)
    rows = [{"name": "x", "seed": seed, "env_steps": step, "return": step} for seed in (0, 1) for step in (500, 1000)]
    run.append(tmp_path / "x.curve.csv", rows)
    assert draw.curves("x") == {0: [(500, 500.0), (1000, 1000.0)], 1: [(500, 500.0), (1000, 1000.0)]}
    draw.draw(["x"], "a title", tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
