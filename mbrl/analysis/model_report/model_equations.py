"""`model_equations`: the equations of a sparse model, as a part of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from mbrl.analysis.forecasts.normalised_errors import dimension_names
from mbrl.analysis.result import Result
from mbrl.analysis.written_numbers import in_percent, number
from mbrl.data import Transitions
from mbrl.errors import UnsupportedError
from mbrl.models import DynamicsModel, SINDy
from mbrl.models.fitting.explained import explained_shares
from mbrl.models.sindy.equations import Equation, Equations
from mbrl.training.output import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_JUDGED = 20_000  # rows at most, evenly spread
_SHOWN = 12  # terms of an equation that are written out; the table has all


@dataclass
class ModelEquations(Result):
    """Result of `model_equations`.

    Attributes:
        equations: of each observation, and of the reward if it is learned, in environment units.
        notes: what belongs beside them.
        explained: by observation, the share of its change in the rows that its equation explains, as `model/explained` of a
            fit; None of one that hardly moves, and empty without rows.
        outside: share of the rows that begin or end outside of the model's `domain`, which are left out of that; None if it
            has no outside.
    """

    name = "equations"
    title = "Equations"

    equations: Equations
    notes: Sequence[str] = ()
    explained: Mapping[str, float | None] = field(default_factory=dict)
    outside: float | None = None

    @property
    def explained_least(self) -> tuple[str, float] | None:
        """The observation of whose change least is explained, and the share; None where nothing is known."""
        known = [(name, share) for name, share in self.explained.items() if share is not None]
        return min(known, key=lambda pair: pair[1], default=None)

    def table(self) -> dict[str, list[Any]]:
        rows = [(one.left, *term) for one in self.equations.equations for term in one.terms]
        names = ("equation", "term", "coefficient", "standard_deviation")
        return {name: [row[place] for row in rows] for place, name in enumerate(names)}

    def summary(self) -> dict[str, Any]:
        name, share = self.explained_least or (None, None)
        return {
            "terms": {one.left: len(one.terms) for one in self.equations.equations},
            "explained": dict(self.explained),
            "explained_least": share,
            "explained_least_of": name,
            "outside": self.outside,
        }

    def in_short(self) -> list[str]:
        """The equations, and how much of what happened they explain."""
        told = [self._written(one) for one in self.equations.equations]
        if self.explained_least is not None:
            name, share = self.explained_least
            told.append(f"Least is explained of the change of {name}: {in_percent(share)}.")
        if self.outside is not None:
            told.append(f"Outside of the model's domain begin or end {in_percent(self.outside)} of these rows.")
        return told

    def _written(self, one: Equation) -> str:
        shown = Equation(one.left, one.terms[:_SHOWN], one.members)
        left_out = len(one.terms) - len(shown.terms)
        return shown.text(self.equations.digits, one.members > 1) + (f" + {left_out} smaller terms" if left_out else "")

    def plot(self) -> Figure:
        """How many terms each equation has: the fewer, the better it can be read."""
        from matplotlib.figure import Figure

        counts = {drawn(one.left): len(one.terms) for one in self.equations.equations}
        figure = Figure(figsize=(6, 0.35 * len(counts) + 1.2), layout="constrained")
        axes = figure.subplots()
        axes.barh(list(counts), list(counts.values()), color="0.4")
        axes.invert_yaxis()
        axes.set_xlabel("terms")
        axes.set_title("Terms per equation")
        return figure


def model_equations(
    model: DynamicsModel, names: Sequence[str] | None = None, digits: int = 3, rows: Transitions | None = None
) -> ModelEquations:
    """The equations of a `SINDy` model, in environment units.

    Args:
        model: built and fitted.
        names: of the observation's dims, or None.
        digits: significant ones of a coefficient.
        rows: real ones, to say how much of their change the equations explain; None says nothing of that.

    Raises:
        UnsupportedError: for a model of another kind.
    """
    if not isinstance(model, SINDy):
        raise UnsupportedError(
            f"model_equations: expected a SINDy, whose equations can be read, got {type(model).__name__}; fit one."
        )
    called = None if names is None else [*names, *(f"u{place}" for place in range(model.built_task.action_size))]
    found = model.equations(called, digits)
    notes = ["Coefficients are in environment units, per step; terms that fewer than half of the members have are left out."]
    if any(one.members > 1 for one in found.equations):
        notes.append("± is the standard deviation over members, which share the library: what it lacks doesn't show there.")
    if rows is None:
        return ModelEquations(found, notes)
    labels = dimension_names("model_equations", names, model.built_task.obs_size)
    explained, outside = _explained(model, rows, labels)
    return ModelEquations(found, notes, explained, outside)


@torch.no_grad()
def _explained(model: SINDy, rows: Transitions, names: Sequence[str]) -> tuple[dict[str, float | None], float | None]:
    """The share of each observation's change that is explained, and the share of rows outside of the domain."""
    rows = rows.to(model.device)
    inside = model.inside(rows)
    if inside is not None:
        rows = rows.select(inside)
    rows = rows.select(slice(None, None, max(1, -(-len(rows) // _JUDGED))))
    outside = None if inside is None else 1 - float(inside.double().mean())
    if not len(rows):
        return {}, outside
    said = model.predict(rows.obs, rows.action).mean[model.drawn_members].mean(0)  # B x S
    shares = explained_shares(said, rows.obs, rows.next_obs)
    return {name: number(share) for name, share in zip(names, shares, strict=True)}, outside
