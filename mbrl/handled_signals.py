"""`handled`: SIGINT and SIGTERM told to a function for a while, by whoever has to end other processes first."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def handled(take: Callable[[int, Any], None]) -> Iterator[None]:
    """Calls `take` with the number of each SIGINT and SIGTERM; afterwards the former handlers are back."""
    before = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
