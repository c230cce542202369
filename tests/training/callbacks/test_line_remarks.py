"""Sentences on metric lines are told when they begin to hold, and a measure that never is finite ends a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mbrl.errors import DivergedError
from mbrl.training.callbacks.line_remarks import LineRemarks
from tests.training.toy import ToyPlanner, data, lines, trainer


def test_a_sentence_is_told_when_it_begins_to_hold() -> None:
    remarks = LineRemarks()
    assert remarks.of({"model/ends": 1.0, "model/explained": 0.9}, "env_steps 10") == []
    (ends,) = remarks.of({"model/ends": 0.0}, "env_steps 20")
    assert ends.startswith("no episode ended in the data")
    (useless,) = remarks.of({"model/ends": 0.0, "model/explained": -0.5}, "env_steps 30")
    assert "(model/explained -0.5 at env_steps 30)" in useless
    assert remarks.of({"model/ends": 2.0, "model/explained": 0.5}, "env_steps 40") == []
    assert len(remarks.of({"model/ends": 0.0}, "env_steps 50")) == 1


def test_measures_that_are_not_finite_are_told_once_in_a_run() -> None:
    remarks = LineRemarks()
    (said,) = remarks.of({"rollout/unmeasured": 0.0, "batch/unmeasured": 0.015}, "updates 100")
    assert said.startswith("a measure of uncertainty isn't finite on 1.5 % of model rows of batches (batch/unmeasured at")
    assert remarks.of({"batch/unmeasured": 0.0}, "updates 200") == []
    assert remarks.of({"batch/unmeasured": 0.5}, "updates 300") == []
    assert "steps of rollouts" in remarks.of({"rollout/unmeasured": 0.1}, "updates 400")[0]


def test_a_run_whose_measure_is_never_finite_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tick = ToyPlanner.tick

    def unmeasured(self: ToyPlanner, experience: object) -> None:
        tick(self, experience)
        self.metrics.add({"rollout/unmeasured": torch.tensor(1.0)})

    monkeypatch.setattr(ToyPlanner, "tick", unmeasured)
    with pytest.raises(DivergedError, match=r"got none up to step \d+ \(rollout/unmeasured is 1\); lower"):
        trainer(tmp_path).fit(ToyPlanner(), data(40))
    assert lines(tmp_path)[-1]["rollout/unmeasured"] == 1.0
