"""Corners of a search space: a few configurations that use every choice and both ends of every range, to check it by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mbrl.errors import ConfigError
from mbrl.search.file.parameter import Parameter
from mbrl.search.file.space import Space


def corners(space: Space) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields pairs of a description and a configuration: the start, all lows, all highs, and each choice once.

    Raises:
        ConfigError: for a parameter whose conditions can't hold together, so that it would never count.
    """
    seen: list[dict[str, Any]] = []
    for what, chosen in _all(space):
        if chosen not in seen:
            seen.append(chosen)
            yield what, chosen


def _all(space: Space) -> Iterator[tuple[str, dict[str, Any]]]:
    start = space.start()
    if start is not None:
        yield "the start", start
    yield "the lowest numbers", completed(space, {}, high=False)
    yield "the highest numbers", completed(space, {}, high=True)
    for parameter in space.parameters:
        needed = enabling(space, parameter)
        if parameter.kind == "choice":
            for label in parameter.labels:
                yield f"{parameter.name}={label}", completed(space, {**needed, parameter.name: label}, high=False)
        elif needed:
            yield f"the lowest numbers with {parameter.name}", completed(space, needed, high=False)
            yield f"the highest numbers with {parameter.name}", completed(space, needed, high=True)


def completed(space: Space, wanted: Mapping[str, Any], *, high: bool) -> dict[str, Any]:
    """Completes a configuration: one end of each range and the first of each choice for all else that counts."""
    chosen: dict[str, Any] = {}
    for parameter in space.parameters:
        if parameter in space.active(chosen):
            end = parameter.high if high else parameter.low
            chosen[parameter.name] = wanted.get(parameter.name, parameter.labels[0] if parameter.kind == "choice" else end)
    return chosen


def enabling(space: Space, parameter: Parameter) -> dict[str, Any]:
    """Finds labels of choices under which a parameter counts.

    Raises:
        ConfigError: if there are none.
    """
    parents = {other.name: other for other in space.parameters}
    allowed: dict[str, list[str]] = {}
    open_ends = [parameter]
    while open_ends:
        child = open_ends.pop()
        for parent, labels in (child.when or {}).items():
            allowed[parent] = [label for label in allowed.get(parent, parents[parent].labels) if label in labels]
            if not allowed[parent]:
                raise ConfigError(
                    f"{parameter.name}.when: expected conditions that can hold together, got ones with no value of {parent}."
                )
            open_ends.append(parents[parent])
    return {parent: labels[0] for parent, labels in allowed.items()}
