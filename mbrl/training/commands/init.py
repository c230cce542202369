"""`mbrl init`: the settings of a first run in an environment, as a YAML file with a comment on each that matters."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium

from mbrl.envs.check import Examined, examine
from mbrl.errors import ConfigError, TaskError, shown
from mbrl.planners import Planner
from mbrl.spec import from_spec
from mbrl.training.commands.check import json_object
from mbrl.training.commands.first_settings import Setting, first_settings
from mbrl.training.files import write_whole
from mbrl.training.output import plain_warnings, tell
from mbrl.training.yaml_text import read_mapping, write_mapping

_WIDTH = 118
_OF_TASK = ("entropy_target",)  # of a preset's learner, chosen for its own task


def run(given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Checks the environment, and writes what follows from it.

    Raises:
        TaskError: as `mbrl check`, and for a file that registers no environment.
        ConfigError: for a preset that learns nothing in an environment, or a file that is there.
    """
    settings = _merged(given.files)
    planner = _planner(settings, given.preset)
    if given.output is not None:
        _check_output(given.output)
    env_id, module = _env_id(given.env)
    kwargs = None if given.env_kwargs is None else json_object("--env_kwargs", given.env_kwargs)
    name = _slug(env_id)
    output = given.output or Path(f"{name}.yaml")
    _check_output(output)
    with plain_warnings():
        found = examine(env_id, kwargs, reward=given.reward, terminated=given.terminated, action_repeat=given.action_repeat)
    allowed = dict.fromkeys([*allow, *([module] if module else [])])
    command = shlex.join(["mbrl", *(word for each in allowed for word in ("--allow", each)), "fit", "--config", str(output)])
    chosen = first_settings(planner, found)
    settings = {"name": f"{given.preset.split(',')[0].split('/')[0]}-{name}", **settings}
    for setting in chosen:
        _put(settings, setting)
    write_whole(output, _text(settings, chosen, found, given.preset, command).encode())
    tell("\n".join([*found.lines, "", f"written  {output}", f"next     {command}"]))
    return 0


# the preset ----------------------------------------------------------------------------------------------------------


def _merged(files: Sequence[str]) -> dict[str, Any]:
    """The settings of a preset's files, without those of its own task."""
    merged: dict[str, Any] = {}
    for file in files:
        path = Path(file)
        layer = read_mapping(path.read_text(encoding="utf-8"), str(path))
        if path.parent.name != "base":
            layer.pop("name", None)
            layer.get("trainer", {}).pop("stop_at", None)
            layer.get("trainer", {}).pop("stop_count", None)
            learner = layer.get("model", {}).get("init_args", {}).get("learner") or {}
            for name in _OF_TASK:
                learner.get("init_args", {}).pop(name, None)
        layer.get("data", {}).pop("init_args", None)
        _merge(merged, layer)
    return merged


def _merge(below: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Puts settings over others; those of another class don't mix."""
    for key, value in over.items():
        there = below.get(key)
        if isinstance(value, dict) and isinstance(there, dict):
            if value.get("class_path", there.get("class_path")) != there.get("class_path"):
                there = {}
            below[key] = there
            _merge(there, value)
        else:
            below[key] = value


def _planner(settings: Mapping[str, Any], preset: str) -> Planner:
    """The preset's planner, refused if it doesn't learn in an environment."""
    data = settings.get("data", {}).get("class_path")
    found = from_spec(settings["model"])
    if data != "mbrl.envs.OnlineData" or not isinstance(found, Planner) or _fitted_never(found):
        raise ConfigError(
            f"--preset: expected one that learns in an environment, got {preset}; choose mbpo, pets, srl or one of theirs."
        )
    return found


def _fitted_never(planner: Planner) -> bool:
    dynamics = getattr(planner, "dynamics", None)
    return getattr(planner, "learner", None) is None and getattr(dynamics, "fitting", "fixed") == "fixed"


# the environment -----------------------------------------------------------------------------------------------------


def _env_id(text: str) -> tuple[str, str | None]:
    """The environment's id, and its module where that is found in the current folder alone."""
    if text.endswith(".py"):
        module = _module_of(Path(text))
        return _registered(module, text), module
    module, colon, _ = text.partition(":")
    if not colon:
        return text, None
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return text, None
    here = Path(*parts)
    return text, module if here.with_suffix(".py").is_file() or here.is_dir() else None


def _module_of(path: Path) -> str:
    """The dotted name under which a file below the current folder can be imported."""
    if not path.is_file():
        raise TaskError(f"expected the .py file of an environment, got {path}, which is not there; check the path.")
    if not path.resolve().is_relative_to(Path.cwd().resolve()):
        raise TaskError(
            f"expected a file below the current folder, from where runs import it by name, got {path}; go to its folder, or "
            "install it as a package and give module:Id."
        )
    parts = path.resolve().relative_to(Path.cwd().resolve()).with_suffix("").parts
    if not all(part.isidentifier() for part in parts):
        raise TaskError(
            f"expected a file that can be imported by its name, got {path}; rename it with letters, digits and underscores."
        )
    return ".".join(parts)


def _registered(module: str, path: str) -> str:
    """The id of the only environment that a file registers, with its module."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as --allow does: the user named the file
    before = set(gymnasium.registry)
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever the file does
        raise TaskError(
            f"expected {path} to be imported as {module}, got {type(error).__name__}: {str(error).rstrip('.')}; mend it."
        ) from error
    if not os.path.samefile(getattr(found, "__file__", None) or os.curdir, path):
        raise TaskError(
            f"expected {module} to be {path}, got {getattr(found, '__file__', 'a module of Python')}, which has the name "
            "already; rename the file."
        )
    ids = [name for name, spec in gymnasium.registry.items() if name not in before or _home(spec.entry_point) == module]
    if len(ids) == 1:
        return f"{module}:{ids[0]}"
    if not ids:
        raise TaskError(
            f"expected {path} to register an environment, got none; put gymnasium.register('Name-v0', entry_point=Class, "
            "max_episode_steps=…) at its end."
        )
    raise TaskError(
        f"expected {path} to register one environment, got {', '.join(ids)}; name one, such as mbrl --allow {module} init "
        f"{module}:{ids[0]}."
    )


def _home(entry_point: Any) -> str | None:
    """The module of an environment's class."""
    return entry_point.partition(":")[0] if isinstance(entry_point, str) else getattr(entry_point, "__module__", None)


def _slug(env_id: str) -> str:
    """A file's name of an environment's: `lift` of `mine.lift:Lift-v0`."""
    bare = re.sub(r"-v\d+$", "", re.split(r"[:/]", env_id)[-1])
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", bare).lower()).strip("-") or "environment"


# the file ------------------------------------------------------------------------------------------------------------


def _check_output(path: Path) -> None:
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--output: expected a name that ends in .yaml, got {path}; change the ending.")
    if not str(path).isprintable():  # it stands in comments
        raise ConfigError(f"--output: expected a name of printable letters, got {str(path)!r}; change it.")
    if os.path.lexists(path):
        raise ConfigError(f"expected a new file, but {path} is there; give another with --output, or move it away.")
    if not path.parent.is_dir():
        raise ConfigError(f"--output: expected a folder {path.parent} to write {path.name} into, got none; make it.")


def _put(settings: dict[str, Any], setting: Setting) -> None:
    *parents, last = setting.name.split(".")
    at = settings
    for name in parents:
        at = at.setdefault(name, {})
    at[last] = setting.value


def _text(settings: Mapping[str, Any], chosen: Sequence[Setting], found: Examined, preset: str, command: str) -> str:
    """The file: what was found, how it is used, then the settings with their reasons."""
    head = [
        f"{found.task.env_id} with the settings of {preset}, and what follows from the environment. `mbrl check` found:",
        *(f"- {line}" for line in found.lines),
        "Everything that isn't explained here is the preset's. To train, and to go on after a stop with --ckpt_path last:",
    ]
    lines = [part for text in head for part in _comment(text, 0)]
    whys = {setting.name: setting.why for setting in chosen if setting.why}
    return "\n".join([*lines, f"#   {command}", *_lines(settings, whys)]) + "\n"


def _lines(mapping: Mapping[str, Any], whys: Mapping[str, str], above: str = "") -> Iterator[str]:
    indent = "  " * above.count(".") if above else ""
    for key, value in mapping.items():
        name = f"{above}{key}"
        if name in whys:
            yield from _comment(whys[name], len(indent))
        if isinstance(value, Mapping) and any(explained.startswith(f"{name}.") for explained in whys):
            yield f"{indent}{key}:"
            yield from _lines(value, whys, f"{name}.")
        else:  # such as env_kwargs, whose keys may be anything
            yield textwrap.indent(write_mapping({key: value}), indent).removesuffix("\n")


def _comment(text: str, indent: int) -> list[str]:
    start = " " * indent + "# "
    return textwrap.wrap(
        shown(" ".join(text.split())), _WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
