"""The packing of trained runs, with tiny settings."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

import mbrl
from mbrl.cli import main
from tests.benchmarks.test_learning import load


def test_packed_runs_act_where_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = load("trained_runs")

    def run(arguments: Sequence[str], log: Path) -> float:
        """In this process."""
        assert main(arguments) == 0
        return 1.0

    monkeypatch.setattr(made.learning, "mbrl", run)
    small = ["--data.init_args.steps=60", "--model.init_args.warmup_steps=40", "--model.init_args.updates_per_step=1",
             "--model.init_args.dynamics.init_args.max_updates=3", "--data.init_args.eval_episodes=1",
             "--data.init_args.test_episodes=2", "--trainer.eval_every=30"]  # fmt: skip
    for _ in range(2):  # a second call packs what is trained
        file = made.packed({"pendulum": "mbpo/pendulum"}, tmp_path / "runs", tmp_path / "build", small)
    with zipfile.ZipFile(file) as archive:
        assert not any(name.endswith((".npz", "buffer-real.pt")) for name in archive.namelist())
        archive.extractall(tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere" / "trained-runs" / "pendulum"
    assert "over 2 test episodes" in (folder / "README.md").read_text()
    said, as_trained = (
        mbrl.load_policy(each).predict([1.0, 0.0, 0.0]) for each in (folder, tmp_path / "runs/pendulum/seed0")
    )
    assert said.shape == (1,) and (said == as_trained).all()
