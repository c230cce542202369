from __future__ import annotations

from collections.abc import Iterator

import pytest

from mbrl.training import summary


@pytest.fixture(scope="module", autouse=True)
def _no_figures() -> Iterator[None]:
    """The figure at a run's end takes longer than these runs; one test draws it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary, "draw_curve", lambda *arguments: False)
        yield
