"""`Result`: the findings of an analysis, a table with figures, a few numbers and sentences."""

from __future__ import annotations

import base64
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mbrl.analysis.png import png
from mbrl.analysis.written_numbers import finite, write_csv
from mbrl.errors import ConfigError
from mbrl.figure_style import in_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXACT = "Zero to rounding."  # in short, of errors


class Result(ABC):
    """The findings of an analysis; what it draws is in the library's style, by whoever it was written.

    Attributes:
        name: short, of files and JSON keys, such as `open_loop`.
        title: a heading for people.
        notes: sentences that belong beside the numbers: what isn't applicable or undefined and why, what was left out.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    notes: Sequence[str] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, method in list(vars(cls).items()):
            if callable(method) and (name == "figures" or name.startswith("plot")):
                setattr(cls, name, in_style(method))

    @abstractmethod
    def table(self) -> dict[str, list[Any]]:
        """The findings in long form: columns of equal length by name, units in the name where there are any."""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """The few numbers that say it in short, plain data; None where a number is undefined or not applicable."""

    @abstractmethod
    def plot(self) -> Figure:
        """One figure with one message, axes labelled with units, readable in grey."""

    def in_short(self) -> list[str]:
        """Sentences for a reader in a hurry, with the numbers of the summary; none by default."""
        return []

    def figures(self) -> list[Figure]:
        """The figures of a report: `plot`, and further ones where a result has something to show in them."""
        return [self.plot()]

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes the table; what isn't finite is an empty cell."""
        columns = self.table()
        write_csv(path, columns, zip(*columns.values(), strict=True))

    def to_frame(self) -> Any:
        """The table as a `pandas.DataFrame`.

        Raises:
            ConfigError: if pandas isn't installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ConfigError(
                "to_frame: expected pandas, which isn't installed; pip install 'mbrl-toolkit[notebooks]', or use table()."
            ) from error
        return pd.DataFrame(self.table())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """The figure in a notebook whose cell ends in a result, and the notes where there are no figures."""
        picture = base64.b64encode(png(self.plot(), dpi=100)).decode("ascii")
        return {"image/png": picture, "text/plain": "\n".join([self.title, *(f"- {note}" for note in self.notes)])}

    def to_json(self) -> dict[str, Any]:
        """Name, title, notes and summary as plain data, with null for what isn't finite."""
        return {"name": self.name, "title": self.title, "notes": list(self.notes), "summary": finite(self.summary())}


class Skipped:
    """An analysis that had nothing to work on.

    Args:
        name: of the analysis.
        title: of the analysis.
        reason: one sentence.
    """

    notes: Sequence[str] = ()

    def __init__(self, name: str, title: str, reason: str) -> None:
        self.name = name
        self.title = title
        self.reason = reason

    def in_short(self) -> list[str]:
        """The reason."""
        return [f"Left out: {self.reason}"]

    def to_json(self) -> dict[str, Any]:
        """Name, title and the reason as plain data."""
        return {"name": self.name, "title": self.title, "skipped": self.reason}
