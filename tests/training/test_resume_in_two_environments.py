"""PETS and SRL killed and resumed: between fits, and within a sequence of actions."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from mbrl.planners import Planner
from tests.training.small_planners import fit, pets, srl
from tests.training.test_kill_and_resume import same_run
from tests.training.toy import KillAt, in_child


@pytest.mark.parametrize(("make", "tick"), [(pets, 16), (pets, 32), (srl, 8), (srl, 16)])
def test_killed_and_resumed_equals_unbroken(
    whole_run: Callable[..., Path], make: Callable[[], Planner], tick: int, tmp_path: Path
) -> None:
    assert in_child(lambda: fit(make, tmp_path, callbacks=[KillAt(tick)])) == -signal.SIGKILL
    fit(make, tmp_path, "last")
    assert same_run(whole_run(make), tmp_path) == []
