"""Dotted settings such as `model.init_args.horizon`, put into the nested mappings of a configuration.

A part of a key that is a number is a place in a list: `model.init_args.rollout_length.3`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from mbrl.errors import ConfigError

MISSING = object()


def split_index(name: str) -> tuple[str, tuple[str, ...]]:
    """Splits a key at a list: `a.b.0.c` gives `a.b` and `("0", "c")`, the path inside it, which is empty without a list."""
    parts = name.split(".")
    for place, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[:place]), tuple(parts[place:])
    return name, ()


def get(mapping: Mapping[str, Any], name: str) -> Any:
    """Looks up a dotted key in nested mappings; `MISSING` if it isn't there."""
    found: Any = mapping
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return MISSING
        found = found[part]
    return found


def put(target: Any, path: tuple[str, ...], value: Any, name: str) -> Any:
    """Puts `value` at `path` of `target`; mappings are made on the way, places in lists must exist.

    A class named by its path alone becomes a mapping when something is put below it, and a class put in place of a mapping
    keeps that mapping's `init_args` only if it is the same class.

    Args:
        target: a mapping, a list, or a class path; changed in place where it can be.
        path: the parts of the key below `target`.
        value: put there.
        name: the whole key, for messages.

    Raises:
        ConfigError: if a place in a list doesn't exist.
    """
    if not path:
        return _replaced(target, value)
    if isinstance(target, list):
        place = int(path[0]) if path[0].isdigit() else len(target)
        if place >= len(target):
            raise ConfigError(f"{name}: expected a place in a list of {len(target)}, counted from 0, got {path[0]}.")
        target[place] = put(target[place], path[1:], value, name)
        return target
    if isinstance(target, str) and path[0] == "init_args":
        target = {"class_path": target}
    if not isinstance(target, dict):
        if path[0].isdigit():
            raise ConfigError(f"{name}: expected a list to put a value into, got none; set a whole one before it.")
        target = {}
    target[path[0]] = put(target.get(path[0]), path[1:], value, name)
    return target


def with_lists(settings: Iterable[tuple[str, Any]], base: Mapping[str, Any]) -> dict[str, Any]:
    """Puts settings of places in lists into their lists: dotted key → value, where a list is whole.

    Args:
        settings: dotted keys, each with its value, in order.
        base: the configuration below, from which a list comes that no earlier setting holds.

    Raises:
        ConfigError: if a place in a list doesn't exist.
    """
    whole: dict[str, Any] = {}
    for name, value in settings:
        key, path = split_index(name)
        if path and key not in whole:
            found = _list_below(key, whole, base)
            whole[key] = None if found is MISSING else copy.deepcopy(found)
        whole[key] = put(whole.get(key), path, value, name)
    return whole


def _list_below(key: str, settings: Mapping[str, Any], base: Mapping[str, Any]) -> Any:
    """The list at `key`: inside the value of a setting, or in the configuration below."""
    for parent, value in reversed(list(settings.items())):
        if key.startswith(f"{parent}.") and isinstance(value, Mapping):
            found = get(value, key.removeprefix(f"{parent}."))
            if found is not MISSING:
                return found
    return get(base, key)


def _replaced(before: Any, value: Any) -> Any:
    if isinstance(before, dict) and "class_path" in before and isinstance(value, str):
        return {**before, "class_path": value} if before["class_path"] == value else {"class_path": value}
    return copy.deepcopy(value)


def merged(before: Any, after: Any) -> Any:
    """Lays `after` over `before`, as the parser lays one `--config` over another: mappings merge, all else is replaced.

    Settings of a class that is replaced are kept here; the parser knows which of them the new class takes.
    """
    if isinstance(before, str) and isinstance(after, Mapping) and set(after) == {"init_args"}:
        before = {"class_path": before}  # a class named by its path alone
    if isinstance(before, dict) and isinstance(after, Mapping):
        result = dict(before)
        for key, value in after.items():
            result[key] = merged(before[key], value) if key in before else copy.deepcopy(value)
        return result
    if isinstance(before, dict) and before and set(before) <= {"class_path", "init_args"} and isinstance(after, str):
        return {**before, "class_path": after}
    return copy.deepcopy(after)


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Makes nested mappings of dotted settings, in order."""
    mapping: dict[str, Any] = {}
    for name, value in settings.items():
        mapping = merged(mapping, put({}, tuple(name.split(".")), value, name))
    return mapping
