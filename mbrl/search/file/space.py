"""`Space`: the parameters of a search in order, which of them count together, and what they are to `mbrl fit`.

A space is plain data, a mapping of dotted settings of `mbrl fit`:

    model.init_args.real_ratio:       {float: [0.05, 0.5], start: 0.05}
    model.init_args.dynamics:         {choice: {net: {class_path: …}, exact: {class_path: …}}, start: net}
    model.init_args.dynamics.init_args.members:
                                      {int: [2, 7], when: {model.init_args.dynamics: [net]}, start: 5}
    model.init_args.rollout_length.3: {int: [1, 25], log: true, start: 1}     # a place in a list

Optuna stores numbers and labels; `chosen` below is that, a mapping of names to numbers and labels of the active parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import Trial

from mbrl.arguments import check_known
from mbrl.errors import ConfigError
from mbrl.search.file.parameter import Parameter, read_parameter
from mbrl.search.file.settings import nested, with_lists


class Space:
    """The settings that a search may choose.

    Args:
        parameters: parents before children.

    Raises:
        ConfigError: for an order, a condition or a start that can't hold, naming the key.
    """

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self.parameters = tuple(parameters)
        if not self.parameters:
            raise ConfigError("space: expected one parameter or more, got none; add one.")
        earlier: dict[str, Parameter] = {}
        for parameter in self.parameters:
            self._check_order(parameter, earlier)
            _check_when(parameter, earlier)
            earlier[parameter.name] = parameter
        self._start = self._read_start()

    @classmethod
    def from_mapping(cls, mapping: Any) -> Space:
        """Reads the space of a search file.

        Raises:
            ConfigError: naming the key and what is wrong.
        """
        if not isinstance(mapping, Mapping):
            raise ConfigError(f"space: expected a mapping of settings to ranges, got {mapping!r}.")
        return cls(read_parameter(name, written) for name, written in mapping.items())

    def distributions(self) -> dict[str, BaseDistribution]:
        """Every parameter's distribution, in order."""
        return {parameter.name: parameter.distribution() for parameter in self.parameters}

    def conditions(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Conditions of each parameter that doesn't always count: parent → its labels of which one must be taken."""
        return {parameter.name: dict(parameter.when) for parameter in self.parameters if parameter.when}

    def active(self, chosen: Mapping[str, Any]) -> tuple[Parameter, ...]:
        """The parameters that count under what is chosen, in order.

        A parent that doesn't count itself switches its children off.
        """
        active: dict[str, Parameter] = {}
        for parameter in self.parameters:
            if all(parent in active and chosen.get(parent) in labels for parent, labels in (parameter.when or {}).items()):
                active[parameter.name] = parameter
        return tuple(active.values())

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Asks a trial for every active parameter, parents first and all at once, so that other workers see them."""
        chosen: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter in self.active(chosen):
                chosen[parameter.name] = parameter.suggest(trial)
        return chosen

    def settings(self, chosen: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Makes settings of what is chosen: dotted key → value, classes first, and a list as a whole.

        Args:
            chosen: numbers and labels of the active parameters.
            base: the configuration below, from which a list comes that only some places of are searched.

        Raises:
            ConfigError: if an active parameter is missing, another is there, or a value is none of its parameter.
        """
        active = self.active(chosen)
        self._check_complete(chosen, active)
        values = [(parameter.name, parameter.value(chosen[parameter.name])) for parameter in active]
        return with_lists(values, base or {})

    def nested(self, chosen: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Makes the mapping of a `--config` file of what is chosen; arguments and errors are those of `settings`."""
        return nested(self.settings(chosen, base))

    def start(self) -> dict[str, Any] | None:
        """The known good configuration, which becomes the first trial, or None if the file gives none."""
        return None if self._start is None else dict(self._start)

    def _read_start(self) -> dict[str, Any] | None:
        given = {parameter.name: parameter.start for parameter in self.parameters if parameter.start is not None}
        if not given:
            return None
        active = {parameter.name for parameter in self.active(given)}
        for parameter in self.parameters:
            if parameter.name in active and parameter.start is None:
                raise ConfigError(
                    f"{parameter.name}: expected a start, since others have one, got none; add it, or remove theirs."
                )
            if parameter.name not in active and parameter.start is not None:
                raise ConfigError(
                    f"{parameter.name}: expected no start, since its parents' starts switch it off, got {parameter.start!r}."
                )
        return given

    def _check_order(self, parameter: Parameter, earlier: Mapping[str, Parameter]) -> None:
        name = parameter.name
        if name in earlier:
            raise ConfigError(f"{name}: expected it once in the space, got it twice; remove one.")
        for other in earlier:
            if other.startswith(f"{name}."):
                raise ConfigError(f"{name}: expected before {other}, which it would overwrite, got it after; move it up.")

    def _check_complete(self, chosen: Mapping[str, Any], active: tuple[Parameter, ...]) -> None:
        names = {parameter.name for parameter in active}
        for name in names - set(chosen):
            raise ConfigError(f"{name}: expected a value, since it counts under what is chosen, got none.")
        known = {parameter.name for parameter in self.parameters}
        for name in chosen:
            if name not in names:
                why = "is switched off by what is chosen" if name in known else "is not in the space"
                raise ConfigError(f"{name}: expected parameters that count, got this one, which {why}; leave it out.")


def _check_when(parameter: Parameter, earlier: Mapping[str, Parameter]) -> None:
    for parent, labels in (parameter.when or {}).items():
        where = f"{parameter.name}.when"
        if parent not in earlier:
            raise ConfigError(f"{where}: expected parameters that stand above it, got {parent}; move that one up.")
        if earlier[parent].kind != "choice":
            raise ConfigError(f"{where}: expected choices, got {parent}, which is a number; make that one a choice.")
        for label in labels:
            check_known(f"{where}.{parent}", label, earlier[parent].labels)
