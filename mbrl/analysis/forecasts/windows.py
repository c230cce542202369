"""`Windows`: stretches of real episodes, and where they were."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mbrl.analysis.episodes import draw_places, windows_at
from mbrl.data import Transitions
from mbrl.errors import DataError


@dataclass
class Windows:
    """Stretches of real episodes.

    Attributes:
        rows: `B x H` transitions.
        episode: `B` int64, the number in the list that each is from.
        first: `B` int64, its first step in there.
        places: how many different ones there are.
    """

    rows: Transitions
    episode: Tensor
    first: Tensor
    places: int

    def __len__(self) -> int:
        return len(self.rows)


def place_windows(episodes: list[Transitions], horizon: int, most: int, generator: torch.Generator) -> Windows:
    """`windows`, and where they were.

    Args:
        episodes: as of `windows`, like all that follow.
        horizon: `H`.
        most: windows at most.
        generator: draws them.

    Raises:
        DataError: if no episode is as long as the horizon.
    """
    number, first, places = draw_places(episodes, horizon, most, generator)
    rows = windows_at(episodes, horizon, number, first)
    return Windows(rows, torch.tensor(number, dtype=torch.int64), torch.tensor(first, dtype=torch.int64), places)


PLACE = "place in the episodes"


def numbered(episodes: list[Transitions]) -> Transitions:
    """All rows, with where they are in `extras[PLACE]`, `B x 2` int64: the episode's number and the step in it."""
    rows = Transitions.cat(episodes)
    steps = torch.tensor([len(episode) for episode in episodes], dtype=torch.int64)  # of each episode
    number = torch.arange(len(episodes)).repeat_interleave(steps)  # B
    step = torch.arange(len(rows)) - (steps.cumsum(0) - steps)[number]  # B
    return replace(rows, extras={**rows.extras, PLACE: torch.stack([number, step], -1).to(rows.obs.device)})


_NUMBERS = ("obs", "action", "next_obs")


def check_episodes(who: str, episodes: list[Transitions]) -> None:
    """Refuses an empty list, and rows with numbers that aren't finite.

    Raises:
        DataError: naming the episode.
    """
    if not episodes:
        raise DataError(f"{who}: expected real episodes, got none; give rows to split_episodes.")
    if all(bool(torch.cat([getattr(each, name) for each in episodes]).isfinite().all()) for name in _NUMBERS):
        return
    for number, episode in enumerate(episodes):
        if not all(bool(getattr(episode, name).isfinite().all()) for name in _NUMBERS):
            raise DataError(
                f"{who}: expected finite observations and actions, got others in episode {number}; leave that episode out."
            )
