"""Coding of configurations as rows of numbers, by which the Gaussian process sees a mixed and conditional space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor

from mbrl.errors import ConfigError

Number: TypeAlias = FloatDistribution | IntDistribution

MOST_GRID_VALUES = 20  # a number with more values than these is searched as if it were continuous, then rounded


@dataclass(frozen=True)
class Column:
    """One parameter in a row.

    Attributes:
        name: of the parameter.
        kind: `number` (position in its range, 0 to 1), `grid` (the same, with few values) or `category` (code from 0).
        values: every number that may stand in the column, ascending; empty for `number`.
        fill: number that stands there while the parameter is inactive: the middle of a range, and a code that no choice
            has, which is equally far from all of them.
        parents: codes under which this one is active, by column of the parent.
    """

    name: str
    kind: Literal["number", "grid", "category"]
    values: tuple[float, ...]
    fill: float
    parents: Mapping[int, frozenset[float]]


def position(distribution: Number, value: float) -> float:
    """Computes the position of `value` in its range: 0 at `low`, 1 at `high`, in logarithms if the range is logarithmic."""
    low, high, value = float(distribution.low), float(distribution.high), float(value)
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)


def value_at(distribution: Number, at: float) -> float | int:
    """Finds the allowed value nearest to a position; the inverse of `position`."""
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        value = math.exp(math.log(low) + at * (math.log(high) - math.log(low)))
    else:
        value = low + at * (high - low)
    if distribution.step is not None:
        value = low + round((value - low) / distribution.step) * distribution.step
    value = min(max(value, low), high)
    return round(value) if isinstance(distribution, IntDistribution) else value


def spread(distribution: Number, uniform: float) -> float:
    """Turns a uniform number in [0, 1) into a position: grid values equally likely, as Optuna draws logarithmic ones."""
    if distribution.step is None:
        return uniform
    half = distribution.step / 2
    low, high = distribution.low - half, distribution.high + half
    if distribution.log:
        value = math.exp(math.log(low) + uniform * (math.log(high) - math.log(low)))
    else:
        value = low + uniform * (high - low)
    value = distribution.low + round((value - distribution.low) / distribution.step) * distribution.step
    return position(distribution, min(max(value, distribution.low), distribution.high))


class Codec:
    """The search space as columns, in the order in which it is declared.

    Parameters with a single value have no column: no suggestion can change them. Whether a parameter is active follows from
    the categories in a row, so that inactive ones hold a fixed number whatever was there.

    Args:
        distributions: by parameter, parents before the children that depend on them.
        conditions: by conditional parameter, the values of each parent under which it is active; with several parents all
            must agree. A child of an inactive parent is inactive.

    Raises:
        ConfigError: for an unknown kind of distribution, a condition on something that is no categorical parameter declared
            before, or on a value that the parent doesn't have.
    """

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        conditions: Mapping[str, Mapping[str, Sequence[Any]]] | None = None,
    ) -> None:
        if not distributions:
            raise ConfigError("BOSampler(distributions=…): expected at least one parameter, got none; declare some.")
        self.distributions = dict(distributions)
        self.conditions: dict[str, dict[str, tuple[Any, ...]]] = {}
        for name, distribution in self.distributions.items():
            if not isinstance(distribution, FloatDistribution | IntDistribution | CategoricalDistribution):
                raise ConfigError(
                    f"BOSampler: expected a float, int or categorical distribution for '{name}', got {distribution!r}."
                )
        self._read_conditions(conditions or {})
        self.columns: list[Column] = []
        self._column_of: dict[str, int] = {}
        for name, distribution in self.distributions.items():
            if not distribution.single():
                self._column_of[name] = len(self.columns)
                self.columns.append(self._column(name, distribution))
        self.categories = [i for i, column in enumerate(self.columns) if column.kind == "category"]
        self.numbers = [i for i, column in enumerate(self.columns) if column.kind != "category"]

    def _read_conditions(self, conditions: Mapping[str, Mapping[str, Sequence[Any]]]) -> None:
        names = list(self.distributions)
        for name, parents in conditions.items():
            if name not in self.distributions:
                raise ConfigError(f"BOSampler(conditions=…): expected declared parameters, got '{name}'; declare it.")
            own: dict[str, tuple[Any, ...]] = {}
            for parent, values in parents.items():
                kind = self.distributions.get(parent)
                if not isinstance(kind, CategoricalDistribution) or names.index(parent) >= names.index(name):
                    raise ConfigError(
                        f"BOSampler(conditions=…): expected '{name}' to depend on a categorical parameter declared before "
                        f"it, got '{parent}'; declare the parent as a choice, and first."
                    )
                for value in values:
                    if value not in kind.choices:
                        raise ConfigError(
                            f"BOSampler(conditions=…): expected one of {list(kind.choices)} of '{parent}', got {value!r}."
                        )
                own[parent] = tuple(values)
            self.conditions[name] = own

    def _column(self, name: str, distribution: BaseDistribution) -> Column:
        parents: dict[int, frozenset[float]] = {}
        for parent, values in self.conditions.get(name, {}).items():
            _and(parents, self._parent_codes(name, parent, values))
        if isinstance(distribution, CategoricalDistribution):
            size = len(distribution.choices)
            return Column(name, "category", tuple(float(code) for code in range(size)), float(size), parents)
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        if distribution.step is not None:
            size = round((distribution.high - distribution.low) / distribution.step) + 1
            if size <= MOST_GRID_VALUES:
                steps = [distribution.low + i * distribution.step for i in range(size)]
                return Column(name, "grid", tuple(position(distribution, value) for value in steps), 0.5, parents)
        return Column(name, "number", (), 0.5, parents)

    def _parent_codes(self, name: str, parent: str, values: tuple[Any, ...]) -> dict[int, frozenset[float]]:
        distribution = self.distributions[parent]
        if parent in self._column_of:
            return {self._column_of[parent]: frozenset(float(distribution.to_internal_repr(value)) for value in values)}
        # a parent with a single value has no column: its child is active whenever it is
        if not values:
            raise ConfigError(f"BOSampler(conditions=…): expected values of '{parent}' for '{name}', got none; name one.")
        found: dict[int, frozenset[float]] = {}
        for grandparent, allowed in self.conditions.get(parent, {}).items():
            _and(found, self._parent_codes(parent, grandparent, allowed))
        return found

    def is_active(self, name: str, params: Mapping[str, Any]) -> bool:
        """Tells whether a parameter is active, given its parents' values (an inactive parent is absent from `params`)."""
        parents = self.conditions.get(name, {})
        return all(parent in params and params[parent] in values for parent, values in parents.items())

    def only_active(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Keeps the declared parameters that are active, in declared order, without single-valued ones."""
        return {name: value for name, value in self._followed(params)[0].items() if not self.distributions[name].single()}

    def missing(self, params: Mapping[str, Any]) -> list[str]:
        """Lists the active parameters that `params` lacks; single-valued ones may be left out."""
        return self._followed(params)[1]

    def _followed(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The values of the active parameters, and the active ones that `params` lacks."""
        known: dict[str, Any] = {}
        lacking = []
        for name, distribution in self.distributions.items():
            if not self.is_active(name, known):
                continue
            if name in params:
                known[name] = params[name]
            elif distribution.single():
                known[name] = _single(distribution)
            else:
                lacking.append(name)
        return known, lacking

    def holds(self, params: Mapping[str, Any]) -> bool:
        """Tells whether a configuration, perhaps of another space, can be a row; its numbers may lie outside the ranges."""
        if self.missing(params):
            return False
        for name, value in self.only_active(params).items():
            distribution = self.distributions[name]
            if isinstance(distribution, CategoricalDistribution):
                if value not in distribution.choices:
                    return False
            elif not isinstance(value, int | float) or (getattr(distribution, "log", False) and value <= 0):
                return False
        return True

    def encode(self, params: Mapping[str, Any]) -> list[float]:
        """Codes a configuration as a row; inactive parameters, and those that `params` lacks, hold their fill.

        A number outside its range (queued by hand) keeps its true position, below 0 or above 1.
        """
        active = self.only_active(params)
        row = []
        for column in self.columns:
            if column.name not in active:
                row.append(column.fill)
                continue
            distribution, value = self.distributions[column.name], active[column.name]
            if isinstance(distribution, CategoricalDistribution):
                row.append(float(distribution.to_internal_repr(value)))
            else:
                assert isinstance(distribution, FloatDistribution | IntDistribution)
                row.append(position(distribution, value))
        return row

    def decode(self, row: Sequence[float]) -> dict[str, Any]:
        """Decodes the active parameters of a row, single-valued ones included, in declared order."""
        params: dict[str, Any] = {}
        for name, distribution in self.distributions.items():
            if not self.is_active(name, params):
                continue
            if name not in self._column_of:
                params[name] = _single(distribution)
            elif isinstance(distribution, CategoricalDistribution):
                params[name] = distribution.choices[round(row[self._column_of[name]])]
            else:
                assert isinstance(distribution, FloatDistribution | IntDistribution)
                params[name] = value_at(distribution, row[self._column_of[name]])
        return params

    def from_uniform(self, points: Tensor) -> Tensor:
        """Makes rows of points uniform on the unit cube (`B x columns`): values of grids and categories equally likely."""
        rows = points.clone()
        for index, column in enumerate(self.columns):
            distribution = self.distributions[column.name]
            if column.kind == "category":
                rows[:, index] = (points[:, index] * len(column.values)).floor().clamp(max=len(column.values) - 1)
            else:
                assert isinstance(distribution, FloatDistribution | IntDistribution)
                rows[:, index] = torch.tensor([spread(distribution, float(u)) for u in points[:, index]], dtype=points.dtype)
        return rows

    def snap(self, rows: Tensor) -> Tensor:
        """Moves relaxed numbers in rows to values that exist."""
        rows = rows.clone()
        for index, column in enumerate(self.columns):
            distribution = self.distributions[column.name]
            if isinstance(distribution, FloatDistribution | IntDistribution) and distribution.step is not None:
                at = [position(distribution, value_at(distribution, float(u))) for u in rows[:, index]]
                rows[:, index] = torch.tensor(at, dtype=rows.dtype)
        return rows

    def active(self, rows: Tensor) -> Tensor:
        """Finds the active columns (`B… x columns`, bool), from the categories in the rows."""
        columns: list[Tensor] = []
        for column in self.columns:
            alive = torch.ones(rows.shape[:-1], dtype=torch.bool, device=rows.device)
            for parent, codes in column.parents.items():
                agrees = torch.zeros_like(alive)
                for code in codes:
                    agrees = agrees | (rows[..., parent] == code)
                alive = alive & columns[parent] & agrees
            columns.append(alive)
        return torch.stack(columns, -1)

    def impute(self, rows: Tensor) -> Tensor:
        """Puts their fill into the inactive columns of rows, so that nothing depends on them."""
        if not any(column.parents for column in self.columns):
            return rows
        fill = torch.tensor([column.fill for column in self.columns], dtype=rows.dtype, device=rows.device)
        return torch.where(self.active(rows), rows, fill)


def _and(parents: dict[int, frozenset[float]], more: Mapping[int, frozenset[float]]) -> None:
    """Adds conditions to those that are there; of one column both must hold."""
    for column, codes in more.items():
        parents[column] = parents.get(column, codes) & codes


def _single(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return distribution.low
