"""Writes the tables of settings, from the constructors, where a page has `<!-- settings: PACKAGE -->`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Annotated, Any, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

from mbrl.arguments import declarations, described
from mbrl.spec import Configurable
from mbrl.training import Trainer

PLACE = re.compile(r"<!-- settings: ([\w.]+) -->")
ENTRY = re.compile(r"^    (\*{0,2}\w+): (.*(?:\n(?:     .*|(?=\n {5})))*)", re.MULTILINE)


def classes(package: str) -> list[type]:
    """The public classes of a package that YAML can make."""
    public = import_module(package)
    found = (getattr(public, name) for name in public.__all__)
    kinds = (kind for kind in found if isinstance(kind, type) and (issubclass(kind, Configurable) or kind is Trainer))
    return [kind for kind in kinds if not inspect.isabstract(kind)]


def settings(kind: type) -> Iterator[tuple[str, str, str, str]]:
    """Name, declaration, default and meaning of each argument, those that a base takes of the keywords included."""
    told: set[str] = set()
    texts: dict[str, str] = {}
    for base in kind.__mro__:
        if not base.__module__.startswith("mbrl."):
            break
        texts = {**entries(inspect.cleandoc(base.__doc__ or "")), **texts}
        if "__init__" not in vars(base):
            continue
        declared = declarations(base.__init__)
        keywords = False
        for one in list(inspect.signature(base.__init__).parameters.values())[1:]:
            keywords |= one.kind is one.VAR_KEYWORD
            if one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL) or one.name in told:
                continue
            told.add(one.name)
            default = "required" if one.default is one.empty else f"`{one.default!r}`"
            yield one.name, words(declared.get(one.name, Any)), default, texts.get(one.name, "")
        if not keywords:
            break


def words(declared: Any) -> str:
    """What a setting may be."""
    if declared is Any or (get_origin(declared) is Annotated and get_args(declared)[0] is Any):
        return ""
    return described(declared)


def entries(docstring: str) -> dict[str, str]:
    """The arguments in a docstring, each in one line."""
    part = re.search(r"^Args:\n((?:(?: .*)?\n?)+)", docstring, re.MULTILINE)
    return {name.strip("*"): " ".join(text.split()) for name, text in ENTRY.findall(part[1] if part else "")}


def table(package: str) -> str:
    """All classes of a package, a table each."""
    lines: list[str] = []
    for kind in classes(package):
        name = f"{package}.{kind.__name__}"
        lines += [f"### {kind.__name__}", "", f"[`{name}`][{name}]", ""]
        rows = [
            f"| `{setting}` | {may} | {default} | {text} |" for setting, may, default, text in map(escaped, settings(kind))
        ]
        lines += (
            ["| setting | may be | default | meaning |", "|---|---|---|---|", *rows, ""] if rows else ["No settings.", ""]
        )
    return "\n".join(lines)


def escaped(row: tuple[str, ...]) -> list[str]:
    """Cells that a table of Markdown takes as they are."""
    return [cell.replace("|", "\\|") for cell in row]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fills the places of a page."""
    return PLACE.sub(lambda place: table(place[1]), markdown)
