"""`Parameter`: one key of a search space, its values, and the choices under which it counts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from mbrl.arguments import check_argument, check_known
from mbrl.errors import ConfigError

Kind = Literal["float", "int", "choice"]

_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*")
_LONGEST_NAME = 512  # Optuna's databases keep no more


def label_of(value: Any) -> str:
    """Makes the label under which a scalar of a choice is stored: its text as YAML writes it."""
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True)
class Parameter:
    """One key of a search space.

    Attributes:
        name: a dotted setting of `mbrl fit`; a number in it is a place in a list.
        kind: `"float"`, `"int"` or `"choice"`.
        low: the least of a number; None for a choice.
        high: the largest, itself in the range; None for a choice.
        log: whether a number is searched on a log scale.
        labels: texts that are stored for the values of a choice.
        values: the values themselves, any YAML.
        when: labels of earlier choices of which one each must be taken for this parameter to count, parent → labels.
        start: the known good value (a choice's label), or None.
    """

    name: str
    kind: Kind
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    labels: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()
    when: Mapping[str, tuple[str, ...]] | None = None
    start: float | int | str | None = None

    def distribution(self) -> BaseDistribution:
        """Makes Optuna's distribution of it."""
        if self.kind == "choice":
            return CategoricalDistribution(self.labels)
        if self.kind == "int":
            return IntDistribution(int(self.low or 0), int(self.high or 0), log=self.log)
        return FloatDistribution(float(self.low or 0), float(self.high or 0), log=self.log)

    def suggest(self, trial: Trial) -> float | int | str:
        """Asks a trial for this parameter: a number, or a choice's label."""
        if self.kind == "choice":
            label: str = trial.suggest_categorical(self.name, self.labels)
            return label
        if self.kind == "int":
            return trial.suggest_int(self.name, int(self.low or 0), int(self.high or 0), log=self.log)
        return trial.suggest_float(self.name, float(self.low or 0), float(self.high or 0), log=self.log)

    def value(self, stored: Any) -> Any:
        """Turns a stored number or label into its value.

        Raises:
            ConfigError: if it is no value of this parameter.
        """
        if self.kind == "choice":
            check_known(self.name, stored, self.labels)
            return self.values[self.labels.index(stored)]
        assert self.low is not None and self.high is not None  # numbers have both
        whole = self.kind == "int"
        if not _is_number(stored) or (whole and stored != int(stored)) or not self.low <= stored <= self.high:
            number = "a whole number" if whole else "a number"
            raise ConfigError(f"{self.name}: expected {number} from {self.low} to {self.high}, got {stored!r}.")
        return int(stored) if whole else float(stored)


def read_parameter(name: str, written: Any) -> Parameter:
    """Reads one entry of a search space.

    Args:
        name: the key.
        written: `{float: [low, high], log: …}`, `{int: [low, high], log: …}`, `{choice: [scalars]}` or
            `{choice: {label: value}}`, each with `when` and `start` if wanted.

    Raises:
        ConfigError: naming the key and what is wrong.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise ConfigError(f"space: expected dotted settings such as model.init_args.real_ratio, got {name!r}.")
    if not isinstance(written, Mapping):
        raise ConfigError(f"{name}: expected a mapping such as {{float: [0.1, 1.0]}}, got {written!r}.")
    kinds = [kind for kind in ("float", "int", "choice") if kind in written]
    if len(kinds) != 1:
        came = " and ".join(kinds) or ", ".join(map(str, written)) or "none"
        raise ConfigError(f"{name}: expected one of float, int and choice, got {came}.")
    kind = kinds[0]
    takes = (kind, "when", "start") if kind == "choice" else (kind, "log", "when", "start")
    for key in written:
        check_known(f"{name}.{key}", key, takes)
    when = _when(name, written["when"]) if "when" in written else {}
    if kind == "choice":
        labels, values = _choices(name, written["choice"])
        made = Parameter(name, "choice", labels=labels, values=values, when=when)
        start = label_of(written["start"]) if "start" in written else None
    else:
        low, high = _range(name, kind, written[kind])
        log = written.get("log", False)
        check_argument(f"{name}.log", log, bool)
        if log and low <= 0:
            raise ConfigError(f"{name}: expected a range above 0 for a log scale, got [{low}, {high}]; raise it.")
        made = Parameter(name, "int" if kind == "int" else "float", low, high, log, when=when)
        start = written.get("start")
    if start is None:
        return made
    try:
        made.value(start)
    except ConfigError as error:
        raise ConfigError(f"start of {error}") from None
    return replace(made, start=start)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _range(name: str, kind: str, written: Any) -> tuple[float | int, float | int]:
    fine = isinstance(written, list) and len(written) == 2 and all(map(_is_number, written)) and written[0] < written[1]
    if fine and kind == "int":
        fine = all(isinstance(end, int) for end in written)
    if not fine:
        numbers = "whole numbers" if kind == "int" else "numbers"
        raise ConfigError(f"{name}: expected {kind}: [low, high], two {numbers} with low < high, got {written!r}.")
    return (written[0], written[1]) if kind == "int" else (float(written[0]), float(written[1]))


def _choices(name: str, written: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    if isinstance(written, Mapping):
        labels, values = [label_of(label) for label in written], list(written.values())
    elif isinstance(written, list) and not any(isinstance(value, (dict, list)) for value in written):
        labels, values = [label_of(value) for value in written], list(written)
    else:
        raise ConfigError(
            f"{name}: expected choice: [numbers, texts], got {written!r}; give lists and mappings labels, {{label: value}}."
        )
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise ConfigError(
            f"{name}: expected two or more different choices, got {', '.join(labels) or 'none'}; put a single one in fixed."
        )
    return tuple(labels), tuple(values)


def _when(name: str, written: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(written, Mapping) or not written:
        raise ConfigError(f"{name}.when: expected {{parameter: [values]}}, got {written!r}.")
    when = {}
    for parent, labels in written.items():
        if not isinstance(labels, list) or not labels or any(isinstance(label, (dict, list)) for label in labels):
            raise ConfigError(f"{name}.when: expected {parent}: [values or labels of it], got {labels!r}.")
        when[str(parent)] = tuple(dict.fromkeys(map(label_of, labels)))
    return when
