"""`SearchFile`: the space, the command, the seeds and the limits of a search, all in one YAML file.

The file and the texts of the configurations that it names are all that a search needs: a study keeps both, so that a second
machine needs no files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mbrl.arguments import check_argument, check_known
from mbrl.errors import ConfigError
from mbrl.names import check_allowed
from mbrl.options.presets import shipped
from mbrl.search.file.search_options import (
    Budget,
    Objective,
    PrunerChoice,
    RunLimits,
    SamplerChoice,
    Seeds,
    check_several,
    read_objectives,
    read_part,
)
from mbrl.search.file.settings import MISSING, get, merged, nested, split_index, with_lists
from mbrl.search.file.space import Space
from mbrl.training.run_folder import check_name
from mbrl.training.yaml_text import read_mapping, read_value, with_sorted_keys

KEYS = ("study", "command", "config", "fixed", "objectives", "space", "seeds", "budget", "pruner", "sampler", "limits")

# What a search sets itself for each run.
_OURS = (
    "seed_everything",
    "data.init_args.seed",
    "name",
    "variant",
    "trainer.name",
    "trainer.variant",
    "trainer.folder",
    "ckpt_path",
)

_DOTTED = re.compile(r"[A-Za-z_]\w*([.:][A-Za-z_][\w-]*)+")


@dataclass(frozen=True)
class SearchFile:
    """A search file, read and checked as far as it can be without the command's parser (`mbrl search check` does the rest).

    Attributes:
        study: the study's name, also of the folder `runs/<study>`.
        command: the command of a trial, `fit`.
        configs: (name, text) of the configurations, merged in order as on the command line.
        fixed: dotted setting → value, the same in every trial.
        objectives: metrics that are optimised; more than one make the study multi-objective.
        space: settings that are chosen.
        seeds: of runs, to tune, to select and to test with.
        budget: trials or hours after which the search ends.
        pruner: choice of what ends trials early.
        sampler: choice of what proposes configurations.
        limits: of single runs and of errors.
        text: the file as it was written.
        foreign: whether it came with a study, whose runs then trust no names but `mbrl`'s and those that are allowed.
    """

    study: str
    command: str
    configs: tuple[tuple[str, str], ...]
    fixed: Mapping[str, Any]
    objectives: tuple[Objective, ...]
    space: Space
    seeds: Seeds
    budget: Budget
    pruner: PrunerChoice
    sampler: SamplerChoice
    limits: RunLimits
    text: str
    foreign: bool = field(default=False, compare=False)

    @classmethod
    def from_text(
        cls, text: str, configs: Sequence[tuple[str, str]] | None = None, name: str = "the search file"
    ) -> SearchFile:
        """Reads a search file's text.

        Args:
            text: YAML.
            configs: (name, text) of the configurations that it names; None reads them, from where the process stands, and
                `configs/…`, which isn't there, from the package.
            name: the file's, for messages.

        Raises:
            ConfigError: naming the key that is wrong.
        """
        written = read_mapping(text, name)
        for key in written:
            check_known(key, key, KEYS)
        for key in ("study", "objectives", "space", "budget"):
            if key not in written:
                raise ConfigError(f"{key}: expected in {name}, got none; add it.")
        command = written.get("command", "fit")
        if command != "fit":
            raise ConfigError(f"command: expected fit, the one command that a search runs, got {command!r}.")
        names, fixed = written.get("config", []), written.get("fixed", {})
        check_argument("config", names, list[str])
        check_argument("fixed", fixed, Mapping[str, Any])
        if configs is None:
            configs = [(path, _text_of(path)) for path in names]
        elif [path for path, _ in configs] != names:
            raise ConfigError(f"config: expected the texts of {names} in order, got {[path for path, _ in configs]}.")
        made = cls(
            study=_study(written["study"]),
            command=command,
            configs=tuple((path, config) for path, config in configs),
            fixed=dict(fixed),
            objectives=read_objectives(written["objectives"]),
            space=Space.from_mapping(written["space"]),
            seeds=read_part(Seeds, "seeds", written.get("seeds", {})),
            budget=read_part(Budget, "budget", written["budget"]),
            pruner=read_part(PrunerChoice, "pruner", written.get("pruner", {})),
            sampler=read_part(SamplerChoice, "sampler", written.get("sampler", {})),
            limits=read_part(RunLimits, "limits", written.get("limits", {})),
            text=text,
        )
        check_several(made.objectives, made.pruner, made.sampler)
        made._check_settings()
        return made

    @property
    def begin(self) -> list[str]:
        """The arguments of a run after `mbrl` that come before its configurations."""
        return [self.command, *(["--foreign"] if self.foreign else [])]

    @property
    def config(self) -> tuple[str, ...]:
        """The configurations' names, in order."""
        return tuple(name for name, _ in self.configs)

    @property
    def hash(self) -> str:
        """SHA-256, in hex, of what makes trials comparable: command, configurations, fixed, objectives, space and seeds.

        Comments, budget, limits, sampler, pruner and `log` of objectives may change while a study goes on.
        """
        written = read_mapping(self.text, self.study)
        facts = {
            "command": self.command,
            "configs": [read_mapping(text, name) for name, text in self.configs],
            "fixed": dict(self.fixed),
            "objectives": [
                {name: getattr(objective, name) for name in ("metric", "direction", "reduce")}
                for objective in self.objectives
            ],
            "space": [[name, entry] for name, entry in written["space"].items()],
            "seeds": vars(self.seeds),
        }
        return hashlib.sha256(json.dumps(with_sorted_keys(facts)).encode()).hexdigest()

    def base(self) -> dict[str, Any]:
        """The configurations merged in order, with `fixed` over them, as nested mappings."""
        mapping: dict[str, Any] = {}
        for name, text in self.configs:
            mapping = merged(mapping, read_mapping(text, name))
        return merged(mapping, nested(with_lists(self.fixed.items(), mapping)))

    def settings(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Makes settings of `fixed` and of what is chosen: dotted key → value, parents first.

        Args:
            chosen: numbers and labels of the active parameters, as `Space.suggest` gives them.

        Raises:
            ConfigError: as `Space.settings` does.
        """
        base = self.base()
        return {**with_lists(self.fixed.items(), base), **self.space.settings(chosen, base)}

    def argv(
        self, chosen: Mapping[str, Any], seed: int, folder: str | Path, config_paths: Sequence[str | Path] | None = None
    ) -> list[str]:
        """Makes the arguments after `mbrl` of one run: `fit`, configurations, `fixed` with the choice, seed and folder.

        `fixed` and what is chosen are one more `--config`, written out as JSON: as single arguments the parser takes no null
        for a setting of a part of a part, and minds their order. A run of the same arguments in a folder that holds its
        checkpoint goes on from there.

        Args:
            chosen: numbers and labels of the active parameters.
            seed: of the run.
            folder: of the run.
            config_paths: where the configurations lie; by default, where the search file says.
        """
        paths = [shipped(name) for name in self.config] if config_paths is None else config_paths
        if len(paths) != len(self.configs):
            raise ConfigError(f"config_paths: expected {len(self.configs)}, got {len(paths)}.")
        arguments = self.begin
        for path in paths:
            arguments += ["--config", str(path)]
        arguments.append(f"--config={json.dumps(nested(self.settings(chosen)))}")
        return [*arguments, f"--seed_everything={seed}", f"--trainer.folder={folder}", "--ckpt_path=last"]

    def write_configs(self, folder: str | Path) -> list[Path]:
        """Writes the configurations into a folder, for a machine that lacks them, and returns where they are."""
        paths = []
        for number, (name, text) in enumerate(self.configs):
            plain = re.sub(r"[^\w.-]", "_", Path(name).name)[-100:]
            path = Path(folder) / f"{number}-{plain}"
            path.write_text(text, encoding="utf-8")
            paths.append(path)
        return paths

    def check_names(self, allow: Sequence[str] = ()) -> None:
        """Refuses a search, such as one that came with a study, which names anything outside `mbrl` and allowed modules.

        A first look, before anything runs, at every text with a dot or colon between words, wherever it stands, also inside
        a text that is YAML itself; a file is none if its path has a slash (`./data.npz`). What stops the rest is the parser
        of its runs (`foreign`).

        Raises:
            UntrustedNameError: with the flag that would allow it.
        """
        parts = [read_mapping(text, name) for name, text in self.configs]
        choices = [value for parameter in self.space.parameters for value in parameter.values]
        for text in _texts([*parts, dict(self.fixed), choices]):
            if _DOTTED.fullmatch(text):
                check_allowed(text, allow)

    def _check_settings(self) -> None:
        """Refuses keys that a search sets itself, and keys that are both fixed and searched."""
        searched = [parameter.name for parameter in self.space.parameters]
        given = [("fixed", name, value) for name, value in self.fixed.items()]
        for parameter in self.space.parameters:
            given += [("space", parameter.name, value) for value in parameter.values or (None,)]
        for where, name, value in given:
            within = nested({name: value}) if not split_index(name)[1] else {}  # none of ours is in a list
            for ours in _OURS:
                if get(within, ours) is not MISSING:
                    raise ConfigError(f"{ours}: expected out of {where}, since a search sets it for each run; remove it.")
        for name in self.fixed:
            for other in searched:
                # a mapping that is chosen merges with what is fixed, a list replaces it
                in_list = bool(split_index(name)[1])
                if name == other or (in_list and name.startswith(f"{other}.")):
                    raise ConfigError(
                        f"{name}: expected in fixed or in the space, got both, and {other} would overwrite it; remove one."
                    )
        seed = get(self.base(), "data.init_args.seed")
        if seed is not MISSING:
            raise ConfigError(f"data.init_args.seed: expected out of the configurations, got {seed!r}; use `seeds`.")


def read_search_file(path: str | Path) -> SearchFile:
    """Reads a search file and the configurations that it names.

    Args:
        path: of the YAML file; the configurations' paths are from where the process stands, as on the command line.

    Raises:
        ConfigError: if a file can't be read, or naming the key that is wrong.
    """
    return SearchFile.from_text(_text_of(str(path)), name=str(path))


def _text_of(path: str) -> str:
    try:
        return Path(shipped(path)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected a YAML file from where the command runs, got {error}; check it.") from error


def _study(written: Any) -> str:
    if not isinstance(written, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", written):
        raise ConfigError(f"study: expected a name of letters, digits, '-', '_' and '.', got {written!r}.")
    check_name("study", written)  # the devices' names
    return written


def _texts(value: Any) -> list[str]:
    """All texts in nested mappings and lists, and in texts that hold such, which the parser would read."""
    if isinstance(value, str):
        inner = read_value(value) if any(sign in value for sign in "{[:\n") else None
        return [value, *_texts(inner)] if isinstance(inner, (dict, list)) else [value]
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in _texts(item)]
    return []
