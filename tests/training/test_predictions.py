from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mbrl.data import Transitions
from mbrl.envs import make_task
from mbrl.errors import DataError, UnsupportedError
from mbrl.training.products import predictions
from mbrl.training.products.predictions import check_output, predict_rows
from tests.training.toy import ToyPlanner


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = ToyPlanner()
    task = make_task("Pendulum-v1")
    planner.build(task, 0)
    rows = Transitions.from_obs(torch.arange(30.0).view(10, 3), 1)
    whole = predict_rows(planner, rows, task)
    monkeypatch.setattr(predictions, "_ROWS", 4)
    parts = predict_rows(planner, rows, task)
    assert (whole["action"] == parts["action"]).all()
    assert whole["action"].shape == (10, 1)


def test_rows_of_another_task() -> None:
    planner = ToyPlanner()
    task = make_task("Pendulum-v1")
    planner.build(task, 0)
    with pytest.raises(DataError, match=r"predict\(obs\): expected shape B x 3, got 2 x 4; give a dataset of the task"):
        predict_rows(planner, Transitions.from_obs(torch.zeros(2, 4), 1), task)


def test_only_planners_and_models_predict() -> None:
    class Other:
        built_task = make_task("Pendulum-v1")
        device = "cpu"

    with pytest.raises(UnsupportedError, match="expected a planner or a dynamics model, got Other"):
        predict_rows(Other(), Transitions.from_obs(torch.zeros(2, 3), 1), Other.built_task)


def test_output_files(tmp_path: Path) -> None:
    check_output(tmp_path / "new.npz")
    with pytest.raises(DataError, match=r"ends in \.npz"):
        check_output(tmp_path / "new.csv")
    (tmp_path / "old.npz").touch()
    with pytest.raises(DataError, match=r"old\.npz exists"):
        check_output(tmp_path / "old.npz")
