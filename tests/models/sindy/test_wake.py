"""The wake of docs/wake.md: its code runs as it stands, and what the page says of it holds."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "wake.md"


def test_a_box_that_terminates_is_an_escape_where_rewards_are_negative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment, control = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "wake.py").write_text(environment, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    try:
        exec(compile(control, "docs/wake.md", "exec"), found)
    finally:
        sys.modules.pop("wake", None)
    assert sum(found["inside"][-20:]) / 20 < 1.1  # damped
    assert sum(found["escape"][-20:]) / 20 > 1.7  # worse than left alone
