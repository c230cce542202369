"""Sparse sums as text that a person reads."""

from __future__ import annotations

from collections.abc import Iterable


def sum_text(terms: Iterable[tuple[str, float, str]]) -> str:
    """A sum such as `0.5 x0 - 2 sin(x2)`, or `0` of nothing.

    Args:
        terms: name of each, its coefficient for the sign, and the coefficient's size as it is to be read.
    """
    parts: list[str] = []
    for name, coefficient, size in terms:
        sign = ("-" if coefficient < 0 else "") if not parts else ("- " if coefficient < 0 else "+ ")
        parts.append(f"{sign}{size}{'' if name == '1' else ' ' + name}")
    return " ".join(parts) or "0"
