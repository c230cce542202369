"""Keys that stand twice in a configuration file, which the parser would tell without the file's name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mbrl.errors import ConfigError
from mbrl.training.yaml_text import read_mapping


def refuse_doubled(arguments: Sequence[str]) -> None:
    """Refuses a YAML file among a command's arguments in which a key stands twice; other faults are the parser's to tell.

    Raises:
        ConfigError: naming key, line and file.
    """
    for argument in arguments:
        path = Path(argument.partition("=")[2] if argument.startswith("-") else argument)
        if path.suffix not in (".yaml", ".yml") or not path.is_file():
            continue
        try:
            read_mapping(path.read_text(encoding="utf-8"), str(path))
        except (ConfigError, UnicodeDecodeError) as error:
            if found := re.search(r"(\S+) stands twice in .*?, line (\d+)", str(error)):
                raise ConfigError(
                    f"{found[1]}: expected each key once, got it again in line {found[2]} of {path}; leave one out."
                ) from None
