"""Configuration files that the parser can't read, told with the file's name, of which there may be several."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mbrl.errors import ConfigError
from mbrl.training.yaml_text import read_mapping

_GIVEN = ("--config", "-c", "--model", "--data", "--trainer")  # options that take a file


def check_config_files(arguments: Sequence[str]) -> None:
    """Refuses a file among a command's arguments that is none, isn't UTF-8 or YAML, holds no mapping or a key twice.

    Raises:
        ConfigError: naming the file, and line and key where there are.
    """
    for option, path in _files(arguments):
        if option in ("--config", "-c") and not path.is_file():
            there = "a folder" if path.is_dir() else "nothing that is there"
            raise ConfigError(f"--config: expected a YAML file, got {path}, which is {there}; check the path.")
        if not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
            found = read_mapping(text, str(path)) if path.suffix in (".yaml", ".yml") else {"other": text}
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: expected a YAML file in UTF-8, got {error}; save it in that encoding.") from None
        except ConfigError as error:
            if twice := re.search(r"(\S+) stands twice in .*?, line (\d+)", str(error)):
                raise ConfigError(
                    f"{twice[1]}: expected each key once, got it again in line {twice[2]} of {path}; leave one out."
                ) from None
            raise ConfigError(f"{str(error).rstrip('.')}; mend that place.") from None
        if not found:
            raise ConfigError(f"{path}: expected a mapping of settings, got an empty file; write some, or leave it out.")


def _files(arguments: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Each option that may take a file, with what follows it; no text of several lines or with brackets is a path."""
    for number, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option in _GIVEN:
            value = value if equals else next(iter(arguments[number + 1 :]), "")
            if value and "\n" not in value and value[0] not in "{[":
                yield option, Path(value)
