"""`Resolution`: whether float32, in which steps are stored, still sees an environment move."""

from __future__ import annotations

import warnings

import numpy as np

from mbrl.errors import MbrlWarning

_STEPS = 100  # looked at, of each batch of environments
_LEAST = 1e-6  # a smaller change is taken for rounding in the environment itself


class Resolution:
    """Watches the first steps of some environments, and warns of observations whose changes vanish in float32.

    A time of 1.7e9 s, say, is stored in steps of 128 s. That is told of columns in which most changes are lost.

    Args:
        env_id: name of the environment in the message.
    """

    def __init__(self, env_id: str) -> None:
        self.env_id = env_id
        self.rows = 0
        self._changes: list[np.ndarray] = []
        self._lost: list[np.ndarray] = []

    def watch(self, obs: np.ndarray, next_obs: np.ndarray) -> bool:
        """Looks at one more step, `N x S` float64 each; tells whether it has seen enough."""
        self._changes.append(np.abs(next_obs - obs))
        self._lost.append(obs.astype(np.float32) == next_obs.astype(np.float32))
        self.rows += len(obs)
        if self.rows < _STEPS:
            return False
        self._warn(next_obs)
        return True

    def _warn(self, now: np.ndarray) -> None:
        change, lost = np.concatenate(self._changes), np.concatenate(self._lost)  # rows x S
        moves = change > _LEAST
        share = (moves & lost).sum(0) / np.maximum(moves.sum(0), 1)  # S
        columns = np.flatnonzero((share > 0.5) & (moves.sum(0) > len(moves) // 10))
        if len(columns) == 0:
            return
        first = int(columns[0])
        value = np.float32(np.abs(now[:, first]).max())
        others = f" (so do columns {', '.join(map(str, columns[1:]))})" if len(columns) > 1 else ""
        typical = float(np.median(change[moves[:, first], first]))
        warnings.warn(
            f"{self.env_id}: expected observations whose changes float32 can hold, got column {first} near {value:.4g}, "
            f"where its numbers lie {np.spacing(value):.3g} apart, changing by {typical:.3g} in a step, so that "
            f"{100 * share[first]:.0f} % of the changes vanish{others}; subtract where it starts, with a wrapper.",
            MbrlWarning,
            4,
        )
