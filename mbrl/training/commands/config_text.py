"""Reading of YAML by the command line: quoted text stays text, a key stands once, classes have the names of today.

jsonargparse reads a value again wherever any type may stand, as in `env_kwargs`, so that `"1.10"` would become 1.1 and
`"off"` False. A text that means something else without its quotes therefore comes as a `Text`, which it leaves alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import yaml
from jsonargparse import set_dumper, set_loader
from jsonargparse.typing import register_type

from mbrl.names import address
from mbrl.training.yaml_text import read_document, write_mapping

MODE = "mbrl"  # jsonargparse's name for this way of reading


class Text(str):
    """A text that stood in quotes."""

    __slots__ = ()


def _load(text: str) -> Any:
    found = read_document(text, Text)
    if isinstance(found, dict) and found and all(value is None for value in found.values()):
        # `name:` and `{name}` on the command line are texts, as in jsonargparse's own reading
        shown = text.strip(" {}").replace(" ", "")
        if (len(found) == 1 and text.strip() == f"{next(iter(found))}:") or set(shown.split(",")) == set(found):
            return text
    return _renamed(found)


def _renamed(value: Any) -> Any:
    """`value` with public names in place of those that a `config.yaml` from before a move holds."""
    if isinstance(value, Mapping):
        found = {key: _renamed(item) for key, item in value.items()}
        if str(found.get("class_path")).startswith("mbrl."):
            found["class_path"] = address(found["class_path"])
        return found
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    return value


def _dump(value: Any) -> str:
    return write_mapping(value)


def _path(value: Any) -> str:
    """A path is a text; jsonargparse would take the text of a list or a number."""
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError(f"Expected a <class 'str'>. Got value: {value}")
    return os.fspath(value)


register_type(os.PathLike, serializer=os.fspath, deserializer=_path, fail_already_registered=False)
register_type(Text, serializer=Text, deserializer=Text, fail_already_registered=False)
set_loader(MODE, _load, exceptions=(yaml.YAMLError,))
set_dumper(MODE, _dump)
