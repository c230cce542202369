"""`RunSettings`: what a run folder's `config.yaml` says of its method and its task, so that like is compared with like."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mbrl.analysis.short_names import short_names
from mbrl.errors import ConfigError
from mbrl.names import address
from mbrl.training.run_folder import settings_until
from mbrl.training.yaml_text import read_mapping

_MOST = 4  # settings that a label names
_ABSENT = "not set"
_UNTIL = " until "


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run.

    Attributes:
        model: the planner or model by dotted name, every number and text by itself, without seeds.
        task: the environment's id, and its keyword arguments and action repeat where they aren't the defaults; None where
            the run has no environment.
        until: settings that a run had before it went on with others, such as `model.init_args.lr until 400`.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    task: str | None = None
    until: Mapping[str, Any] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, Any]:
        """`model`, then `until`."""
        return {**self.model, **self.until}

    @property
    def key(self) -> str:
        """A text that is the same for runs of the same method."""
        return json.dumps(self.all, sort_keys=True, default=str)

    def changes(self) -> str:
        """The settings before others, such as `lr 0.001 until 400`; empty where the run had one kind throughout."""
        short = short_names(self.until)
        return ", ".join(_told(short[name], value) for name, value in self.until.items())


def read_settings(folder: Path) -> RunSettings:
    """Reads the settings of a run; they are empty where it has no `config.yaml`.

    Raises:
        ConfigError: if that, or one of what held before it, can't be read.
    """
    path = folder / "config.yaml"
    if not path.exists():
        return RunSettings()
    model, task = _read(path)
    until: dict[str, Any] = {}
    for end, earlier in settings_until(folder).items():
        had, had_task = _read(earlier)
        for name in _differing([had, model]):
            until[f"{name.removesuffix('.class_path')}{_UNTIL}{end}"] = had.get(name, _ABSENT)
        if had_task != task:
            until[f"task{_UNTIL}{end}"] = had_task
    return RunSettings(model, task, until)


def _read(path: Path) -> tuple[dict[str, Any], str | None]:
    """The settings of the model, and the task, in a file."""
    if not path.is_file():  # a pipe would be waited for
        raise ConfigError(f"{path}: expected the settings of a run, got what is no file; put it back or remove it.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected the settings of a run, got {error}; put it back or remove it.") from error
    config = read_mapping(text, str(path))
    data = config.get("data")
    chosen = data.get("init_args") if isinstance(data, dict) else None
    return dict(_leaves("model", config.get("model"))), _task(chosen) if isinstance(chosen, dict) else None


def differences(runs: Sequence[RunSettings]) -> list[str]:
    """Says of each run the settings in which they aren't all alike, such as `lr 0.001, members 5`; empty of equal ones."""
    settings = [run.all for run in runs]
    told = _differing(settings)
    shown = {name: name.removesuffix(".class_path") for name in told}
    short = short_names(shown.values())
    said = []
    for one in settings:
        texts = [_told(short[shown[name]], one[name]) if name in one else _not_told(short[shown[name]]) for name in told]
        more = [f"and {len(texts) - _MOST} more"] if len(texts) > _MOST else []
        said.append(", ".join([*texts[:_MOST], *more]))
    return said


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of settings that aren't all alike; a part of another class stands for its settings, which are others too."""
    names = dict.fromkeys(name for one in settings for name in one)
    found = [name for name in names if any(one.get(name, _ABSENT) != settings[0].get(name, _ABSENT) for one in settings)]
    classes = [name.removesuffix("class_path") for name in found if name.endswith(".class_path")]
    return [name for name in found if not any(name.startswith(f"{one}init_args.") for one in classes)]


def _told(name: str, value: Any) -> str:
    """A setting with its value, and until when it had that."""
    setting, until, end = name.partition(_UNTIL)
    return f"{setting} {_text(value)}{until}{end}"


def _not_told(name: str) -> str:
    """A setting that a run doesn't have, or that it didn't change when another did."""
    setting, until, end = name.partition(_UNTIL)
    return f"{setting} not changed at {end}" if until else f"{setting} {_ABSENT}"


def _text(value: Any) -> str:
    """A setting's value as a label has it: a class without its package."""
    return value.rpartition(".")[2] if isinstance(value, str) else str(value)


def _leaves(name: str, value: Any) -> list[tuple[str, Any]]:
    """Dotted names and values below a setting; classes by their names of today."""
    if name.rpartition(".")[2] == "seed":
        return []
    if isinstance(value, (dict, list)) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [leaf for key, item in items for leaf in _leaves(f"{name}.{key}", item)]
    return [(name, address(value) if isinstance(value, str) and value.startswith("mbrl.") else value)]


def _task(data: Mapping[str, Any]) -> str | None:
    env_id = data.get("env_id")
    if not isinstance(env_id, str):
        return None
    changed = [f"{name}={value}" for name, value in sorted((data.get("env_kwargs") or {}).items())]
    repeat = data.get("action_repeat") or 1
    changed += [f"action_repeat={repeat}"] if repeat != 1 else []
    return env_id + (f" ({', '.join(changed)})" if changed else "")
