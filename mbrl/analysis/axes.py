"""Axes whose labels can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import Locator

_LEGEND = 1.9  # inches
_FEW = 100.0  # the range up to which powers of ten alone would be too few labels


def log_scale(axes: Axes, *, x: bool = False) -> None:
    """Makes the y axis logarithmic, with plain numbers for labels where it covers few decades.

    Args:
        axes: with all that is drawn on them.
        x: the x axis instead.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    (axes.set_xscale if x else axes.set_yscale)("log")
    low, high = axes.get_xlim() if x else axes.get_ylim()
    if high > _FEW * low:
        return
    steps = (1.0, 2.0, 5.0) if high > 10 * low else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    axis = axes.xaxis if x else axes.yaxis
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def legend_beside(axes: Axes) -> None:
    """Puts the legend of axes to the right of their figure, which gets wider: inside, it would hide what it tells of.

    Args:
        axes: with all that is drawn on them, of a figure with the constrained layout.
    """
    from matplotlib.figure import Figure

    figure = axes.get_figure()
    assert isinstance(figure, Figure)  # none of ours has others in it
    figure.set_figwidth(figure.get_figwidth() + _LEGEND)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")


def whole_numbers() -> Locator:
    """Places labels of steps: there is no half of one."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator("auto", integer=True)
