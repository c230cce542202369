"""Scores between reference returns."""

from __future__ import annotations

import pytest

from mbrl.data import D4RL_REFERENCES, NormalizedScore
from mbrl.errors import ConfigError


@pytest.mark.check("offline-9.5")
@pytest.mark.parametrize(
    ("name", "score", "spread"),
    [("halfcheetah", 10.311, 0.805), ("hopper", 31.349, 3.073), ("walker2d", 21.748, 2.178), ("ant", 31.522, 2.378)],
)
def test_d4rl_scores(name: str, score: float, spread: float) -> None:
    """Of a return of 1000, the references themselves, and a standard deviation of 100."""
    found = D4RL_REFERENCES[name]
    assert found.of(1000) == pytest.approx(score, abs=5e-4) and found.spread(100) == pytest.approx(spread, abs=5e-4)
    assert found.of(found.low) == 0 and found.of(found.high) == 100
    assert "Gym v2" in found.source


def test_references_in_the_wrong_order_are_refused() -> None:
    for low, high in ((1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (0.0, float("inf"))):
        with pytest.raises(ConfigError, match="expected finite low < high"):
            NormalizedScore(low, high, "ours")
