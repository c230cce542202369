"""The equations of a sparse model in its report."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mbrl.analysis import model_equations, report
from mbrl.data import make_generator
from mbrl.errors import UnsupportedError
from mbrl.models import Box, SINDy
from mbrl.testing import LinearModel
from tests.models.linear_task import TASK, linear_rows


def test_a_report_of_a_sparse_model_prints_its_equations(tmp_path: Path) -> None:
    model, rows = SINDy(members=3), linear_rows(200)
    model.build(TASK)
    model.refit(rows, make_generator("cpu", 0))
    found = report(model, rows, horizon=5, quick=True, names=["a", "b", "c"])
    first, *_, reward, explained = found.part("equations").in_short()
    assert first.startswith("Δa = (0.") and "u0" in first and reward.startswith("r = (")
    assert explained.startswith("Least is explained of the change of ")
    assert "Δb = (0." in found.write(tmp_path / "report").read_text()


def test_the_result_says_it_all_and_other_models_have_none() -> None:
    model, rows = SINDy(members=1), linear_rows(200)
    model.build(TASK)
    model.refit(rows, make_generator("cpu", 0))
    made = model_equations(model)
    table, lines = made.table(), str(model.equations()).splitlines()
    assert made.in_short() == lines and len(table["term"]) == sum(made.summary()["terms"].values())
    assert table["equation"][0] == "Δx0" and set(table["standard_deviation"]) == {0.0} and len(made.notes) == 1
    assert len(made.plot().axes[0].patches) == 4
    with pytest.raises(UnsupportedError, match=r"model_equations: expected a SINDy, whose .* got LinearModel; fit one"):
        model_equations(LinearModel())


def test_it_says_what_the_equations_leave_open() -> None:
    """On the rows of the report: an observation that the library can't explain, and rows beyond a wall."""
    rows = linear_rows(400)
    rows.next_obs = rows.next_obs.clone()
    noise = torch.randn(400, generator=make_generator("cpu", 1), dtype=rows.obs.dtype)
    rows.next_obs[:, 1] = rows.obs[:, 1] + noise
    wall = float(rows.obs[:, 0].abs().quantile(0.8))
    model = SINDy(members=1, domain=[Box([-wall, None, None], [wall, None, None])])
    model.build(TASK)
    told = model.refit(rows, make_generator("cpu", 0))
    made = model_equations(model, ["a", "b_dot", "c"], rows=rows)
    assert made.explained_least is not None and made.explained_least[0] == "b_dot" and made.explained_least[1] < 0.5
    assert made.explained_least[1] == pytest.approx(float(told["explained_least"]), abs=1e-6)
    assert made.outside == pytest.approx(float(told["outside"])) and 0.1 < made.outside < 0.6
    said = made.summary()
    assert said["explained_least_of"] == "b_dot" and said["outside"] == made.outside and said["explained"]["a"] > 0.99
    assert any(line.startswith("Least is explained of the change of b_dot: ") for line in made.in_short())
    assert made.in_short()[-1].startswith("Outside of the model's domain begin or end ")
    found = report(model, rows, horizon=5, quick=True, names=["a", "b_dot", "c"])
    assert (
        f"its equation explains {100 * made.explained_least[1]:.0f} % of the change of b_dot" in found.verdict.sentences[1]
    )
    halted = found.part("open_loop").to_json()["summary"]["rollouts_halted"]
    assert halted > 0 and f"{halted} of 400 rollouts left its domain" in found.verdict.sentences[1]
    assert "of these rows lie outside of its domain" in found.verdict.sentences[1]
    assert "give the library the terms that it lacks" in found.verdict.sentences[2]
    assert model_equations(model).summary()["explained_least"] is None, "without rows"
