"""Findings of Gymnasium's own checker, as sentences."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

from gymnasium.utils.env_checker import check_env

from mbrl.data import Task
from mbrl.envs.checked_env import told
from mbrl.envs.task import make_env

# Advice that isn't ours to give: actions are rescaled here, and observations normalised by whatever learns from them.
_NO_CONCERN = ("recommend using a symmetric and normalized space", "This is probably too ", "outside of the environment")


def gymnasium_findings(task: Task, *, allow: Sequence[str] | None = None) -> list[str]:
    """Runs `gymnasium.utils.env_checker.check_env` on the innermost environment of `task`, without drawing it.

    Args:
        task: the environment's task.
        allow: as in `make_env`.

    Returns:
        One sentence per finding, warnings included; the checker ends at the first error.

    Raises:
        TaskError: if the environment can't be made.
    """
    env = make_env(task, allow=allow)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        try:
            check_env(env.unwrapped, skip_render_check=True, skip_close_check=True)
            error = []
        except (Exception, SystemExit) as raised:
            error = [str(raised) if isinstance(raised, AssertionError) else told(raised)]
    env.close()
    texts = dict.fromkeys(_plain(text) for text in [*(str(warning.message) for warning in found), *error])
    return [f"Gymnasium's checker: {text}." for text in texts if text and not any(part in text for part in _NO_CONCERN)]


def _plain(text: str) -> str:
    """A finding in one line, without colours and full stop."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).removeprefix("WARN: ").split()).rstrip(".")
