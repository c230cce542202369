"""Configurations written as files that `mbrl fit --config` takes, and search files checked with the real parser."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mbrl.errors import ConfigError, MbrlError
from mbrl.search.file.corners import completed, corners
from mbrl.search.file.search_file import SearchFile
from mbrl.search.file.settings import merged, nested
from mbrl.training.yaml_text import write_mapping

Parse = Callable[[list[str]], Mapping[str, Any]]
"""Arguments of a run → every setting as nested mappings, with an `MbrlError` for what the command doesn't take."""


def best_yaml(search: SearchFile, chosen: Mapping[str, Any], comment: str, parse: Parse) -> str:
    """Makes a whole configuration: `mbrl fit --config best.yaml` runs what a trial ran, with a seed and a folder of its own.

    It holds the settings of the configurations, of `fixed` and of the choice that the parser took, and no defaults: it is to
    be read.

    Args:
        search: the search.
        chosen: numbers and labels of the active parameters.
        comment: lines that go before it.
        parse: the command line's parser.

    Raises:
        MbrlError: if the parser refuses it.
    """
    with TemporaryDirectory() as folder:
        arguments = search.argv(chosen, search.seeds.tune[0], "run", search.write_configs(folder))
        taken = parse(arguments)
        written = _taken(merged(search.base(), nested(search.settings(chosen))), taken)
        for key in ("seed_everything", "name", "variant"):
            written.pop(key, None)
        for key in ("folder", "name", "variant"):
            written.get("trainer", {}).pop(key, None)
        text = "".join(f"# {line}\n" for line in comment.splitlines())
        text += write_mapping({"name": f"{search.study}-best", **written})
        path = Path(folder) / "best.yaml"
        path.write_text(text, encoding="utf-8")
        again = parse([*search.begin, "--config", str(path), *arguments[-3:]])
    for part in ("model", "data"):
        if again[part] != taken[part]:
            raise ConfigError(
                f"{part}: expected one file to say what the configurations of {search.study} say together, got settings "
                "that depend on their order; write that part's settings in one configuration."
            )
    return text


def check(search: SearchFile, parse: Parse) -> int:
    """Gives the corners of a search's space to the real parser and the constructors of all parts.

    Args:
        search: the search.
        parse: the command line's parser.

    Returns:
        The number of configurations that were tried.

    Raises:
        ConfigError: naming the setting at fault, and what is wrong with it.
    """
    count = 0
    with TemporaryDirectory() as folder:
        paths = search.write_configs(folder)
        for what, chosen in corners(search.space):
            count += 1
            try:
                parse(search.argv(chosen, search.seeds.tune[0], "run", paths))
            except MbrlError as error:
                names = _blamed(search, chosen, paths, parse)
                raise ConfigError(f"{names}, at {what}: {error}") from error
    return count


def example_command(search: SearchFile) -> str:
    """Writes the command of the first trial, or of any trial if the search has no start, for a shell, an option a line."""
    chosen, seed = search.space.start() or completed(search.space, {}, high=False), search.seeds.tune[0]
    lines: list[list[str]] = [["mbrl"]]
    for word in search.argv(chosen, seed, f"runs/{search.study}/0/seed{seed}"):
        if word.startswith("--"):
            lines.append([])
        lines[-1].append(word)
    return " \\\n    ".join(map(shlex.join, lines))


def _blamed(search: SearchFile, chosen: Mapping[str, Any], paths: list[Path], parse: Parse) -> str:
    """The first setting of `fixed` or the space with which the parser refuses what it took before."""
    settings = search.settings(chosen)
    arguments = search.argv(chosen, search.seeds.tune[0], "run", paths)
    overlay = len(search.begin) + 2 * len(paths)
    tried: dict[str, Any] = {}
    for name in [None, *settings]:
        if name is not None:
            tried[name] = settings[name]
        arguments[overlay] = f"--config={json.dumps(nested(tried))}"
        try:
            parse(arguments)
        except MbrlError:
            if name is not None:
                return name
            break  # the configurations alone may lack what the space gives them
    return "config, fixed and space together"


def _taken(written: Any, parsed: Any) -> Any:
    """The settings in `written` that the parser knows; those that a replaced class left behind go."""
    if isinstance(written, str) and isinstance(parsed, Mapping) and "class_path" in parsed:
        return {"class_path": written}
    if not (isinstance(written, Mapping) and isinstance(parsed, Mapping)):
        return written
    return {key: _taken(value, parsed[key]) for key, value in written.items() if key in parsed}
