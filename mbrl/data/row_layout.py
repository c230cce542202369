"""`RowLayout`: how a transition lies in one row of a float32 matrix, so that a batch is gathered in one operation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from mbrl.arguments import check_shape
from mbrl.data.transitions import Transitions
from mbrl.errors import ConfigError, DataError, ShapeError


class RowLayout:
    """Columns of a packed row: obs, action, reward, next_obs, terminated, truncated, then the extras by name.

    A float64 extra lies bit for bit in two float32 columns per number, after the others: still one matrix and one gather.

    Args:
        obs_size: `S`.
        action_size: `A`.
        extras: width of each extra, `B x width` in a batch.
        float64: names of the extras that are float64; the others are float32.

    Attributes:
        width: columns of a row: `2S + A + 3` and the extras' widths; float64 extras count twice and make the sum even.
        base_width: columns of a row without extras.

    Raises:
        ConfigError: if `float64` names no extra.
    """

    def __init__(
        self, obs_size: int, action_size: int, extras: Mapping[str, int] | None = None, float64: Sequence[str] = ()
    ) -> None:
        self.obs_size = obs_size
        self.action_size = action_size
        self.extras = dict(extras or {})
        unknown = sorted(set(float64) - set(self.extras))
        if unknown:
            raise ConfigError(
                f"RowLayout: expected float64 among extras {sorted(self.extras)}, got {unknown}; give their widths too."
            )
        self._single = [name for name in self.extras if name not in float64]
        self._double = [name for name in self.extras if name in float64]
        self.base_width = 2 * obs_size + action_size + 3
        single = self.base_width + sum(self.extras[name] for name in self._single)
        padding = single % 2 if self._double else 0  # pairs of columns are read as float64 from even ones only
        self._base_sizes = [obs_size, action_size, 1, obs_size, 2]
        self._sizes = [*self._base_sizes, *(self.extras[name] for name in self._single), padding]
        self._sizes += [2 * self.extras[name] for name in self._double]
        self.width = sum(self._sizes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowLayout) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return (tuple(self._sizes), tuple(self._single), tuple(self._double))

    @classmethod
    def shared(cls, layouts: Sequence[RowLayout], filled: Collection[str] = ()) -> RowLayout:
        """The columns that all of `layouts`, of one task, have alike, and those of `filled` (1 wide where none has them)."""
        first = layouts[0]
        same = [name for name in first.extras if all(first._kind(name) == other._kind(name) for other in layouts)]
        extras = {name: first.extras[name] for name in same}
        for name in filled:
            if name not in extras:
                extras[name] = next((other.extras[name] for other in layouts if name in other.extras), 1)
        return cls(first.obs_size, first.action_size, extras, [name for name in same if name in first._double])

    def _kind(self, name: str) -> tuple[int | None, bool]:
        return self.extras.get(name), name in self._double

    def _extra_columns(self, columns: Sequence[Tensor]) -> dict[str, Tensor]:
        single, double = columns[: len(self._single)], columns[len(self._single) + 1 :]
        named = dict(zip(self._single, single, strict=True))
        for name, column in zip(self._double, double, strict=True):
            named[name] = column.view(torch.float64)
        return {name: named[name] for name in self.extras}

    def check(self, rows: Transitions, where: str) -> None:
        """Refuses rows that don't fit the columns.

        Raises:
            ShapeError: if obs, action or an extra has another width, or a field another number of rows.
            DataError: if an extra is missing.
        """
        n = rows.obs.shape[0]
        wanted = {"obs": (n, self.obs_size), "action": (n, self.action_size), "next_obs": (n, self.obs_size)}
        for name in ("reward", "terminated", "truncated"):
            wanted[name] = (n,)  # type: ignore[assignment]
        found = {name: getattr(rows, name) for name in wanted}
        for name, size in self.extras.items():
            if name not in rows.extras:
                raise DataError(f"{where}: expected extras[{name!r}] of width {size}, got {sorted(rows.extras)}; add it.")
            wanted[name], found[name] = (n, size), rows.extras[name]
        for name, shape in wanted.items():
            check_shape(f"{where}({name})", found[name], shape, "give one row per transition, of the buffer's sizes")

    def check_mixes(self, other: RowLayout) -> None:
        """Refuses another layout with which no batch can be shared (`ShapeError`)."""
        ours, theirs = (self.obs_size, self.action_size), (other.obs_size, other.action_size)
        if ours != theirs:
            raise ShapeError(f"expected buffers of one task, got (S, A) = {ours} and {theirs}; mix rows of one task.")

    def pack(self, rows: Transitions, out: Tensor) -> None:
        """Writes `rows` (`B`) into `out` (`B x width`)."""
        obs, action, reward, next_obs, flags, *extras = out.split(self._sizes, -1)
        obs.copy_(rows.obs)
        action.copy_(rows.action)
        reward[:, 0].copy_(rows.reward)
        next_obs.copy_(rows.next_obs)
        flags[:, 0].copy_(rows.terminated)
        flags[:, 1].copy_(rows.truncated)
        for name, column in self._extra_columns(extras).items():
            column.copy_(rows.extras[name])

    def copy(self, matrix: Tensor, layout: RowLayout, out: Tensor, fill: Mapping[str, float]) -> None:
        """Writes packed rows of another layout into `out` (`B x width`), and `fill` by name where they lack an extra."""
        out[:, : self.base_width].copy_(matrix[:, : self.base_width])
        theirs = layout._extra_columns(matrix.split(layout._sizes, -1)[5:])
        for name, column in self._extra_columns(out.split(self._sizes, -1)[5:]).items():
            if name in theirs:
                column.copy_(theirs[name])
            else:
                column.fill_(fill[name])

    def unpack(self, matrix: Tensor, row: Tensor | None = None) -> Transitions:
        """Transitions whose tensors are views of `matrix` (`B x width`), but for the flags, which become bool.

        A matrix of `base_width` columns has no extras.
        """
        if matrix.shape[-1] == self.base_width:
            obs, action, reward, next_obs, flags = matrix.split(self._base_sizes, -1)
            named = {}
        else:
            obs, action, reward, next_obs, flags, *extras = matrix.split(self._sizes, -1)
            named = self._extra_columns(extras)
        terminated, truncated = flags.bool().unbind(-1)  # B each
        return Transitions(obs, action, reward.squeeze(-1), next_obs, terminated, truncated, row, named)
