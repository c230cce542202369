"""YAML as this library reads and writes it: `1e-3` is a number, quoted text is text, a key that stands twice is an error."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from mbrl.errors import ConfigError

_MOST = 1_000_000  # values in a document, each alias counted as what it stands for


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node makes, those of its aliases each time that they are named."""
    if id(node) not in known:
        known[id(node)] = _MOST  # what a circle leads back to has no end
        below = (
            [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
            if not isinstance(node, yaml.ScalarNode)
            else []
        )
        known[id(node)] = 1 + sum(_size(part, known) for part in below)
    return known[id(node)]


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's numbers; YAML 1.1 takes `1e-3` for a text."""

    def get_single_node(self) -> yaml.Node | None:
        """The document, refused if its aliases make a small text large, or lead in a circle."""
        try:
            node = super().get_single_node()
            if node is not None and _size(node, {}) > _MOST:
                raise yaml.constructor.ConstructorError(None, None, f"more than {_MOST} values, which aliases repeat")
        except RecursionError:
            raise yaml.constructor.ConstructorError(None, None, "values in values without an end") from None
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    # PyYAML would keep the last and drop the first without a word
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_FLOAT = re.compile(r"^[-+]?(?:\d+[eE][-+]?\d+|(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_DATE = "tag:yaml.org,2002:timestamp"  # a text to the command line's parser
_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in pairs if tag != _DATE]
    for first, pairs in _Loader.yaml_implicit_resolvers.items()
}


def read_mapping(text: str, where: str) -> dict[str, Any]:
    """Reads the mapping that a YAML text holds.

    Args:
        text: one YAML document; an empty one is an empty mapping.
        where: the file's name, for messages.

    Raises:
        ConfigError: if it is no YAML, holds a key twice, or holds anything but a mapping.
    """
    try:
        found = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: expected YAML, got {' '.join(str(error).split())}.") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: expected a mapping of keys to values, got {type(found).__name__}.")
    if (odd := _odd(found)) is not None:
        raise ConfigError(f"{where}: expected numbers, texts, lists and mappings, got {odd}; write it as one of these.")
    return found


def _odd(value: Any) -> str | None:
    """The first kind of value that no JSON, and so no command line, holds: what YAML's explicit tags make."""
    if isinstance(value, dict):
        return next((odd for item in (*value, *value.values()) if (odd := _odd(item)) is not None), None)
    if isinstance(value, list):
        return next((odd for item in value if (odd := _odd(item)) is not None), None)
    return None if value is None or isinstance(value, (bool, int, float, str)) else type(value).__name__


def read_value(text: str) -> Any:
    """Reads any value from a YAML text; None if it is no YAML."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        return None


def read_document(text: str, mark: Callable[[str], str]) -> Any:
    """The value that a text is as YAML, with a mark on texts that would become something else if they were read again.

    Args:
        text: one YAML document.
        mark: makes a text of its own kind of such a one, `"1.10"` or `"null"` in quotes.

    Raises:
        yaml.YAMLError: if it is no YAML, or holds a key twice.
    """
    return _marked(yaml.load(text, _Loader), mark)


def _marked(value: Any, mark: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _marked(item, mark) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item, mark) for item in value]
    return mark(value) if isinstance(value, str) and read_value(value) != value else value


def with_sorted_keys(value: Any) -> Any:
    """Sorts the keys of all mappings in a value; those that have no order, such as `null` and `big`, by their JSON."""
    if isinstance(value, Mapping):
        try:
            keys = sorted(value)
        except TypeError:
            keys = sorted(value, key=json.dumps)
        return {key: with_sorted_keys(value[key]) for key in keys}
    return [with_sorted_keys(item) for item in value] if isinstance(value, (list, tuple)) else value


def write_mapping(mapping: Mapping[str, Any]) -> str:
    """Writes `mapping` as a YAML text, keys in their order, short lists on one line."""
    return yaml.dump(dict(mapping), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper with lists of scalars on one line and no anchors, as one writes configurations by hand."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    flow = not any(isinstance(item, (dict, list)) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flow)


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))  # the text "1e-3" needs quotes
_Dumper.add_representer(list, _represent_list)
_Dumper.add_multi_representer(str, lambda dumper, text: dumper.represent_str(str.__str__(text)))
