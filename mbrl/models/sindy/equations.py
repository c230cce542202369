"""`Equations`: what a `SINDy` model says, written down."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from mbrl.networks.sparse.text import sum_text


@dataclass(frozen=True)
class Equation:
    """One equation.

    Attributes:
        left: what it gives, such as `Δx0`.
        terms: names of the terms that half of the members have or more, with the coefficient's mean and standard deviation.
        members: how many the standard deviation is of.
    """

    left: str
    terms: tuple[tuple[str, float, float], ...]
    members: int

    def text(self, digits: int, spread: bool) -> str:
        """The equation as a line of text; with `spread` each coefficient as mean ± standard deviation."""
        sizes = [f"{abs(mean):.{digits}g}" for _, mean, _ in self.terms]
        if spread:
            sizes = [f"({size} ± {sd:.1g})" for size, (_, _, sd) in zip(sizes, self.terms, strict=True)]
        return f"{self.left} = {sum_text((*term[:2], size) for term, size in zip(self.terms, sizes, strict=True))}"


@dataclass(frozen=True)
class Equations:
    """All equations of a model, in environment units.

    Attributes:
        equations: of each observation, and of the reward if it is learned.
        digits: significant ones of a coefficient.
    """

    equations: tuple[Equation, ...]
    digits: int

    def __str__(self) -> str:
        return "\n".join(equation.text(self.digits, equation.members > 1) for equation in self.equations)

    def latex(self) -> str:
        """The equations as an `align*` environment, without spreads."""
        lines = [_latex(equation.text(self.digits, False)) for equation in self.equations]
        return "\\begin{align*}\n" + " \\\\\n".join(lines) + "\n\\end{align*}"


def equation(left: str, names: Sequence[str], drawn: Tensor, among: Tensor) -> Equation:
    """An equation of one model or of members.

    Args:
        left: what it gives.
        names: of the `p` terms.
        drawn: coefficients of the members that predict, `E x p`, whose mean is written.
        among: `n x p` of the members whose standard deviation is written.
    """
    mean, sd = drawn.mean(0), among.std(0, correction=0)  # p
    there = ((drawn != 0).double().mean(0) >= 0.5).nonzero()[:, 0].tolist()  # what only some have is noise mostly
    ordered = sorted(there, key=lambda term: -abs(float(mean[term])))
    return Equation(left, tuple((names[term], float(mean[term]), float(sd[term])) for term in ordered), len(among))


def _latex(line: str) -> str:
    line = re.sub(r"(\d(?:\.\d+)?)e([+-]?)0*(\d+)", lambda m: f"{m[1]} \\cdot 10^{{{m[2].replace('+', '')}{m[3]}}}", line)
    line = re.sub(r"\bd(\w+)('*)/dt", r"\\dot{\1}\2", line)
    line = line.replace("Δ", "\\Delta ").replace("sin(", "\\sin(").replace("cos(", "\\cos(")
    line = re.sub(r"\b([a-z])(\d+)\b", r"\1_{\2}", line)
    return line.replace(" = ", " &= ", 1)
