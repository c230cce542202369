"""`episode_ends`: the one rule by which recorded rows are episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def episode_ends(
    obs: NDArray[Any],
    next_obs: NDArray[Any] | None,
    terminated: NDArray[np.bool_],
    truncated: NDArray[np.bool_] | None,
    number: NDArray[Any] | None = None,
) -> NDArray[np.bool_]:
    """Finds the rows that are the last of their episode, `N` bool.

    A row ends its episode if a flag says so, if the following row has another number, or if the following row doesn't begin
    where this one led (compared in float32, as all rows are kept). Whatever else a source says, steps across a gap are never
    one episode. The last row always ends one.

    A source whose observations carry noise of their own hardly ever leads to exactly the following row: there a difference
    says nothing, and flags and numbers decide alone.

    Args:
        obs: `N x S`, the rows in the order in which they were recorded.
        next_obs: `N x S`, where each led, or None if the source doesn't say.
        terminated: `N`.
        truncated: `N`, or None if the source doesn't say.
        number: `N`, the source's own episode numbers, or None; equal numbers side by side belong together.
    """
    last = terminated.copy() if truncated is None else terminated | truncated  # N
    last[-1:] = True
    if len(last) < 2:
        return last
    if number is not None:
        last[:-1] |= number[1:] != number[:-1]
    if next_obs is not None and next_obs.shape == obs.shape:
        led_to, begins = next_obs[:-1].astype(np.float32), obs[1:].astype(np.float32)
        jumps = (led_to != begins).reshape(len(led_to), -1).any(1)  # N − 1
        told = truncated is not None or number is not None
        within = jumps[~last[:-1]]
        if not told or within.sum() <= len(within) / 2:
            last[:-1] |= jumps
    return last


def episode_numbers(last: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Numbers the episodes from 0 in the order of recording, `N` int64, given the rows that end one."""
    return np.concatenate([[0], np.cumsum(last)[:-1]]).astype(np.int64) if len(last) else np.zeros(0, dtype=np.int64)
