"""`--foreign`: a configuration that came from elsewhere, such as a study's, makes nothing that isn't trusted.

A user's own configuration may name any class. One that came with a study may name what is defined in `mbrl` and in the
modules that the user allows, and the parser is stopped where it looks a name up, before it imports anything: so a class is
found whatever the form in which it is named (`class_path`, a text alone, a class's bare name, a callable).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from jsonargparse import _actions, _typehints

from mbrl.errors import UntrustedNameError
from mbrl.names import import_name

OPTION = "--foreign"

_LOOKUPS: tuple[Any, ...] = (_actions, _typehints)  # where the parser makes objects of the texts that it reads


class _Refused(SystemExit):
    """A name that isn't trusted. As an exception of another kind it would count as one of several tries at a union."""

    def __init__(self, error: UntrustedNameError) -> None:
        super().__init__(2)
        self.error = error


@contextmanager
def only_allowed(allow: Sequence[str]) -> Iterator[None]:
    """Within it the command line's parser looks up what is defined in `mbrl` and in the modules of `allow`, nothing else.

    Raises:
        UntrustedNameError: with the flag that would allow what a configuration names.
    """

    def looked_up(name: str, *arguments: Any, **options: Any) -> Any:
        try:
            return import_name(name, allow)
        except UntrustedNameError as error:
            raise _Refused(error) from None

    before = [module.import_object for module in _LOOKUPS]  # an error here is better than a parser without a guard
    for module in _LOOKUPS:
        module.import_object = looked_up
    try:
        yield
    except _Refused as refused:
        raise refused.error from None
    finally:
        for module, original in zip(_LOOKUPS, before, strict=True):
            module.import_object = original


def check_classes(config: Any, allow: Sequence[str]) -> None:
    """Refuses parsed settings, nested mappings and lists, that name a class which isn't trusted.

    Raises:
        UntrustedNameError: with the flag that would allow it.
    """
    if isinstance(config, Mapping):
        if isinstance(path := config.get("class_path"), str):
            import_name(path, allow)
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        for item in config:
            check_classes(item, allow)
