"""`model_equations`: the equations of a sparse model, as a part of its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mbrl.analysis.result import Result
from mbrl.errors import UnsupportedError
from mbrl.models import DynamicsModel, SINDy
from mbrl.models.sindy.equations import Equation, Equations

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 12  # terms of an equation that are written out; the table has all


@dataclass
class ModelEquations(Result):
    """Result of `model_equations`.

    Attributes:
        equations: of each observation, and of the reward if it is learned, in environment units.
        notes: what belongs beside them.
    """

    name = "equations"
    title = "Equations"

    equations: Equations
    notes: Sequence[str] = ()

    def table(self) -> dict[str, list[Any]]:
        rows = [(one.left, *term) for one in self.equations.equations for term in one.terms]
        names = ("equation", "term", "coefficient", "standard_deviation")
        return {name: [row[place] for row in rows] for place, name in enumerate(names)}

    def summary(self) -> dict[str, Any]:
        return {one.left: len(one.terms) for one in self.equations.equations}

    def in_short(self) -> list[str]:
        return [self._written(one) for one in self.equations.equations]

    def _written(self, one: Equation) -> str:
        shown = Equation(one.left, one.terms[:_SHOWN], one.members)
        left_out = len(one.terms) - len(shown.terms)
        return shown.text(self.equations.digits, one.members > 1) + (f" + {left_out} smaller terms" if left_out else "")

    def plot(self) -> Figure:
        """How many terms each equation has: the fewer, the better it can be read."""
        from matplotlib.figure import Figure

        counts = self.summary()
        figure = Figure(figsize=(6, 0.35 * len(counts) + 1.2), layout="constrained")
        axes = figure.subplots()
        axes.barh(list(counts), list(counts.values()), color="0.4")
        axes.invert_yaxis()
        axes.set_xlabel("terms")
        axes.set_title("Terms per equation")
        return figure


def model_equations(model: DynamicsModel, names: Sequence[str] | None = None, digits: int = 3) -> ModelEquations:
    """The equations of a `SINDy` model, in environment units.

    Args:
        model: built and fitted.
        names: of the observation's dims, or None.
        digits: significant ones of a coefficient.

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
    return ModelEquations(found, notes)
