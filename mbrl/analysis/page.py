"""`page`: results as one HTML page that needs nothing beside it: no network, no script, plots inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from mbrl.analysis.png import png
from mbrl.analysis.result import Result, Skipped
from mbrl.analysis.written_numbers import finite

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def page(
    title: str,
    about: Mapping[str, Any],
    parts: Sequence[Result | Skipped],
    *,
    preface: str = "",
    pictures: Sequence[tuple[str, bytes]] = (),
) -> str:
    """The page; `page.html` has the markup, in which names can't become any, whatever they hold.

    Args:
        title: its heading.
        about: what was looked at, by name.
        parts: results, each with a section, and what was left out.
        preface: what a reader must know to read the summary.
        pictures: further ones at the end, a title and a PNG file each.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(words=_words, tables=_tables, figure_title=_title, png=png, base64=_base64, finite=finite)
    template = environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    results = [part for part in parts if isinstance(part, Result)]
    return template.render(title=title, about=about, parts=parts, results=results, preface=preface, pictures=pictures)


def _base64(picture: bytes) -> str:
    return base64.b64encode(picture).decode("ascii")


def _title(figure: Figure) -> str:
    """The text above a figure's panels, or else their titles."""
    whole = figure.get_suptitle()
    text = whole or ", ".join(filter(None, (axes.get_title() for axes in figure.axes)))
    return " ".join(text.replace(r"\$", "$").split())  # as `drawn` wrote it


def _tables(values: Mapping[str, Any], heading: str = "") -> list[tuple[str, list[str], dict[str, list[Any]]]]:
    """Plain data as tables: heading, names of columns (none where there is one) and rows; alike ones are rows of one."""
    plain = {name: [value] for name, value in values.items() if not isinstance(value, Mapping)}
    nested = {name: value for name, value in values.items() if isinstance(value, Mapping) and value}
    flat = {name: _flat(value) for name, value in nested.items()}
    if not plain and len({tuple(row) for row in flat.values()}) == 1:
        return [(heading, list(next(iter(flat.values()))), {name: list(row.values()) for name, row in flat.items()})]
    below = [table for name, value in nested.items() for table in _tables(value, f"{heading}: {name}" if heading else name)]
    return [(heading, [], plain), *below]


def _flat(value: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        label = f"{name} {key}" if name else str(key)
        found.update(_flat(item, label) if isinstance(item, Mapping) else {label: item})
    return found


def _words(name: object) -> str:
    return str(name).replace("_", " ")
