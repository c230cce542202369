"""The equations of a sparse model in its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbrl.analysis import model_equations, report
from mbrl.data import make_generator
from mbrl.errors import UnsupportedError
from mbrl.models import SINDy
from mbrl.testing import LinearModel
from tests.models.linear_task import TASK, linear_rows


def test_a_report_of_a_sparse_model_prints_its_equations(tmp_path: Path) -> None:
    model, rows = SINDy(members=3), linear_rows(200)
    model.build(TASK)
    model.refit(rows, make_generator("cpu", 0))
    found = report(model, rows, horizon=5, quick=True, names=["a", "b", "c"])
    first, *_, last = found.part("equations").in_short()
    assert first.startswith("Δa = (0.") and "u0" in first and last.startswith("r = (")
    assert "Δb = (0." in found.write(tmp_path / "report").read_text()


def test_the_result_says_it_all_and_other_models_have_none() -> None:
    model, rows = SINDy(members=1), linear_rows(200)
    model.build(TASK)
    model.refit(rows, make_generator("cpu", 0))
    made = model_equations(model)
    table, lines = made.table(), str(model.equations()).splitlines()
    assert made.in_short() == lines and len(table["term"]) == sum(made.summary().values())
    assert table["equation"][0] == "Δx0" and set(table["standard_deviation"]) == {0.0} and len(made.notes) == 1
    assert len(made.plot().axes[0].patches) == 4
    with pytest.raises(UnsupportedError, match=r"model_equations: expected a SINDy, whose .* got LinearModel; fit one"):
        model_equations(LinearModel())
