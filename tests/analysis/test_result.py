"""A result shows itself in a notebook."""

from __future__ import annotations

import base64
import struct
from typing import Any, ClassVar

from IPython.core.formatters import DisplayFormatter
from matplotlib.figure import Figure

from mbrl.analysis import Result


class Small(Result):
    name: ClassVar[str] = "small"
    title: ClassVar[str] = "A small result"

    def __init__(self, *notes: str) -> None:
        self.notes = notes

    def table(self) -> dict[str, list[Any]]:
        return {"x": [1.0, float("nan")]}

    def summary(self) -> dict[str, Any]:
        return {"x": float("nan")}

    def plot(self) -> Figure:
        return Figure(figsize=(3.0, 2.0))


def test_a_notebook_shows_figure_and_notes() -> None:
    shown, _ = DisplayFormatter().format(Small("Nothing was left out."))
    assert set(shown) == {"image/png", "text/plain"}
    assert shown["text/plain"] == "A small result\n- Nothing was left out."
    png = base64.b64decode(shown["image/png"])
    assert png.startswith(b"\x89PNG")
    assert struct.unpack(">II", png[16:24]) == (300, 200)  # pixels, at 100 an inch


def test_a_result_without_notes_is_its_title() -> None:
    assert Small()._repr_mimebundle_()["text/plain"] == "A small result"
