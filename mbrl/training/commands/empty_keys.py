"""Unknown keys whose value is an empty mapping, which the parser drops without a word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mbrl.errors import ConfigError
from mbrl.training.yaml_text import read_mapping


def refuse_empty_unknown(path: Path, parsed: Mapping[str, Any]) -> None:
    """Refuses a configuration file with a key that the parser doesn't know and that holds nothing.

    Args:
        path: the YAML file, which the parser has accepted.
        parsed: what came of it, as nested dicts.

    Raises:
        ConfigError: naming the first such key.
    """
    for name in unknown(read_mapping(path.read_text(encoding="utf-8"), str(path)), parsed):
        raise ConfigError(f"{name}: expected a setting that exists, got this one in {path}; check the spelling.")


def unknown(written: Any, parsed: Any, name: str = "") -> Iterator[str]:
    """The dotted names of empty mappings in `written` that `parsed` lacks."""
    if not (isinstance(written, Mapping) and isinstance(parsed, Mapping)):
        return
    if _last(written) not in (None, _last(parsed)):  # a later file chose another class, and its settings count
        return
    for key, item in written.items():
        where = f"{name}.{key}" if name else str(key)
        if key in parsed:
            yield from unknown(item, parsed[key], where)
        elif item == {}:
            yield where


def _last(value: Mapping[str, Any]) -> str | None:
    """The class that a mapping names, however long its path is written."""
    path = value.get("class_path")
    return path.rpartition(".")[2] if isinstance(path, str) else None
