"""Every public class and function says what it is; an override may leave it to what it overrides."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import pytest

import mbrl

MODULES = sorted(module.name for module in pkgutil.walk_packages(mbrl.__path__, "mbrl."))

OPENING = re.compile(r"(What|Of|By|Whether)\b")  # leaves the reader to find the noun
GROUPED = re.compile(r"^    \*{0,2}\w+(, \*{0,2}\w+)+:", re.MULTILINE)  # `--help` finds no text for these
SECTION = re.compile(r"^(?:Args|Attributes):\n((?:(?: .*)?\n)+)", re.MULTILINE)


def undocumented(module: object) -> list[str]:
    name = module.__name__  # type: ignore[attr-defined]
    found = []
    for key, value in vars(module).items():
        if key.startswith("_") or getattr(value, "__module__", None) != name:
            continue
        if inspect.isfunction(value) and not inspect.getdoc(value):
            found.append(f"{name}.{key}")
        if inspect.isclass(value):
            if not value.__doc__:
                found.append(f"{name}.{key}")
            for member, function in vars(value).items():
                if member.startswith("_") or not (inspect.isfunction(function) or isinstance(function, property)):
                    continue
                if not inspect.getdoc(getattr(value, member)):  # inherited where it overrides
                    found.append(f"{name}.{key}.{member}")
    return found


def test_public_names_are_documented() -> None:
    found = [entry for name in MODULES for entry in undocumented(importlib.import_module(name))]
    assert not found, "\n".join(found)


def docstrings(module: object) -> Iterator[tuple[str, str]]:
    """Name and text of the docstrings of a module, of its public classes and functions and of their public members."""
    name = module.__name__  # type: ignore[attr-defined]
    yield name, inspect.getdoc(module) or ""
    for key, value in vars(module).items():
        if key.startswith("_") or getattr(value, "__module__", None) != name:
            continue
        yield f"{name}.{key}", getattr(value, "__doc__", None) or ""
        for member, found in vars(value).items() if inspect.isclass(value) else ():
            if not member.startswith("_") and hasattr(found, "__get__"):  # methods and properties, not values
                yield f"{name}.{key}.{member}", getattr(found, "__doc__", None) or ""


def faults(text: str) -> list[str]:
    """The openings and entries of a docstring that its form forbids."""
    text = inspect.cleandoc(text)
    found = [opening.group()] if (opening := OPENING.match(text)) else []
    return found + [entry.group().strip() for part in SECTION.findall(text + "\n") for entry in GROUPED.finditer(part)]


# The parts of mbrl whose docstrings are held to their form: an opening noun or verb, one entry per argument.
@pytest.mark.parametrize("part", sorted({name.split(".")[1] for name in MODULES}))
def test_docstrings_begin_with_a_noun_or_verb_and_describe_arguments_one_by_one(part: str) -> None:
    modules = [name for name in MODULES if name.split(".")[1] == part]
    assert modules
    texts = (entry for name in modules for entry in docstrings(importlib.import_module(name)))
    found = [f"{name}: {fault}" for name, text in texts for fault in faults(text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Whether it ends.", "Whether"),
        ("What a planner asks.\n\nArgs:\n    a: a number.", "What"),
        ("A sum.\n\n    Args:\n        a, b: the terms.\n\n    Returns:\n        It.", "a, b:"),
        ("A record.\n\n    Attributes:\n        a: one,\n            two, three: four.\n        b, c: others.", "b, c:"),
    ],
)
def test_a_faulty_docstring_is_seen(text: str, fault: str) -> None:
    assert faults(text) == [fault]


def test_a_right_docstring_is_let_through() -> None:
    text = "Offers a sum.\n\n    Args:\n        a: `x, y: z` of the first.\n\n    Returns:\n        one, two: both."
    assert faults(text) == []
