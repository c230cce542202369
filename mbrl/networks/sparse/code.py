"""Sparse sums as source code: a few lines of Python or C that need nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mbrl.errors import DataError
from mbrl.networks.sparse.library import Terms

Language = Literal["python", "c"]


def sums(terms: Terms, coefficients: Tensor, language: Language, inputs: Sequence[str]) -> list[str]:
    """An expression for each target, in double precision, such as `0.5*x[0]*x[1] - 2*sin(x[2])`.

    Args:
        terms: `p`.
        coefficients: `p x D`, of inputs and targets in environment units.
        language: of the expressions.
        inputs: what the `d` inputs are called there, such as `x[0]`.

    Raises:
        DataError: if a coefficient isn't finite.
    """
    prefix = "math." if language == "python" else ""
    called = list(inputs)
    for place, rate in terms.waves:
        angle = called[place] if rate == 1 else f"{rate!r}*{called[place]}"
        called += [f"{prefix}sin({angle})", f"{prefix}cos({angle})"]
    if not bool(torch.isfinite(coefficients).all()):
        raise DataError("expected finite coefficients to write as code, got NaN or infinity; fit the model again.")
    found = []
    for column in coefficients.double().cpu().T:
        parts = []
        for place in column.nonzero()[:, 0].tolist():
            factors = [repr(float(column[place])), *(called[factor] for factor in terms.factors[place])]
            parts.append("*".join(factors))
        found.append(" + ".join(parts).replace("+ -", "- ") or "0.0")
    return found


def function(
    name: str, arguments: Sequence[str], lines: Sequence[str], about: str, language: Language, out: str = "out"
) -> str:
    """A function of arrays that returns one (Python) or fills the last (C).

    Args:
        name: of the function.
        arguments: names of the arrays that it reads.
        lines: expressions of what it gives.
        about: a sentence for the comment above it.
        language: of the code.
        out: name of the array that C fills.
    """
    if language == "python":
        body = "".join(f"        {line},\n" for line in lines)
        return f'def {name}({", ".join(arguments)}):\n    """{about}"""\n    return [\n{body}    ]\n'
    body = "".join(f"    {out}[{place}] = {line};\n" for place, line in enumerate(lines))
    given = ", ".join(f"const double *{argument}" for argument in arguments)
    return f"/* {about} */\nvoid {name}({given}, double *{out})\n{{\n{body}}}\n"


def file(functions: Sequence[str], language: Language) -> str:
    """A source file of functions."""
    head = "import math\n\n\n" if language == "python" else "#include <math.h>\n\n"
    return head + ("\n\n" if language == "python" else "\n").join(functions)
