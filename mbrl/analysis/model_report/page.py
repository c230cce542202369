"""A model report as one HTML page that needs nothing beside it: no network, no script, plots inside."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from mbrl.analysis.model_error.uncertainty_against_error import DATASET, UncertaintyAgainstError
from mbrl.analysis.model_error.value_error_result import ValueAwareError
from mbrl.analysis.result import Result, Skipped
from mbrl.analysis.verdicts import in_short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 110

# nothing but the page itself and the pictures in it, whatever a name from a dataset holds
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222; background: #fff; }
table { border-collapse: collapse; margin: 0.7em 0; font-size: 0.9em; }
th, td { border: 1px solid #ccc; padding: 0.25em 0.6em; text-align: left; vertical-align: top; }
td.number { text-align: right; white-space: nowrap; }
h2 { border-bottom: 1px solid #999; margin-top: 2em; }
img { max-width: 100%; display: block; margin: 0.7em 0; }
"""


_MODEL_ERRORS = (
    "Errors are in standard deviations: of the observation for rollouts of several steps, of the change in one step for "
    "single ones. A dash stands for what is undefined or not applicable; the notes say why."
)


def page(
    title: str,
    about: Mapping[str, Any],
    parts: Sequence[Result | Skipped],
    *,
    preface: str = _MODEL_ERRORS,
    pictures: Sequence[tuple[str, bytes]] = (),
) -> str:
    """The page.

    Args:
        title: its heading.
        about: what was looked at, by name.
        parts: results, each with a section, and what was left out.
        preface: what a reader must know to read the summary.
        pictures: further ones at the end, a title and a PNG file each.
    """
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        f"<h1>{escape(title)}</h1>",
        _facts(about),
        "<h2>In short</h2>",
        f"<p>{escape(preface)}</p>",
        "<table>",
    ]
    for part in parts:
        name = (
            escape(part.title) if isinstance(part, Skipped) else f'<a href="#{escape(part.name)}">{escape(part.title)}</a>'
        )
        said = "<br>".join(escape(sentence) for sentence in in_short(part))
        lines.append(f"<tr><th>{name}</th><td>{said}</td></tr>")
    lines.append("</table>")
    for part in parts:
        if isinstance(part, Result):
            lines += _section(part)
    for heading, picture in pictures:
        lines += [f"<h2>{escape(heading)}</h2>", _image(heading, picture)]
    lines += ["</body>", "</html>", ""]
    return "\n".join(lines)


def figures(part: Result) -> list[Figure]:
    """The figure of a result, and the further ones that it has something to show in."""
    drawn = [part.plot()]
    further = getattr(part, "plot_dimensions", None)
    if further is not None:
        drawn.append(further())
    if isinstance(part, UncertaintyAgainstError):
        known = {score.measure: score.spearman for score in part.scores if score.states == DATASET and score.depth is None}
        found = {measure: value for measure, value in known.items() if value is not None}
        if any(score.depth is not None and score.spearman is not None for score in part.scores):
            drawn.append(part.plot_by_depth())
        if found:
            drawn.append(part.plot_roc(max(found, key=lambda measure: found[measure])))
    if isinstance(part, ValueAwareError):
        drawn.append(part.plot_slopes())
    return drawn


def png(figure: Figure) -> bytes:
    """A figure as a PNG file, the same bytes for the same figure."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return file.getvalue()


def _section(part: Result) -> list[str]:
    lines = [f'<h2 id="{escape(part.name)}">{escape(part.title)}</h2>']
    lines += [f"<p>{escape(sentence)}</p>" for sentence in in_short(part)]
    for figure in figures(part):
        lines.append(_image(f"{part.title}: {_title(figure)}", png(figure)))
    if part.notes:
        lines += ["<h3>Notes</h3>", "<ul>", *(f"<li>{escape(note)}</li>" for note in part.notes), "</ul>"]
    lines += ["<h3>Numbers</h3>", *_numbers("", part.summary())]
    lines.append(f"<p>All of them are in {escape(part.name)}.csv beside this file.</p>")
    return lines


def _image(said: str, picture: bytes) -> str:
    return f'<img alt="{escape(said)}" src="data:image/png;base64,{base64.b64encode(picture).decode("ascii")}">'


def _title(figure: Figure) -> str:
    """What a figure says above its panels, or names them by."""
    whole = figure.get_suptitle()
    return " ".join((whole or ", ".join(filter(None, (axes.get_title() for axes in figure.axes)))).split())


def _numbers(heading: str, values: Mapping[str, Any]) -> list[str]:
    """Plain data as tables: what is nested in the same way becomes rows of one."""
    lines = [f"<h4>{_words(heading)}</h4>"] if heading else []
    plain = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    nested = {name: value for name, value in values.items() if isinstance(value, Mapping) and value}
    if nested and not plain:
        rows = {name: _flat(value) for name, value in nested.items()}
        columns = list(next(iter(rows.values())))
        if all(list(row) == columns for row in rows.values()):
            head = "".join(f"<th>{_words(column)}</th>" for column in columns)
            lines += ["<table>", f"<tr><th></th>{head}</tr>"]
            for name, row in rows.items():
                lines.append(f"<tr><th>{_words(name)}</th>{''.join(_cell(row[column]) for column in columns)}</tr>")
            return [*lines, "</table>"]
    if plain:
        lines.append("<table>")
        lines += [f"<tr><th>{_words(name)}</th>{_cell(value)}</tr>" for name, value in plain.items()]
        lines.append("</table>")
    for name, value in nested.items():
        lines += _numbers(f"{heading}: {name}" if heading else name, value)
    return lines


def _flat(value: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        label = f"{name} {key}" if name else str(key)
        found.update(_flat(item, label) if isinstance(item, Mapping) else {label: item})
    return found


def _facts(about: Mapping[str, Any]) -> str:
    rows = "".join(f"<tr><th>{_words(name)}</th>{_cell(value)}</tr>" for name, value in about.items())
    return f"<table>{rows}</table>"


def _words(name: str) -> str:
    return escape(str(name).replace("_", " "))


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return '<td class="number">–</td>'
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, int | float):
        return f'<td class="number">{value:.4g}</td>' if isinstance(value, float) else f'<td class="number">{value}</td>'
    return f"<td>{escape(str(value))}</td>"
