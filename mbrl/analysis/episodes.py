"""`split_episodes` and `windows`: real rows and episodes as the analyses look at them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mbrl.arguments import check_argument
from mbrl.data import Transitions, episode_ends
from mbrl.errors import DataError


def split_episodes(rows: Transitions) -> list[Transitions]:
    """Rows in order as episodes, each `T` rows in a row that follow one another.

    An episode ends where `extras["episode"]` changes, after `terminated` or `truncated`, and wherever a row doesn't begin at
    the observation where the last one led (`mbrl.data.episode_ends`).

    Args:
        rows: `B` transitions in the order in which they happened, one episode after the other.
    """
    number = rows.extras.get("episode")
    obs, next_obs, terminated, truncated = (
        column.cpu().numpy() for column in (rows.obs, rows.next_obs, rows.terminated, rows.truncated)
    )
    ends = episode_ends(obs, next_obs, terminated, truncated, None if number is None else number.cpu().numpy())
    lasts = np.flatnonzero(ends).tolist()
    firsts = [0, *(last + 1 for last in lasts[:-1])]
    return [rows.select(slice(first, last + 1)) for first, last in zip(firsts, lasts, strict=True)]


def check_rows(who: str, rows: Transitions) -> None:
    """Refuses recorded rows that can't be learned from.

    Raises:
        ConfigError: if they are no `Transitions`.
        DataError: if there are none, or one isn't finite.
    """
    check_argument(f"{who}(rows=…)", rows, Transitions)
    if not len(rows):
        raise DataError(f"{who}: expected recorded rows, got none; give those of a dataset.")
    for name in ("obs", "action", "reward", "next_obs"):
        if not bool(torch.isfinite(getattr(rows, name)).all()):
            raise DataError(f"{who}: expected finite rows, got others in {name}; leave them out.")


def first_states(rows: Transitions) -> Tensor:
    """The state in which each recorded episode begins, `N x S`; `rows` as in `split_episodes`."""
    return torch.stack([episode.obs[0] for episode in split_episodes(rows)])


def check_longest(episodes: list[Transitions], horizon: int) -> int:
    """The steps of the longest episode.

    Raises:
        DataError: if they are fewer than `horizon`.
    """
    longest = max((len(episode) for episode in episodes), default=0)
    if longest < horizon:
        raise DataError(
            f"expected an episode of at least {horizon} steps, the horizon, got none longer than {longest}; lower the "
            "horizon, or give data with longer episodes."
        )
    return longest


def windows(episodes: list[Transitions], horizon: int, most: int, generator: torch.Generator) -> Transitions:
    """Windows of `horizon` steps of real episodes: `B x H` rows.

    Args:
        episodes: from `split_episodes`.
        horizon: `H`.
        most: windows at most; drawn uniformly over all places where one fits, without replacement.
        generator: draws them.

    Raises:
        DataError: if no episode is as long as the horizon.
    """
    number, first, _ = draw_places(episodes, horizon, most, generator)
    return windows_at(episodes, horizon, number, first)


def draw_places(
    episodes: list[Transitions], horizon: int, most: int, generator: torch.Generator
) -> tuple[list[int], list[int], int]:
    """Where windows begin; arguments and errors as of `windows`.

    Returns:
        The numbers of their episodes, their first steps in these, and how many places there are.
    """
    check_longest(episodes, horizon)
    places = np.array([max(0, len(episode) - horizon + 1) for episode in episodes])  # of each episode
    before = np.concatenate([[0], places.cumsum()])  # episodes + 1
    drawn = torch.randperm(int(before[-1]), generator=generator, device=generator.device)[:most].cpu().numpy()  # B
    number = np.searchsorted(before, drawn, side="right") - 1  # B
    return number.tolist(), (drawn - before[number]).tolist(), int(before[-1])


def windows_at(episodes: list[Transitions], horizon: int, number: list[int], first: list[int]) -> Transitions:
    """The windows `B x H` of episodes by their numbers, which begin at these steps."""
    parts = [episodes[i].select(slice(start, start + horizon)) for i, start in zip(number, first, strict=True)]

    def stack(name: str) -> Tensor:
        return torch.stack([getattr(part, name) for part in parts])  # B x H …

    shared = set.intersection(*(set(part.extras) for part in parts))
    return Transitions(
        obs=stack("obs"),
        action=stack("action"),
        reward=stack("reward"),
        next_obs=stack("next_obs"),
        terminated=stack("terminated"),
        truncated=stack("truncated"),
        extras={name: torch.stack([part.extras[name] for part in parts]) for name in sorted(shared)},
    )
