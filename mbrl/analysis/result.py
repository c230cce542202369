"""`Result`: what every analysis returns, a table with a picture and a few numbers."""

from __future__ import annotations

import base64
import csv
import io
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mbrl.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Result(ABC):
    """What an analysis found.

    Attributes:
        name: short, of files and JSON keys, such as `open_loop`.
        title: a heading for people.
        notes: sentences that belong beside the numbers: what isn't applicable or undefined and why, what was left out.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    notes: Sequence[str] = ()

    @abstractmethod
    def table(self) -> dict[str, list[Any]]:
        """The findings in long form: columns of equal length by name, units in the name where there are any."""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """The few numbers that say it in short, plain data; None where a number is undefined or not applicable."""

    @abstractmethod
    def plot(self) -> Figure:
        """One figure with one message, axes labelled with units, readable in grey."""

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes the table; what isn't finite is an empty cell."""
        columns = self.table()
        with Path(path).open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([_cell(value) for value in row] for row in zip(*columns.values(), strict=True))

    def to_frame(self) -> Any:
        """The table as a `pandas.DataFrame`.

        Raises:
            ConfigError: if pandas isn't installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ConfigError(
                "to_frame: expected the package pandas, which isn't installed; install it with pip install "
                "'mbrl-toolkit[notebooks]', or use table() or to_csv()."
            ) from error
        return pd.DataFrame(self.table())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What a notebook shows of a result that ends a cell: the figure, and the notes where there are no figures."""
        file = io.BytesIO()
        self.plot().savefig(file, format="png", dpi=100)
        text = "\n".join([self.title, *(f"- {note}" for note in self.notes)])
        return {"image/png": base64.b64encode(file.getvalue()).decode("ascii"), "text/plain": text}

    def to_json(self) -> dict[str, Any]:
        """Name, title, notes and summary as plain data, with null for what isn't finite."""
        return {"name": self.name, "title": self.title, "notes": list(self.notes), "summary": finite(self.summary())}


class Skipped:
    """An analysis that had nothing to work on.

    Args:
        name, title: those of the analysis.
        reason: one sentence.
    """

    def __init__(self, name: str, title: str, reason: str) -> None:
        self.name = name
        self.title = title
        self.reason = reason

    def to_json(self) -> dict[str, Any]:
        """Name, title and the reason as plain data."""
        return {"name": self.name, "title": self.title, "skipped": self.reason}


def finite(value: Any) -> Any:
    """Plain data with None in place of numbers that aren't finite, which JSON can't hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else value
