"""`trajectory_weights`: how often the steps of each recorded episode are drawn, by what the episode was worth.

Hong2023: "Harnessing mixed offline reinforcement learning datasets via trajectory weighting".
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mbrl.data.transitions import Transitions
from mbrl.errors import DataError

_RANK = 1e-9  # of a column beside the largest: below it says nothing that the others don't


def trajectory_weights(rows: Transitions, by: Literal["return", "advantage"], temperature: float) -> Tensor:
    """Probabilities of drawing each row, `N` float64 that sum to 1 (Hong2023: RW and AW of their code).

    A row has exp(g / temperature), where g, the same for all steps of an episode, is the episode's worth, moved to [0, 1] by
    the least and the greatest of the dataset. So units of reward don't matter, and an episode is drawn in proportion to its
    length times that number. Where all are worth the same, rows are drawn uniformly.

    An episode that the file ends in counts with the rewards that it has; where rewards are negative, one that is cut short
    looks better than it is.

    Args:
        rows: `N` recorded steps with `extras["episode"]`, the steps of an episode in their order.
        by: `return` takes the undiscounted return; `advantage` takes off what a linear regression of the returns on the
            episodes' first observations expects of each.
        temperature: raising it draws more evenly: all rows alike in the limit.

    Raises:
        DataError: for `advantage` of so few episodes that a regression explains any returns.
    """
    _, which = rows.extras["episode"].unique(return_inverse=True)  # N
    worth = episode_returns(rows)  # episodes
    if by == "advantage":
        first = torch.full((len(worth),), len(rows), dtype=torch.int64).scatter_reduce(
            0, which, torch.arange(len(rows)), "amin"
        )
        obs = rows.obs[first].double()  # episodes x S
        obs = obs - obs.mean(0)
        scale = obs.abs().amax(0)
        obs = obs / torch.where(scale > 0, scale, 1.0)  # so that no unit of an observation decides what counts as zero
        known = torch.cat([torch.ones_like(obs[:, :1]), obs], -1)
        free = int(torch.linalg.matrix_rank(known, rtol=_RANK))
        if 1 < len(worth) <= free:
            raise DataError(
                f"trajectory_weights(by='advantage'): expected more than {free} episodes, since a regression on their first "
                f"observations explains any returns of that many, got {len(worth)}; record more, or take weights: return."
            )
        worth = worth - known @ (torch.linalg.pinv(known, rtol=_RANK) @ worth)
    spread = worth.max() - worth.min()
    none = spread <= 1e-6 * episode_returns(rows).abs().max()
    # rewards are float32: a spread within their rounding is none
    g = torch.where(none, 0.0, (worth - worth.min()) / torch.where(none, 1.0, spread))  # episodes
    return (g[which] / temperature).softmax(0)


def episode_returns(rows: Transitions) -> Tensor:
    """Undiscounted returns of the episodes that `extras["episode"]` numbers, in the order of their numbers, float64."""
    episodes, which = rows.extras["episode"].unique(return_inverse=True)
    return torch.zeros(len(episodes), dtype=torch.float64).index_add_(0, which, rows.reward.double())


def unfinished(rows: Transitions) -> Tensor:
    """The numbers of episodes whose last row neither terminated nor was truncated, int64."""
    episode = rows.extras["episode"]
    done = episode[rows.terminated | rows.truncated].unique()
    numbers = episode.unique()
    return numbers[~torch.isin(numbers, done)]
