"""`DatasetQuality`: returns, trajectory quality and coverage of recorded steps.

Schweighofer2022: "A dataset perspective on offline reinforcement learning" (TQ, SACo).
Hong2023: "Harnessing mixed offline reinforcement learning datasets via trajectory weighting" (positive-sided variance).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mbrl.data.trajectory_weights import episode_returns
from mbrl.data.transitions import Transitions

_BINS = 10


@dataclass(frozen=True)
class DatasetQuality:
    """Numbers that say how good and how varied a dataset is; none depends on units but the first three.

    Attributes:
        episodes: how many there are.
        mean: their mean undiscounted return.
        quantiles: 0, 25, 50, 75 and 100 % of their returns.
        tq: (mean − worst) / (best − worst) of the returns, in [0, 1]; NaN where all are alike. Schweighofer2022 relates the
            mean to a random and an expert policy's in place of the worst and the best episode (`between`).
        saco: different cells of observations and actions, per step, in (0, 1]; see `occupied_cells`. Schweighofer2022
            divides by the count of a replay dataset of the same task (`reference`).
        cells: that count.
        bins: cells along each column.
        positive_variance: mean of max(g − mean g, 0)² over episodes (Hong2023), g the return between 0 (worst) and 1 (best).
    """

    episodes: int
    mean: float
    quantiles: tuple[float, ...]
    tq: float
    saco: float
    cells: int
    bins: int
    positive_variance: float

    @staticmethod
    def of(
        rows: Transitions, *, reference: Transitions | None = None, between: tuple[float, float] | None = None
    ) -> DatasetQuality:
        """Measures `rows`.

        Args:
            rows: recorded steps with `extras["episode"]`.
            reference: the steps that coverage is compared with, such as a replay dataset; None takes one cell per step.
            between: returns that TQ takes for 0 and 1, such as a random and an expert policy's; None takes the worst and the
                best episode's.
        """
        returns = episode_returns(rows)  # episodes
        low, high = float(returns.min()), float(returns.max())
        g = (returns - low) / (high - low) if high > low else torch.zeros_like(returns)
        worst, best = between or (low, high)
        mean = float(returns.mean())
        cells = occupied_cells(rows, reference)
        return DatasetQuality(
            episodes=len(returns),
            mean=mean,
            quantiles=tuple(returns.quantile(torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=torch.float64)).tolist()),
            tq=(mean - worst) / (best - worst) if best > worst else float("nan"),
            saco=cells / (len(rows) if reference is None else occupied_cells(reference)),
            cells=cells,
            bins=_BINS,
            positive_variance=float((g - g.mean()).clamp(min=0).square().mean()),
        )

    def to_json(self) -> dict[str, Any]:
        """The numbers as plain data; NaN is None."""
        return {**asdict(self), "quantiles": list(self.quantiles), "tq": None if self.tq != self.tq else self.tq}


def occupied_cells(rows: Transitions, reference: Transitions | None = None) -> int:
    """Counts the different cells that observations and actions lie in.

    Each column of both is cut into 10 cells of equal width between its least and its greatest number; columns that are
    constant have one.

    Args:
        rows: whose cells are counted.
        reference: the steps that the cells are made for; None takes `rows`. What lies beyond is in the outermost.
    """
    of = _columns(rows if reference is None else reference)
    low, high = of.amin(0), of.amax(0)  # S + A
    width = torch.where(high > low, high - low, torch.inf)  # of what is constant, one for all numbers
    cell = ((_columns(rows) - low) / width * _BINS).floor().clamp(0, _BINS - 1).to(torch.uint8)  # N x (S + A)
    return len(cell.unique(dim=0))


def _columns(rows: Transitions) -> Tensor:
    return torch.cat([rows.obs, rows.action], -1).double()
