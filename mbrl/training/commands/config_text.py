"""Reading of YAML by the command line: as jsonargparse does, with classes by the names that they have now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonargparse import get_loader, set_loader

from mbrl.spec import address

MODE = "mbrl"  # jsonargparse's name for this way of reading


def _load(text: str) -> Any:
    return _renamed(get_loader("yaml")(text))


def _renamed(value: Any) -> Any:
    """`value` with public names in place of those that a `config.yaml` from before a move holds."""
    if isinstance(value, Mapping):
        return {
            key: address(item)
            if key == "class_path" and isinstance(item, str) and item.startswith("mbrl.")
            else _renamed(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    return value


set_loader(MODE, _load)
