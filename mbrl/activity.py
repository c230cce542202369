"""`doing`: what takes long says what it is at, to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

_LISTENER: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


def doing(text: str, *numbers: int) -> None:
    """Says what is being done now; nothing happens unless somebody listens.

    Args:
        text: such as `"fitting, epoch {}"`; empty when it is done.
        numbers: for its places.
    """
    listener = _LISTENER.get()
    if listener is not None:
        listener(text.format(*numbers))


def listen(listener: Callable[[str], None] | None) -> None:
    """Has a function told what is being done in this thread from now on; None ends that."""
    _LISTENER.set(listener)
