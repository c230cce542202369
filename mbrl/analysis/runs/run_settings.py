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
from mbrl.training.yaml_text import read_mapping

_MOST = 4  # settings that a label names
_ABSENT = "not set"


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run.

    Attributes:
        model: the planner or model by dotted name, every number and text by itself, without seeds.
        task: the environment's id, and its keyword arguments and action repeat where they aren't the defaults; None where
            the run has no environment.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    task: str | None = None

    @property
    def key(self) -> str:
        """A text that is the same for runs of the same method."""
        return json.dumps(dict(self.model), sort_keys=True, default=str)


def read_settings(folder: Path) -> RunSettings:
    """Reads the settings of a run; they are empty where it has no `config.yaml`.

    Raises:
        ConfigError: if that can't be read.
    """
    path = folder / "config.yaml"
    if not path.exists():
        return RunSettings()
    if not path.is_file():  # a pipe would be waited for
        raise ConfigError(f"{path}: expected the settings of a run, got what is no file; put it back or remove it.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected the settings of a run, got {error}; put it back or remove it.") from error
    config = read_mapping(text, str(path))
    data = config.get("data")
    chosen = data.get("init_args") if isinstance(data, dict) else None
    return RunSettings(dict(_leaves("model", config.get("model"))), _task(chosen) if isinstance(chosen, dict) else None)


def differences(runs: Sequence[RunSettings]) -> list[str]:
    """Says of each run the settings in which they aren't all alike, such as `lr 0.001, members 5`; empty of equal ones."""
    names = list(dict.fromkeys(name for run in runs for name in run.model))
    known = [[run.model.get(name, _ABSENT) for run in runs] for name in names]
    differing = [name for name, values in zip(names, known, strict=True) if any(value != values[0] for value in values)]
    # a part of another class has other settings as well, which its name stands for
    classes = [name.removesuffix("class_path") for name in differing if name.endswith(".class_path")]
    told = [name for name in differing if not any(name.startswith(f"{one}init_args.") for one in classes)]
    shown = {name: name.removesuffix(".class_path") for name in told}
    short = short_names(shown.values())
    said = []
    for run in runs:
        texts = [f"{short[shown[name]]} {_text(run.model.get(name, _ABSENT))}" for name in told]
        more = [f"and {len(texts) - _MOST} more"] if len(texts) > _MOST else []
        said.append(", ".join([*texts[:_MOST], *more]))
    return said


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
