"""`in_style`: functions that draw figures in the library's style, which `figures.mplstyle` holds."""

from __future__ import annotations

import re
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
            drawn = draw(*args, **kwargs)
            _fix_colours(drawn)
            return drawn

    return styled


def _fix_colours(drawn: object) -> None:
    """Gives lines and words their colours `C0`, `C1`, … for good: matplotlib looks them up when a figure is saved."""
    from matplotlib.colors import to_hex
    from matplotlib.figure import Figure

    for artist in drawn.findobj() if isinstance(drawn, Figure) else ():
        for part in ("color", "markerfacecolor", "markeredgecolor"):
            colour = getattr(artist, f"get_{part}", lambda: None)()
            if isinstance(colour, str) and re.fullmatch(r"C\d+", colour):
                getattr(artist, f"set_{part}")(to_hex(colour))
