"""`Progress`: what an analysis that takes long tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]
