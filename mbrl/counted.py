"""`counted`: a number of things in words."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """A number with its noun, such as `1 action` and `1,000 steps`.

    Args:
        number: of things.
        what: one of them, a noun whose plural ends in s.
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"
