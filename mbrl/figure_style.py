"""`in_style`: functions that draw figures in the library's style, which `figures.mplstyle` holds."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

STYLE = Path(__file__).with_name("figures.mplstyle")

Given = ParamSpec("Given")
Drawn = TypeVar("Drawn")


def in_style(draw: Callable[Given, Drawn]) -> Callable[Given, Drawn]:
    """Wraps a function that draws, or saves, a figure: whatever matplotlib was told elsewhere, it looks as all others.

    Args:
        draw: makes one or more figures, or writes them.
    """

    @wraps(draw)
    def styled(*args: Given.args, **kwargs: Given.kwargs) -> Drawn:
        from matplotlib import style  # slow to import, and only needed by who draws

        with style.context(STYLE, after_reset=True):
            return draw(*args, **kwargs)

    return styled
