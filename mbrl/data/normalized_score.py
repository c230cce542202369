"""`NormalizedScore`: returns between two reference returns, 0 for a random policy's and 100 for an expert's.

Fu2020: "D4RL: datasets for deep data-driven reinforcement learning".
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from mbrl.errors import ConfigError


@dataclass(frozen=True)
class NormalizedScore:
    """Scores of returns: 100 · (return − low) / (high − low); below 0 and above 100 are legal.

    Attributes:
        low: the return that scores 0, such as a random policy's.
        high: the return that scores 100, such as an expert's.
        source: whose references they are, to be shown beside each score.

    Raises:
        ConfigError: if `high` isn't above `low`.
    """

    low: float
    high: float
    source: str

    def __post_init__(self) -> None:
        if not self.low < self.high < float("inf") or self.low == -float("inf"):
            raise ConfigError(
                f"NormalizedScore: expected finite low < high, got {self.low} and {self.high}; give a random policy's "
                "and an expert's return."
            )

    def of(self, mean_return: float) -> float:
        """The score of a return, or of the mean of some."""
        return 100 * (mean_return - self.low) / (self.high - self.low)

    def spread(self, std: float) -> float:
        """The standard deviation of scores, given that of returns: scaled, and not moved."""
        return 100 * std / (self.high - self.low)


# of Gym's v2 tasks; the tasks of Gymnasium's v5 have other physics and rewards, and so other references
D4RL_REFERENCES = MappingProxyType(
    {
        name: NormalizedScore(low, high, f"D4RL's references of {name}, Gym v2")
        for name, low, high in (
            ("halfcheetah", -280.178953, 12135.0),
            ("hopper", -20.272305, 3234.3),
            ("walker2d", 1.629008, 4592.3),
            ("ant", -325.6, 3879.7),
        )
    }
)
