"""Numbers as results write them: plain data, cells of a CSV file, and words in a sentence."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from mbrl.replacing import replacing


def number(value: Tensor | float) -> float | None:
    """A float, or None if it isn't finite."""
    plain = float(value)
    return plain if math.isfinite(plain) else None


def finite(value: Any) -> Any:
    """Plain data with None in place of numbers that aren't finite, which JSON can't hold."""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def write_csv(path: str | os.PathLike[str], columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a table; None and what isn't finite are empty cells, and a list's items stand in one cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def _cell(value: Any) -> Any:
    found = finite(value)
    return " ".join("" if one is None else str(one) for one in found) if isinstance(found, list) else found


def rounded(value: float | None) -> str:
    """A number with three digits, for a sentence; thousands are written out, as `-1,230`, up to a million."""
    if value is None or not math.isfinite(value):
        return "an undefined number"
    said = f"{value:.3g}"
    return f"{float(said):,.0f}" if 1e3 <= abs(float(said)) < 1e6 else said


def in_percent(share: float | None) -> str:
    """A share in percent, for a sentence."""
    return "an undefined share" if share is None else f"{100 * share:.0f} %"
