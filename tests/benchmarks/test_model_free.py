"""The benchmark beside learners without a model: what it counts, and that its arms run, with tiny settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.test_learning import load


def test_evaluations_until_the_first_good_one_are_counted() -> None:
    made = load("model_free")
    said = made.first_enough([(1000, 100.0), (2000, 799.9), (3000, 800.0), (4000, 900.0)])
    assert said == "after 3,000 real steps, 9,000 with the evaluations'"
    assert made.first_enough([(1000, 100.0), (2000, 799.9)]) == "not in 2,000 real steps"


def test_an_agent_learns_in_the_equations_of_one_real_episode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = load("model_free")
    monkeypatch.setattr(made.learning, "RESULTS", tmp_path)
    for name, value in {"REAL_STEPS": 1, "SURROGATE_STEPS": 64, "BATCH": 64}.items():
        monkeypatch.setattr(made, name, value)
    asked = []
    monkeypatch.setattr(made, "evaluate", lambda agent, seed, episodes=2: asked.append((seed, episodes)) or [1.0, 3.0])
    assert made.train("ppo_surrogate", 0, made.surrogate_ppo) == "recorded"
    assert made.train("ppo_surrogate", 0, made.surrogate_ppo) == "recorded already"
    assert asked == [(10_000, 2), (20_000, 10)]  # tests are of episodes that no evaluation saw
    (row,) = made.learning.read(tmp_path / f"{made.FILE}.curve.csv")
    assert (row["env_steps"], float(row["return"])) == ("1000", 2.0)
