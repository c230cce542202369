"""Distances of rows to the nearest of others, exact, block by block."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mbrl.data import Transitions

_QUERIES, _TABLE = 256, 16384  # rows of a block of distances: 32 MB


class NearestRows:
    """Distances to the nearest of the training rows: exact, block by block.

    Args:
        table: `T` training rows.
        episode: `T` int64, their episodes, where rows of the query's own don't count.
        columns: gives the points `B x D` of rows, between which distances are; those of observation and action by default.
        units: rows whose standard deviations are the columns' units; None takes the table's.
    """

    def __init__(
        self,
        table: Transitions,
        episode: Tensor | None,
        columns: Callable[[Transitions], Tensor] | None = None,
        units: Transitions | None = None,
    ) -> None:
        self.columns = columns or columns_of
        x = self.columns(table)
        like = x if units is None else self.columns(units).to(x.device)
        sd = like.std(0, correction=0)
        self.kept = sd > 1e-6 * like.abs().amax(0)  # a constant column says nothing of distance
        self.mean, self.sd = like.mean(0)[self.kept], sd[self.kept]
        self.points = (x[:, self.kept] - self.mean) / self.sd  # T x D
        self.squares = self.points.square().sum(-1)  # T
        self.episode = None if episode is None else episode.to(self.points.device)

    def __call__(self, rows: Transitions, episode: Tensor | None) -> Tensor:
        """The distance of each of `rows`, `B` float64 on the CPU; NaN where there is no other episode.

        Args:
            rows: `B`.
            episode: `B` int64, the episodes that `rows` are from, or None if from none of the table's.
        """
        points = (self.columns(rows).to(self.points.device)[:, self.kept] - self.mean) / self.sd  # B x D
        return torch.cat([self._block(points, episode, at) for at in range(0, len(points), _QUERIES)]).cpu()

    def _block(self, points: Tensor, episode: Tensor | None, at: int) -> Tensor:
        points = points[at : at + _QUERIES]  # q x D
        own = None if episode is None else episode[at : at + _QUERIES].to(points.device)  # q
        best = points.new_full((len(points),), torch.inf)
        index = torch.zeros(len(points), dtype=torch.int64, device=points.device)
        for start in range(0, len(self.points), _TABLE):
            block = slice(start, start + _TABLE)
            # |x − y|² − |x|², whose rounding in float64 decides only between rows that are equally near
            square = torch.addmm(self.squares[block], points, self.points[block].T, alpha=-2)  # q x t
            if own is not None and self.episode is not None:
                square.masked_fill_(own[:, None] == self.episode[block], torch.inf)
            low, where = square.min(1)
            closer = low < best
            best = torch.where(closer, low, best)
            index = torch.where(closer, where + start, index)
        distance = (points - self.points[index]).square().sum(-1).sqrt()  # exact, and 0 for a row that is in the table
        return torch.where(best < torch.inf, distance, torch.nan)


def columns_of(rows: Transitions) -> Tensor:
    """The points between which distances are: `B x (S+A)` float64."""
    return torch.cat((rows.obs.double(), rows.action.double()), -1)  # B x (S+A)
