"""The help of commands, in which a limit stands behind its type: `int of at least 1`."""

from __future__ import annotations

import re
from argparse import Action

from jsonargparse import DefaultHelpFormatter

_LIMITED = re.compile(r"Annotated\[((?:[^\[\],]|\[[^\[\]]*\])+), ([^\[\]]+?)\]")


class HelpFormatter(DefaultHelpFormatter):
    """The parser's formatter, which would show `Annotated[int, of at least 1]`."""

    def _expand_help(self, action: Action) -> str:
        return with_plain_limits(super()._expand_help(action))


def with_plain_limits(text: str) -> str:
    """`text` with each `Annotated[type, limit]` as `type limit`, those within others first."""
    while (plain := _LIMITED.sub(r"\1 \2", text)) != text:
        text = plain
    return text
