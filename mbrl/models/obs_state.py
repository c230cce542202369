"""`ObsState`: the state of rollouts in a model whose state is the observation, and whatever a subclass adds to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from mbrl.data import Generator, ModelState, RowGenerator
from mbrl.errors import ShapeError, UnsupportedError


@dataclass
class ObsState(ModelState):
    """Observation, noise and, under TS∞, the member that each rollout follows.

    A model whose state is more declares the rest as fields of a dataclass that inherits from this one: a tensor `B x …` (or
    tuples, lists or dicts of such) is selected, tiled and replaced by rows as `obs` is, and anything else stays as it is.
    `moved` changes `obs` alone.

    Attributes:
        obs: `B x S`.
        generator: draws members and noise.
        member: `B` int64, or None where members are drawn anew at every step.
        particles: rows come in this many blocks, and the i-th rows of all blocks are the particles of one plan, over
            which members are drawn equally often. A tiled state has 1 again.

    Raises:
        ShapeError: from `select`, `tile` and `replaced`, if a further tensor hasn't a row for each rollout.
    """

    obs: Tensor
    generator: Generator
    member: Tensor | None = None
    particles: int = 1

    def select(self, rows: Tensor) -> ObsState:
        generator = self.generator
        if not isinstance(generator, RowGenerator):
            generator = RowGenerator(generator, self.obs.shape[0])
        return replace(self, generator=generator.select(rows), **self._by_rows(lambda part: part[rows]))

    def tile(self, n: int) -> ObsState:
        generator = self.generator.tile(n) if isinstance(self.generator, RowGenerator) else self.generator
        tiled = self._by_rows(lambda part: part.repeat(n, *[1] * (part.ndim - 1)))  # n·B x …
        return replace(self, generator=generator, particles=1, **tiled)

    def fork(self, generator: Generator) -> ObsState:
        return replace(self, generator=generator)

    def moved(self, obs: Tensor) -> ObsState:
        return replace(self, obs=obs)

    def replaced(self, rows: Tensor, other: ModelState) -> ObsState:
        if type(other) is not type(self) or (self.member is None) != (other.member is None):
            raise UnsupportedError(
                f"{type(self).__name__}.replaced: expected a state started with the same follow, got "
                f"{type(other).__name__}; start both alike."
            )
        return replace(self, **self._by_rows(lambda mine, its: mine.index_copy(0, rows, its), other))

    def _by_rows(self, change: Callable[..., Tensor], *others: ObsState) -> dict[str, Any]:
        """All fields that have a row for each rollout, changed, by name; `change` gets those of `others` too."""
        found = {}
        for field in fields(self):
            if field.name not in ("generator", "particles"):
                parts = [getattr(state, field.name) for state in (self, *others)]
                found[field.name] = self._part_by_rows(field.name, change, parts)
        return found

    def _part_by_rows(self, name: str, change: Callable[..., Tensor], parts: list[Any]) -> Any:
        first = parts[0]
        if isinstance(first, Tensor):
            if first.shape[:1] != self.obs.shape[:1]:
                raise ShapeError(
                    f"{type(self).__name__}.{name}: expected a row for each of {len(self.obs)} rollouts, got shape "
                    f"{tuple(first.shape)}; keep what all rollouts share in the model."
                )
            return change(*parts)
        if isinstance(first, Mapping):
            return {key: self._part_by_rows(name, change, [part[key] for part in parts]) for key in first}
        if isinstance(first, (tuple, list)):
            each = [self._part_by_rows(name, change, list(among)) for among in zip(*parts, strict=True)]
            return type(first)(*each) if hasattr(first, "_fields") else type(first)(each)
        return first
