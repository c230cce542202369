from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from mbrl.planners import Planner
from mbrl.training import summary
from tests.training.small_planners import fit


@pytest.fixture(scope="module", autouse=True)
def _no_figures() -> Iterator[None]:
    """The figure at a run's end takes longer than these runs; one test draws it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary, "draw_curve", lambda *arguments: False)
        yield


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[], Planner]], Path]:
    """Gives the folder of an unbroken run of a small planner, which trains once however many tests look at it."""
    found: dict[Callable[[], Planner], Path] = {}

    def of(make: Callable[[], Planner]) -> Path:
        if make not in found:
            torch.set_num_threads(1)
            found[make] = fit(make, tmp_path_factory.mktemp(make.__name__))
        return found[make]

    return of
