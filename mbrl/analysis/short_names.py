"""Short names of dotted settings, for plots."""

from __future__ import annotations

from collections.abc import Iterable


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Finds the shortest ending of each dotted name that no other name has and that begins with a word.

    `model.init_args.dynamics.init_args.members` becomes `members`, `model.init_args.rollout_length.1` `rollout_length.1`.
    """
    endings = {name: _endings(name) for name in names}
    taken = [ending for ones in endings.values() for ending in ones]
    return {name: next((one for one in ones if taken.count(one) == 1), name) for name, ones in endings.items()}


def _endings(name: str) -> list[str]:
    """Endings of a dotted name, shortest first; one that begins with a number or with `init_args` says too little."""
    parts = name.split(".")
    ones = [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
    return [one for one in ones if not one[:1].isdigit() and one.split(".")[0] != "init_args"] or [name]
