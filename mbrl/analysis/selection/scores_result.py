"""`ScoreSelection`: how well scores without real steps rank policies, and what choosing by them costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mbrl.analysis.correlations import mean_ranks, spearman
from mbrl.analysis.result import Result
from mbrl.analysis.written_numbers import rounded

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ScoreSelection(Result):
    """Scores of `K` policies beside their true returns.

    Attributes:
        scores: by name, `K` float64, the higher the better.
        returns: `K` float64, true mean returns.
        names: of the policies.
        notes: see `Result`.
    """

    name: ClassVar[str] = "scores"
    title: ClassVar[str] = "Scores without real steps against true returns"

    scores: Mapping[str, Tensor]
    returns: Tensor
    names: Sequence[str]
    notes: Sequence[str] = ()

    def rank_correlation(self, name: str) -> float | None:
        """Spearman's correlation of a score with the returns; None where one of them is constant."""
        return spearman(_ranks(self.scores[name]), self.returns)

    def chosen(self, name: str) -> int:
        """The place of the policy that the score chooses, the first of equals."""
        return int(_ranks(self.scores[name]).argmax())

    def table(self) -> dict[str, list[Any]]:
        """A row for each policy: its true return, and each score."""
        return {"policy": list(self.names), "return": self.returns.tolist()} | {
            name: each.tolist() for name, each in self.scores.items()
        }

    def summary(self) -> dict[str, Any]:
        """Rank correlation of each score, what its choice earns, and how much less than the best that is."""
        found: dict[str, Any] = {
            "policies": len(self.returns),
            "return_of_a_policy_at_random": float(self.returns.mean()),
            "return_of_the_best": float(self.returns.max()),
        }
        for name in self.scores:
            earned = float(self.returns[self.chosen(name)])
            found[name] = {
                "rank_correlation": self.rank_correlation(name),
                "chosen": self.names[self.chosen(name)],
                "return_of_the_chosen": earned,
                "regret": found["return_of_the_best"] - earned,
            }
        return found

    def in_short(self) -> list[str]:
        """A sentence for each score."""
        told = self.summary()
        said = []
        for name in self.scores:
            found = told[name]
            rank = "undefined" if found["rank_correlation"] is None else f"{found['rank_correlation']:.2f}"
            said.append(
                f"{name}: rank correlation {rank}; its choice earns {rounded(found['return_of_the_chosen'])}, the best of "
                f"{told['policies']} {rounded(told['return_of_the_best'])}, one at random "
                f"{rounded(told['return_of_a_policy_at_random'])}."
            )
        return said

    def plot(self) -> Figure:
        """The rank of each policy by each score against its rank by true return."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(0.6 + 3.2 * len(self.scores), 3.6), layout="constrained")
        panels = figure.subplots(1, len(self.scores), squeeze=False)[0]
        true = mean_ranks(self.returns)
        for axes, (name, each) in zip(panels, self.scores.items(), strict=True):
            rank, best = mean_ranks(_ranks(each)), self.chosen(name)
            axes.plot([1, len(true)], [1, len(true)], color="0.7", linewidth=0.8)
            axes.plot(rank, true, "o", color="C0", markersize=4)
            axes.plot(rank[best], true[best], "o", color="k", markersize=9, fillstyle="none", label="chosen")
            correlation = self.rank_correlation(name)
            told = "undefined" if correlation is None else f"{correlation:.2f}"
            axes.set_title(f"{name}\nrank correlation {told}")
            axes.set_xlabel("rank by the score")
        panels[0].set_ylabel("rank by true return")
        panels[0].legend(loc="upper left")
        return figure


def _ranks(score: Tensor) -> Tensor:
    """The score as numbers that can be ranked: what isn't finite below all others."""
    known = torch.isfinite(score)
    low = score[known].min() - 1 - score[known].abs().max() if bool(known.any()) else torch.zeros((), dtype=torch.float64)
    return torch.where(known, score, low)
