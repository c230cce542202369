"""The benchmark of an environment of one's own, with tiny settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mbrl.cli import main
from tests.benchmarks.test_learning import load
from tests.imported_anew import imported_anew


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    with imported_anew():
        yield


def test_what_init_writes_is_trained_and_recorded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parents[2] / "examples")])
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    made = load("own_environment")
    monkeypatch.setattr(made.learning, "RESULTS", tmp_path)
    ran: list[str] = []

    def mbrl(arguments: Sequence[str], log: Path) -> float:
        """In this process."""
        ran.append(next(word for word in arguments if word in ("init", "fit", "test")))
        assert main(arguments) == 0
        return 1.0

    monkeypatch.setattr(made.learning, "mbrl", mbrl)
    small = ["--data.init_args.steps=60", "--model.init_args.warmup_steps=40", "--model.init_args.updates_per_step=1",
             "--model.init_args.dynamics.init_args.max_updates=3", "--data.init_args.eval_episodes=1",
             "--data.init_args.test_episodes=2", "--trainer.eval_every=30"]  # fmt: skip
    command = ["--seeds", "5", "--runs", str(tmp_path / "runs"), *small]
    made.main(command)
    assert ran == ["init", "fit", "test"]
    (row,) = made.learning.read(tmp_path / "own-environment.test.csv")
    assert (row["seed"], row["env_steps"], float(row["test_episodes"])) == ("5", "60", 2.0) and row["commit"]
    assert len(made.learning.read(tmp_path / "own-environment.curve.csv")) == 2
    made.main(command)
    assert len(ran) == 3
