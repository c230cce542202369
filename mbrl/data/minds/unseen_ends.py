"""`mind_of_unseen_ends`: a known termination that was compared with no end."""

from __future__ import annotations

from mbrl.data.task import Task
from mbrl.data.transitions import Transitions

_NEVER = "mbrl.envs.terminations.never"  # which claims no end, so that seeing none is what it says


def mind_of_unseen_ends(task: Task, rows: Transitions, advice: str) -> list[str]:
    """A sentence where a task's known termination agrees with rows none of which ended it, or nothing.

    Args:
        task: of the rows.
        rows: real steps, `N`.
        advice: what to do, after a semicolon.
    """
    if task.known_terminated in (None, _NEVER) or bool(rows.terminated.any()):
        return []
    return [
        f"Mind: {task.known_terminated} was compared with no end, since none of the {len(rows)} steps ended the task, so "
        f"that whether it finds ends is unknown; {advice}."
    ]
