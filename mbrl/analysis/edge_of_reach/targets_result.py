"""`EdgeOfReach`: values of states that learning bootstraps from, at the edge of reach and within it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mbrl.analysis.axes import legend_beside
from mbrl.analysis.result import Result
from mbrl.analysis.written_numbers import rounded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WITHIN, NEAR, EDGE = "within reach", "end of a rollout, near fitted states", "edge of reach"
_LINES = {WITHIN: ("k", "-"), NEAR: ("0.5", ":"), EDGE: ("C3", "--")}


@dataclass(frozen=True)
class EdgeOfReach(Result):
    """Targets of imagined steps that don't end the task, `B` of them.

    Attributes:
        next_obs: `B x S`, the states whose values the targets ask for, environment units.
        depth: `B` int64, steps before in the rollout.
        cut: `B` bool, whether the rollout goes no further though nothing ended it.
        distance: `B` float64, from where the step leads to the nearest fitted state, in standard deviations of the recorded
            observations; 0 where the rollout goes on, since that state is fitted itself.
        value: `B` float64, the least of the target critics' values there.
        penalty: `B` float64, the critics' mean less their least (Sims2024's effective penalty).
        critics: `J`.
        threshold: distance beyond which an end of a rollout is at the edge.
        length: k.
        attainable: the largest reward met, or 0, for ever: no value without entropy is higher. None without discount.
        notes: see `Result`.
    """

    name: ClassVar[str] = "edge_of_reach"
    title: ClassVar[str] = "Values at the edge of reach"

    next_obs: Tensor
    depth: Tensor
    cut: Tensor
    distance: Tensor
    value: Tensor
    penalty: Tensor
    critics: int
    threshold: float
    length: int
    attainable: float | None
    notes: Sequence[str] = ()

    @property
    def edge(self) -> Tensor:
        """`B` bool, the targets at the edge of reach."""
        return self.cut & (self.distance > self.threshold)

    def groups(self) -> dict[str, Tensor]:
        """The targets within reach, near it, and at its edge, `B` bool each, of which each target is in one."""
        return {WITHIN: ~self.cut, NEAR: self.cut & ~self.edge, EDGE: self.edge}

    def table(self) -> dict[str, list[Any]]:
        """A row for each group, and one for each depth: how many, and their values and penalties."""
        depths = {f"depth {depth}": self.depth == depth for depth in range(self.length)}
        columns: dict[str, list[Any]] = {"targets_of": [], "targets": [], "share": [], "share_at_edge": []}
        columns |= {name: [] for name in ("value_mean", "value_min", "value_max", "share_unattainable", "penalty_mean")}
        for name, where in {**self.groups(), **depths}.items():
            found = {"targets_of": name, "targets": int(where.sum()), "share": _mean(where)}
            found |= {"share_at_edge": _mean(self.edge[where]), **self._of(where)}
            for column, cells in columns.items():
                cells.append(found[column])
        return columns

    def _of(self, where: Tensor) -> dict[str, float | None]:
        value = self.value[where]
        high = None if self.attainable is None else _mean(value > self.attainable)
        return {
            "value_mean": _mean(value),
            "value_min": float(value.min()) if len(value) else None,
            "value_max": float(value.max()) if len(value) else None,
            "share_unattainable": high,
            "penalty_mean": _mean(self.penalty[where]),
        }

    def summary(self) -> dict[str, Any]:
        """The shares, and what the critics say at the edge and of all other targets."""
        return {
            "targets": len(self.value),
            "length": self.length,
            "critics": self.critics,
            "threshold_standardised": self.threshold,
            "share_of_ends": _mean(self.cut),
            "share_at_edge": _mean(self.edge),
            "attainable": self.attainable,
            "others": self._of(~self.edge),
            "edge": self._of(self.edge),
        }

    def in_short(self) -> list[str]:
        """How much rests on the edge, and what it is said to be worth."""
        share, others, out = _mean(self.edge), self._of(~self.edge), self._of(self.edge)
        if not share:
            return ["No target lies at the edge of reach: wherever rollouts end, others step from."]
        said = [
            f"{100 * share:.2g} % of the targets lie at the edge of reach, further than {rounded(self.threshold)} standard "
            "deviations from every fitted state."
        ]
        if others["value_mean"] is not None and out["value_mean"] is not None:
            said.append(
                f"The critics' least value is {rounded(out['value_mean'])} there on average, and "
                f"{rounded(others['value_mean'])} elsewhere."
            )
        if out["share_unattainable"]:
            said.append(
                f"{100 * out['share_unattainable']:.2g} % of those at the edge lie above {rounded(self.attainable or 0.0)}, "
                "more than rewards can add up to."
            )
        return said

    def figures(self) -> list[Figure]:
        """Values, and how far the critics are apart."""
        return [self.plot(), self.plot_penalty()]

    def plot(self) -> Figure:
        """The distribution of values within reach and at its edge."""
        figure, axes = self._distributions(self.value)
        axes.set_xlabel("least value of the target critics (units of return)")
        if self.attainable is not None:
            axes.axvline(self.attainable, color="0.6", linewidth=0.8)
            axes.annotate(
                "most that rewards allow", (self.attainable, 0.5), xycoords=("data", "axes fraction"), fontsize=8,
                color="0.4", rotation=90, ha="right", va="center",
            )  # fmt: skip
        share = 100 * (_mean(self.edge) or 0.0)
        axes.set_title(f"What targets are worth: {share:.2g} % of them lie at the edge of reach")
        return figure

    def plot_penalty(self) -> Figure:
        """The distribution of the critics' disagreement within reach and at its edge."""
        figure, axes = self._distributions(self.penalty)
        axes.set_xlabel(f"mean less least value of {self.critics} critics (units of return)")
        axes.set_title("How far the critics are apart")
        return figure

    def _distributions(self, numbers: Tensor) -> tuple[Figure, Axes]:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.4, 3.8), layout="constrained")
        axes = figure.subplots()
        for name, where in self.groups().items():
            if bool(where.any()):
                known = numbers[where].sort().values
                share = torch.arange(1, len(known) + 1, dtype=torch.float64) / len(known)
                colour, line = _LINES[name]
                axes.step(known, share, where="post", color=colour, linestyle=line, label=f"{name} ({len(known)})")
        axes.set_ylabel("share of targets below")
        legend_beside(axes)
        return figure, axes


def _mean(numbers: Tensor) -> float | None:
    return float(numbers.double().mean()) if len(numbers) else None
