"""`watched`: notes the calls of a method, for clauses about who is told what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def watched(owner: Any, name: str, called: list[Any]) -> Iterator[None]:
    """Notes `owner` in `called` whenever its method `name` is called."""
    method = getattr(owner, name)

    def noted(*args: Any, **kwargs: Any) -> Any:
        called.append(owner)
        return method(*args, **kwargs)

    setattr(owner, name, noted)
    try:
        yield
    finally:
        delattr(owner, name)
