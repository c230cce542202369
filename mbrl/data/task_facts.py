"""`TaskFacts`: what a dataset says of its task, as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mbrl.data.task import Task
from mbrl.errors import DataError

_KINDS: dict[str, tuple[type, ...]] = {
    "action_low": (list, type(None)),
    "action_high": (list, type(None)),
    "env_id": (str,),
    "env_kwargs": (dict,),
    "time_limit": (int, type(None)),
    "action_repeat": (int,),
}


@dataclass(frozen=True)
class TaskFacts:
    """Names and numbers, no functions: reading them makes no environment and imports no module.

    Attributes:
        action_low: `A` lower bounds, environment units, or None if the source doesn't say.
        action_high: `A` upper bounds, likewise.
        env_id: the environment's id, or empty if the source doesn't say.
        env_kwargs: its arguments.
        time_limit: real steps after which an episode is truncated, or None.
        action_repeat: simulator steps in one real step.
    """

    action_low: tuple[float, ...] | None = None
    action_high: tuple[float, ...] | None = None
    env_id: str = ""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    time_limit: int | None = None
    action_repeat: int = 1

    @staticmethod
    def of(task: Task) -> TaskFacts:
        """The facts of `task`."""
        plain = task.to_plain()
        return TaskFacts(
            **{**{name: plain[name] for name in _KINDS}, "action_low": task.action_low, "action_high": task.action_high}
        )

    def to_json(self) -> str:
        """The facts as they are written into a file."""
        return json.dumps({name: getattr(self, name) for name in _KINDS})

    @staticmethod
    def from_json(text: str, source: str) -> TaskFacts:
        """The facts of `to_json`, checked, since the file may come from anywhere.

        Raises:
            DataError: if `text` is anything else.
        """
        try:
            found = json.loads(text)
            if not all(isinstance(found[name], kind) for name, kind in _KINDS.items()):
                raise TypeError
            for name in ("action_low", "action_high"):
                if found[name] is not None:
                    found[name] = tuple(float(bound) for bound in found[name])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"{source}: expected its note of the task to hold {', '.join(_KINDS)}, got {text[:200]!r}; write it anew."
            ) from error
        return TaskFacts(**{name: found[name] for name in _KINDS})
