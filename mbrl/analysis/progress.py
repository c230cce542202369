"""`Progress`: a function that is told, in a sentence, how far an analysis is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]
