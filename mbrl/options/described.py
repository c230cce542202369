"""`described`: what a class of the library takes, read from its source, since importing it would take seconds."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

_PACKAGE = Path(__file__).parents[1]


class Described(NamedTuple):
    """An argument: its name, default as it is written (None of a required one), and the sentences on it."""

    name: str
    default: str | None
    text: str


def described(file: str, documented: str, constructor: tuple[str, str] | None = None) -> list[Described]:
    """The arguments of a constructor by name, with what the class's docstring says of each.

    Args:
        file: of the class, below the package, such as `training/trainer.py`.
        documented: the class whose docstring has them.
        constructor: file and class of the constructor, if a base has it.
    """
    of_file, of_class = constructor or (file, documented)
    methods = (part for part in _class(of_file, of_class).body if isinstance(part, ast.FunctionDef))
    arguments = next(method.args for method in methods if method.name == "__init__")
    positional = arguments.args[1:]
    late = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = [*zip(positional, late, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    texts = _texts(ast.get_docstring(_class(file, documented)) or "")
    return [
        Described(given.arg, None if value is None else ast.unparse(value), texts.get(given.arg, ""))
        for given, value in pairs
    ]


def _class(file: str, name: str) -> ast.ClassDef:
    tree = ast.parse((_PACKAGE / file).read_text(encoding="utf-8"))
    return next(part for part in tree.body if isinstance(part, ast.ClassDef) and part.name == name)


def _texts(docstring: str) -> dict[str, str]:
    """The entries of a docstring's `Args`."""
    block = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, re.DOTALL | re.MULTILINE)
    entries = re.split(r"^    (?=\S)", block[1] if block else "", flags=re.MULTILINE)
    pairs = (entry.split(":", 1) for entry in entries if ":" in entry)
    return {name.strip(): " ".join(text.split()) for name, text in pairs}
