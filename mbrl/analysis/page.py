"""`page`: results as one HTML page that needs nothing beside it: no network, no script, plots inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from mbrl.analysis.data_uri import data_uri
from mbrl.analysis.result import Result, Skipped
from mbrl.analysis.written_numbers import finite

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def page(
    title: str,
    about: Mapping[str, Any],
    parts: Sequence[Result | Skipped],
    *,
    verdict: Sequence[str] = (),
    copied: Sequence[tuple[str, str]] = (),
    preface: str = "",
    pictures: Sequence[tuple[str, bytes, str]] = (),
) -> str:
    """The page; `page.html` has the markup, in which names can't become any, whatever they hold.

    What a reader asks first comes first, and how it was made last; each sentence stands once.

    Args:
        title: its heading.
        about: how it was made: settings, by name.
        parts: results, each with a section, and what was left out.
        verdict: sentences that say it all in short.
        copied: texts to copy, each with a heading, such as a configuration.
        preface: what a reader must know to read the rest.
        pictures: further ones after the results: a title, a PNG file and a text each.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(tables=_tables, figure_title=_title, data_uri=data_uri, finite=finite)
    template = environment.from_string(_beside("page.html"))
    return template.render(
        title=title, about=about, verdict=verdict, copied=copied, preface=preface, pictures=pictures,
        css=_beside("page.css"),
        results=[part for part in parts if isinstance(part, Result)],
        skipped=[part for part in parts if isinstance(part, Skipped)],
    )  # fmt: skip


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


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
