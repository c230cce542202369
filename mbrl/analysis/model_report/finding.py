"""`Finding`: what a verdict says of a model."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """A statement, and what to do about it: neither is made without the other."""

    said: str
    advice: str
