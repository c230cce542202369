"""`--override` stands alone, as pages and sentences say it, or has a value, as Lightning's parser asks for one."""

from __future__ import annotations

import pytest

from mbrl.options.fit import parse


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ([], []),
        (["--override"], ["--override=true"]),
        (["--override", "--name", "x"], ["--override=true", "--name", "x"]),
        (["--override", "false"], ["--override", "false"]),
        (["--override=false", "--name", "x"], ["--override=false", "--name", "x"]),
        (["--name", "--override", "x"], ["--name", "--override", "x"]),
    ],
)
def test_it_needs_no_value(given: list[str], made: list[str]) -> None:
    assert parse("fit", given).arguments == made
