"""`imported_anew`: for tests whose examples have the same names, since several register a `Lift-v0`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import gymnasium

EXAMPLES = ("lift", "mine")  # modules of examples and of tests
ID = "Lift-v0"


@contextmanager
def imported_anew() -> Iterator[None]:
    """Examples are imported as if nobody had before, and leave neither modules nor environments."""
    before, ids = _examples(), dict(gymnasium.registry)
    _forget()
    gymnasium.registry.pop(ID, None)
    try:
        yield
    finally:
        _forget()
        sys.modules.update(before)
        gymnasium.registry.clear()
        gymnasium.registry.update(ids)


def _examples() -> dict[str, object]:
    return {name: module for name, module in sys.modules.items() if name.split(".")[0] in EXAMPLES}


def _forget() -> None:
    for name in _examples():
        del sys.modules[name]
