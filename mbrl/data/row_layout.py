"""`RowLayout`: how a transition lies in one row of a float32 matrix, so that a batch is gathered in one operation."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mbrl.data.transitions import Transitions
from mbrl.errors import DataError, ShapeError


class RowLayout:
    """Columns of a packed row: obs, action, reward, next_obs, terminated, truncated, then the extras by name.

    Args:
        obs_size: `S`.
        action_size: `A`.
        extras: width of each extra, `B x width` in a batch.

    Attributes:
        width: columns of a row, `2S + A + 3` and the extras' widths.
        base_width: columns of a row without extras.
    """

    def __init__(self, obs_size: int, action_size: int, extras: Mapping[str, int] | None = None) -> None:
        self.obs_size = obs_size
        self.action_size = action_size
        self.extras = dict(extras or {})
        self.base_width = 2 * obs_size + action_size + 3
        self.width = self.base_width + sum(self.extras.values())
        self._base_sizes = [obs_size, action_size, 1, obs_size, 2]
        self._sizes = [*self._base_sizes, *self.extras.values()]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowLayout) and (self._sizes, list(self.extras)) == (other._sizes, list(other.extras))

    def __hash__(self) -> int:
        return hash((tuple(self._sizes), tuple(self.extras)))

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
                raise DataError(
                    f"{where}: expected rows with extras[{name!r}] of width {size}, got extras {sorted(rows.extras)}; add "
                    "it, or make the buffer without it."
                )
            wanted[name], found[name] = (n, size), rows.extras[name]
        for name, shape in wanted.items():
            if tuple(found[name].shape) != shape:
                raise ShapeError(
                    f"{where}: expected {name} of shape {shape}, got {tuple(found[name].shape)}; give one row a "
                    "transition, of the sizes that the buffer was made with."
                )

    def check_mixes(self, other: RowLayout) -> None:
        """Refuses another layout with which no batch can be shared (`ShapeError`)."""
        if (self.obs_size, self.action_size) != (other.obs_size, other.action_size):
            raise ShapeError(
                f"expected buffers of one task, got obs and action sizes {self.obs_size}, {self.action_size} and "
                f"{other.obs_size}, {other.action_size}; mix rows of the same task only."
            )

    def pack(self, rows: Transitions, out: Tensor) -> None:
        """Writes `rows` (`B`) into `out` (`B x width`)."""
        obs, action, reward, next_obs, flags, *extras = out.split(self._sizes, -1)
        obs.copy_(rows.obs)
        action.copy_(rows.action)
        reward[:, 0].copy_(rows.reward)
        next_obs.copy_(rows.next_obs)
        flags[:, 0].copy_(rows.terminated)
        flags[:, 1].copy_(rows.truncated)
        for name, column in zip(self.extras, extras, strict=True):
            column.copy_(rows.extras[name])

    def unpack(self, matrix: Tensor, row: Tensor | None = None) -> Transitions:
        """Transitions whose tensors are views of `matrix` (`B x width`), but for the flags, which become bool.

        A matrix of `base_width` columns has no extras.
        """
        if matrix.shape[-1] == self.base_width:
            obs, action, reward, next_obs, flags = matrix.split(self._base_sizes, -1)
            named = {}
        else:
            obs, action, reward, next_obs, flags, *extras = matrix.split(self._sizes, -1)
            named = dict(zip(self.extras, extras, strict=True))
        terminated, truncated = flags.bool().unbind(-1)  # B each
        return Transitions(obs, action, reward.squeeze(-1), next_obs, terminated, truncated, row, named)
