"""`BanditSelection`: the true return of the policy that a bandit has chosen, against the episodes that it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from mbrl.analysis.axes import legend_beside
from mbrl.analysis.result import Result
from mbrl.analysis.written_numbers import rounded

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class BanditSelection(Result):
    """Worth of choosing by real episodes.

    Attributes:
        chosen: `repeats x pulls` float64, the true mean return of the policy with the best mean after each pull.
        means: float64, the true mean return of each policy.
        policies: number of them that each repeat drew.
        bonus: α of UCB.
    """

    name: ClassVar[str] = "bandit"
    title: ClassVar[str] = "Return of the chosen policy against real episodes spent"

    chosen: Tensor
    means: Tensor
    policies: int
    bonus: float

    def table(self) -> dict[str, list[Any]]:
        """A row for each number of pulls: mean over repeats of the chosen policy's true return, and its quartiles."""
        return {
            "pulls": list(range(1, self.chosen.shape[1] + 1)),
            "return": self.chosen.mean(0).tolist(),
            "return_q25": self.chosen.quantile(0.25, 0).tolist(),
            "return_q75": self.chosen.quantile(0.75, 0).tolist(),
        }

    def summary(self) -> dict[str, Any]:
        """The return without a choice, after all pulls, and of the best policy there is."""
        return {
            "policies": len(self.means),
            "drawn": self.policies,
            "pulls": self.chosen.shape[1],
            "bonus": self.bonus,
            "return_of_a_policy_at_random": float(self.means.mean()),
            "return_after_all_pulls": float(self.chosen[:, -1].mean()),
            "return_of_the_best": float(self.means.max()),
        }

    def in_short(self) -> list[str]:
        """The three numbers that matter."""
        said = self.summary()
        return [
            f"A policy at random earns {rounded(said['return_of_a_policy_at_random'])}, the one chosen by {said['pulls']} "
            f"real episodes {rounded(said['return_after_all_pulls'])}, the best of {said['policies']} "
            f"{rounded(said['return_of_the_best'])}."
        ]

    def plot(self) -> Figure:
        """The chosen policy's return against the number of pulls."""
        from matplotlib.figure import Figure

        columns = self.table()
        figure = Figure(figsize=(5.4, 3.8), layout="constrained")
        axes = figure.subplots()
        axes.plot(columns["pulls"], columns["return"], color="C0", label="chosen policy, mean")
        axes.fill_between(columns["pulls"], columns["return_q25"], columns["return_q75"], color="C0", alpha=0.2)
        axes.axhline(float(self.means.max()), color="k", linestyle="--", label="best policy there is")
        axes.axhline(float(self.means.mean()), color="k", linestyle=":", label="a policy at random")
        axes.set_xlabel("real episodes spent on the choice")
        axes.set_ylabel("true mean return of the choice")
        axes.set_title("What choosing among trained policies costs")
        legend_beside(axes)
        return figure
