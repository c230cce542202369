"""`PlanOutcome`: the returns that plans promise, and those that they bring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mbrl.analysis.axes import legend_beside
from mbrl.analysis.correlations import pearson, spearman
from mbrl.analysis.result import Result
from mbrl.analysis.written_numbers import rounded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME, TITLE = "plan", "What plans promise and what they bring"
_ROUNDING = 1e-6  # of the largest: float32


@dataclass(frozen=True)
class PlanOutcome(Result):
    """Promised and obtained returns of `B` decisions, float64; NaN where there is none.

    Attributes:
        plans: whether the planner makes plans; if not, it follows a policy, and has neither plan value nor open loop.
        horizon: `H` steps.
        discount: γ.
        env: `B` int64, the environment in which the decision was made.
        step: `B` int64, its step in this run.
        plan_value: `B`; see `mbrl.analysis.model_error.plan_outcome` for what each return is.
        promised: `B`.
        open_loop: `B`, NaN where a time limit cut the episode within the horizon.
        closed_loop: `B`, likewise.
        exact: whether the plans, executed open loop, earn what was promised to rounding.
        notes: see `Result`.
    """

    name: ClassVar[str] = NAME
    title: ClassVar[str] = TITLE

    plans: bool
    horizon: int
    discount: float
    env: Tensor
    step: Tensor
    plan_value: Tensor
    promised: Tensor
    open_loop: Tensor
    closed_loop: Tensor
    exact: bool
    notes: Sequence[str] = ()

    def table(self) -> dict[str, list[Any]]:
        """A row for each decision."""
        columns: dict[str, list[Any]] = {"environment": self.env.tolist(), "step": self.step.tolist()}
        for name in ("plan_value", "promised", "open_loop", "closed_loop"):
            columns[name] = getattr(self, name).tolist()
        return columns

    def summary(self) -> dict[str, Any]:
        """Means, and how far promised is from obtained: bias, root mean square, correlations."""
        return {
            "decisions": len(self.env),
            "horizon": self.horizon,
            "discount": self.discount,
            "promised_mean": _mean(self.promised),
            "plan_value_above_promised": _mean(self.plan_value - self.promised),
            "open_loop": self._against(self.open_loop),
            "closed_loop": self._against(self.closed_loop),
            "closed_above_open_loop": _mean(self.closed_loop - self.open_loop),
            "exact_to_rounding": self.exact,
        }

    def _against(self, obtained: Tensor) -> dict[str, Any] | None:
        fine = self.promised.isfinite() & obtained.isfinite()
        if not bool(fine.any()):
            return None
        promised, obtained = self.promised[fine], obtained[fine]
        off = promised - obtained
        return {
            "decisions": len(off),
            "mean": float(obtained.mean()),
            "bias": float(off.mean()),
            "rmse": float(off.square().mean().sqrt()),
            "pearson": pearson(promised, obtained, _ROUNDING),
            "spearman": spearman(promised, obtained, _ROUNDING),
        }

    def in_short(self) -> list[str]:
        """Returns promised and obtained."""
        if self.exact:
            return ["Plans bring what they promise, to rounding."]
        closed = "deciding anew at each step" if self.plans else "following the policy"
        sentences = []
        for obtained, how in ((self.open_loop, "executed as they are"), (self.closed_loop, closed)):
            found = self._against(obtained)
            if found is not None:
                sentences.append(
                    f"Promised over {self.horizon} steps: {rounded(found['mean'] + found['bias'])}; obtained {how}: "
                    f"{rounded(found['mean'])}."
                )
        return sentences or ["Nothing could be compared: see the notes."]

    def plot(self) -> Figure:
        """Obtained against promised return, for the plan executed as it is and for deciding anew at each step."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.6, 4.8), layout="constrained")
        axes = figure.subplots()
        drawn: list[Tensor] = []
        compared: tuple[tuple[Tensor, str, dict[str, Any]], ...] = (
            (self.open_loop, "the plan executed as it is", {"marker": "o", "color": "C0"}),
            (
                self.closed_loop,
                "deciding anew at each step" if self.plans else "following the policy",
                {"marker": "s", "color": "C1", "markerfacecolor": "none"},
            ),
        )
        for obtained, label, style in compared:
            fine = self.promised.isfinite() & obtained.isfinite()
            if fine.any():
                axes.plot(self.promised[fine], obtained[fine], linestyle="", markersize=4.5, label=label, **style)
                drawn += [self.promised[fine], obtained[fine]]
        if drawn:
            everything = torch.cat(drawn)
            ends = [float(everything.min()), float(everything.max())]
            axes.plot(ends, ends, color="0.3", linestyle="--", label="obtained = promised")
            legend_beside(axes)
        axes.set_xlabel(f"return that the model promises for {self.horizon} steps")
        axes.set_ylabel("return obtained in reality")
        axes.set_title(self._message())
        return figure

    def _message(self) -> str:
        found = self._against(self.open_loop if self.plans else self.closed_loop) or self._against(self.closed_loop)
        if self.exact:
            return "Plans bring what they promise, to rounding"
        if found is None:
            return "No promise could be compared"
        who, bias = "Plans promise" if self.plans else "The model promises", float(found["bias"])
        return f"{who} {abs(bias):.3g} {'more' if bias > 0 else 'less'} than reality brings, on average"


def _mean(values: Tensor) -> float | None:
    known = values[values.isfinite()]
    return float(known.mean()) if len(known) else None
