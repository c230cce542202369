"""All figures have one style, whoever draws them and whatever matplotlib was told before."""

from __future__ import annotations

import ast
import colorsys
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mbrl.analysis import Result
from mbrl.figure_style import STYLE, in_style

GRID = "#e6e6e6"


def panel() -> Figure:
    figure = Figure(figsize=(2, 2))
    axes = figure.subplots()
    axes.plot([0, 1], label="a")
    axes.legend()
    return figure


def in_ours(axes: Axes) -> bool:
    legend = axes.get_legend()
    return axes.xaxis.get_gridlines()[0].get_color() == GRID and legend is not None and not legend.get_frame_on()


class Guests(Result):
    """A result whose author never heard of the style."""

    name: ClassVar[str] = "guests"
    title: ClassVar[str] = "A guest's"
    plots = 3  # no method

    def table(self) -> dict[str, list[Any]]:
        return {}

    def summary(self) -> dict[str, Any]:
        return {}

    def plot(self) -> Figure:
        return panel()

    def plot_more(self, *, label: str) -> Figure:
        figure = panel()
        figure.axes[0].set_title(label)
        return figure


def test_a_guests_result_is_drawn_in_it() -> None:
    with mpl.rc_context({"axes.grid": False, "lines.linewidth": 9.0}):
        for figure in (Guests().plot(), Guests().plot_more(label="x"), *Guests().figures()):
            assert in_ours(figure.axes[0]) and figure.axes[0].lines[0].get_linewidth() < 9
        assert Guests().plot_more(label="x").axes[0].get_title() == "x" and Guests.plots == 3
        assert mpl.rcParams["lines.linewidth"] == 9.0, "what was set stays set elsewhere"
        assert not in_ours(panel().axes[0]) and in_ours(in_style(panel)().axes[0])


def test_colours_stay_those_of_the_style_when_a_figure_is_saved_elsewhere() -> None:
    """Named ones too, of lines, markers, words and legends."""

    def named() -> Figure:
        figure = panel()
        axes = figure.axes[0]
        axes.plot([0, 1], "s", color="C1", markerfacecolor="none", markeredgecolor="C3", label="b")
        axes.plot([0, 1], color="0.5")
        axes.text(0, 0, "words", color="C2")
        axes.legend()
        return figure

    style = mpl.rc_params_from_file(STYLE, use_default_template=False)
    cycle = [mpl.colors.to_hex(colour) for colour in style["axes.prop_cycle"].by_key()["color"]]
    first, second, third = in_style(named)().axes[0].lines
    assert [mpl.colors.to_hex(line.get_color()) for line in (first, second)] == cycle[:2] and third.get_color() == "0.5"
    assert (second.get_markerfacecolor(), second.get_markeredgecolor()) == ("none", cycle[3])
    axes = in_style(named)().axes[0]
    legend = axes.get_legend()
    assert axes.texts[0].get_color() == cycle[2] and legend is not None
    assert legend.get_lines()[1].get_color() == cycle[1]


def test_neighbouring_colours_differ_in_grey() -> None:
    style = mpl.rc_params_from_file(STYLE, use_default_template=False)
    colours = [mpl.colors.to_rgb(colour) for colour in style["axes.prop_cycle"].by_key()["color"]]
    greys = [0.299 * red + 0.587 * green + 0.114 * blue for red, green, blue in colours]
    assert all(abs(one - other) > 0.25 for one, other in pairwise(greys))
    assert len({round(colorsys.rgb_to_hls(*colour)[0], 1) for colour in colours}) > 3


def test_a_notebook_can_take_it_by_name() -> None:
    from matplotlib import style

    with style.context("mbrl.figures"):
        assert in_ours(panel().axes[0])


def unstyled(tree: ast.Module) -> list[str]:
    """Functions that make a figure and are neither a result's `plot…` nor `in_style`."""
    found = []
    for parent in ast.walk(tree):
        for node in ast.iter_child_nodes(parent):
            if not isinstance(node, ast.FunctionDef):
                continue
            made = any(
                isinstance(inner, ast.Call) and ast.unparse(inner.func) in ("Figure", "plt.subplots", "plt.figure")
                for inner in ast.walk(node)
            )
            result = isinstance(parent, ast.ClassDef) and any(ast.unparse(base) == "Result" for base in parent.bases)
            decorated = any(ast.unparse(one) == "in_style" for one in node.decorator_list)
            if made and not decorated and not (result and node.name.startswith("plot")):
                found.append(node.name)
    return found


def test_whoever_makes_a_figure_has_the_style() -> None:
    root = Path(__file__).parents[1]
    within = {"_front", "_distributions"}  # are called by functions that have it
    found = [
        f"{path.relative_to(root)}: {name}"
        for path in sorted((root / "mbrl").rglob("*.py"))
        for name in unstyled(ast.parse(path.read_text()))
        if name not in within
    ]
    assert not found, "\n".join(found)
    assert unstyled(ast.parse("def draw():\n    return Figure()")) == ["draw"]
    assert unstyled(ast.parse("class A(Result):\n    def other(self):\n        return Figure()")) == ["other"]
