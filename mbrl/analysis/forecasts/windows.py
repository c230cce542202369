"""`Windows`: stretches of real episodes, and where they were."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mbrl.analysis.episodes import windows
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
    rows = windows(numbered(episodes), horizon, most, generator)
    place = rows.extras.pop(PLACE)[:, 0].cpu()  # B x 2
    places = sum(max(0, len(episode) - horizon + 1) for episode in episodes)
    return Windows(rows, place[:, 0], place[:, 1], places)


PLACE = "place in the episodes"


def numbered(episodes: list[Transitions]) -> list[Transitions]:
    """Episodes whose rows tell where they are: `extras[PLACE]`, `T x 2` int64, the episode's number and the step in it."""
    marked = []
    for number, episode in enumerate(episodes):
        step = torch.arange(len(episode))
        place = torch.stack([torch.full_like(step, number), step], -1).to(episode.obs.device)
        marked.append(replace(episode, extras={**episode.extras, PLACE: place}))
    return marked


def check_episodes(who: str, episodes: list[Transitions]) -> None:
    """Refuses an empty list, and rows with numbers that aren't finite.

    Raises:
        DataError: naming the episode.
    """
    if not episodes:
        raise DataError(f"{who}: expected real episodes, got none; give rows to split_episodes.")
    for number, episode in enumerate(episodes):
        if not all(bool(part.isfinite().all()) for part in (episode.obs, episode.action, episode.next_obs)):
            raise DataError(
                f"{who}: expected finite observations and actions, got others in episode {number}; leave that episode out."
            )
