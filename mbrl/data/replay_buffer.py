"""`ReplayBuffer`: transitions on one device, first in first out, sampled without a copy from the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mbrl.arguments import Count, check_whole, checked
from mbrl.data.memory.growable_rows import GrowableRows, rotate
from mbrl.data.row_layout import RowLayout
from mbrl.data.transitions import Transitions
from mbrl.data.windows.episode_order import EpisodeOrder
from mbrl.errors import CheckpointError, ConfigError, DataError

# what a state holds, and of which kinds
_STATE: dict[str, tuple[type, ...]] = {
    "capacity": (int,), "added": (int,), "next": (int,), "matrix": (Tensor,), "episode": (Tensor, type(None)),
}  # fmt: skip


class ReplayBuffer:
    """A ring of transitions in one preallocated float32 matrix, so that a batch is one gather.

    The matrix is allocated when the first rows come; on the CPU, memory is taken as rows fill it. Rows are numbered in the
    order of their insertion; every method names them by age, 0 the oldest kept. But for `weigh`, nothing reads a value back
    to the host or checks values: check data where it enters.

    Args:
        capacity: rows kept; more push the oldest out. Raising it costs `row_nbytes` per row.
        obs_size: `S`.
        action_size: `A`.
        device: where the rows lie.
        extras: width of each named extra to keep, `B x width` in a batch, float32.
        float64: names of the extras that are kept as float64, bit for bit (a simulator's state); each costs twice as much.
        store_episodes: keep `extras["episode"]` (`B` int64) of the rows, which `sample_windows` needs.

    Attributes:
        added: rows ever added, also those pushed out since.
    """

    @checked
    def __init__(
        self,
        capacity: Count,
        obs_size: Count,
        action_size: Count,
        *,
        device: torch.device | str = "cpu",
        extras: Mapping[str, int] | None = None,
        float64: Sequence[str] = (),
        store_episodes: bool = False,
    ) -> None:
        self.capacity = capacity
        self.layout = RowLayout(obs_size, action_size, extras, float64)
        try:
            self.device = torch.device(device)
        except RuntimeError:
            raise ConfigError(f"ReplayBuffer(device=…): expected a device such as cpu or cuda:0, got {device!r}.") from None
        self.store_episodes = store_episodes
        self.added = 0
        self._size = 0
        self._next = 0  # slot of the next row; the ring has a seam only once it is full
        self._matrix: GrowableRows | None = None  # capacity x width
        self._episode: GrowableRows | None = None  # capacity int64
        self._order = EpisodeOrder()
        self._cumulative: Tensor | None = None  # of the weights by age; None draws uniformly

    # adding ----------------------------------------------------------------------------------------------------------

    def add(self, rows: Transitions) -> None:
        """Adds `B` rows; of more than `capacity`, the last are kept.

        Raises:
            ShapeError: if the rows have other sizes than the buffer.
            DataError: if an extra that the buffer keeps is missing, or rows have weights, which new ones would lack.
        """
        self._refuse_weighted("add")
        self.layout.check(rows, "ReplayBuffer.add")
        if self.store_episodes and "episode" not in rows.extras:
            raise DataError("ReplayBuffer.add: expected extras['episode'], got none; add it, or set store_episodes=False.")
        n = len(rows)
        self.added += n
        if n > self.capacity:
            rows, n = rows.select(slice(n - self.capacity, n)), self.capacity
        matrix, episode = self._allocated()
        done = 0
        while done < n:  # once, or twice over the seam
            count = min(n - done, self.capacity - self._next)
            part = rows if count == n else rows.select(slice(done, done + count))
            where = slice(self._next, self._next + count)
            self.layout.pack(part, matrix[where])
            if episode is not None:
                episode[where].copy_(part.extras["episode"])
            self._next = (self._next + count) % self.capacity
            done += count
        self._size = min(self._size + n, self.capacity)

    def weigh(self, weights: Tensor) -> None:
        """Draws rows in proportion to `weights` from now on (`sample`, `mixed_batch`), in place of uniformly.

        Windows stay uniform. `add` and `resize` are refused afterwards. A state doesn't hold weights; give them again.

        Args:
            weights: a number for each row kept, oldest first, of any sum; raising one draws that row more often.

        Raises:
            DataError: if they are not one finite number ≥ 0 per row, with one above 0 among them.
        """
        weights = weights.detach().to(self.device, torch.float64)
        if weights.shape != (self._size,) or not bool((weights >= 0).all() and 0 < weights.sum() < torch.inf):
            raise DataError(
                f"ReplayBuffer.weigh: expected {self._size} finite numbers ≥ 0, one of them above 0, got "
                f"{tuple(weights.shape)} of sum {float(weights.sum())}; give a weight per row."
            )
        self._cumulative = weights.cumsum(0)

    # reading ---------------------------------------------------------------------------------------------------------

    def sample(self, n: int, generator: torch.Generator) -> Transitions:
        """`n` rows with replacement, uniformly or by their weights (`weigh`), with their insertion numbers in `row`.

        Raises:
            DataError: if the buffer is empty.
        """
        return self.gather(self._draw(n, generator))

    def gather(self, age: Tensor) -> Transitions:
        """The rows of an age index (int64, any shape `B`; 0 is the oldest row kept), in one gather."""
        matrix, episode = self._allocated()
        slots = self._slots(age).reshape(-1)
        packed = matrix.index_select(0, slots).view(*age.shape, self.layout.width)  # B x width
        rows = self.layout.unpack(packed, age + (self.added - self._size))
        if episode is not None:
            rows.extras["episode"] = episode.index_select(0, slots).view(age.shape)  # B
        return rows

    def all(self) -> Transitions:
        """All rows, oldest first; views of the buffer (but for the flags) until rows have been pushed out, then a copy.

        The next `add` to a full buffer writes into what the views show.
        """
        matrix, episode = self._allocated()
        row = torch.arange(self.added - self._size, self.added, device=self.device)  # B
        rows = self.layout.unpack(self._in_order(matrix), row)
        if episode is not None:
            rows.extras["episode"] = self._in_order(episode)
        return rows

    def sample_windows(self, n: int, length: int, generator: torch.Generator) -> Transitions:
        """`n` windows of `length` steps in a row of one episode, uniform over all such windows: `n x length` rows.

        A row's successor is the next row with its episode number, so environments may be interleaved. Which rows begin a
        window is looked for anew after each `add`, then kept.

        Raises:
            ConfigError: if the buffer keeps no episode numbers.
            DataError: if no episode is long enough.
        """
        order = self._in_episodes(length)
        starts = order.starts(length)
        drawn = torch.randint(starts.shape[0], (n,), generator=generator, device=generator.device).to(self.device)  # n
        steps = torch.arange(length, device=self.device)  # length
        numbers = order.numbers[starts[drawn].unsqueeze(-1) + steps]  # n x length
        return self.gather(numbers - (self.added - self._size))

    def sample_cut_windows(
        self, n: int, length: int, generator: torch.Generator, newest: int | None = None
    ) -> tuple[Transitions, Tensor]:
        """`n` windows of up to `length` steps in a row of one episode, uniform over the (`newest`) rows that they begin at.

        Where an episode has no further rows, the last is repeated in its place, so that ends occur at every place.

        Returns:
            `n x length` rows, and the place of each in its window, `n x length` int64.

        Raises:
            ConfigError: if the buffer keeps no episode numbers.
            DataError: if there are no rows.
        """
        numbers = self._in_episodes(1).numbers
        first = numbers if newest is None else (numbers >= self.added - newest).nonzero()[:, 0]
        drawn = torch.randint(len(first), (n,), generator=generator, device=generator.device).to(self.device)  # n
        drawn, steps = drawn if newest is None else first[drawn], torch.arange(length, device=self.device)  # length
        at = drawn.unsqueeze(-1) + steps  # n x length
        rows = self.gather(numbers[at.clamp(max=self._size - 1)] - (self.added - self._size))  # n x length
        episode = rows.extras["episode"]
        place = ((episode == episode[:, :1]) & (at < self._size)).cumsum(1) - 1
        return rows.map(lambda column: column[torch.arange(n, device=column.device).unsqueeze(-1), place]), place

    def __len__(self) -> int:
        return self._size

    # size ------------------------------------------------------------------------------------------------------------

    @property
    def row_nbytes(self) -> int:
        """Bytes of one row."""
        return 4 * self.layout.width + 8 * self.store_episodes

    @property
    def nbytes(self) -> int:
        """Bytes of the rows kept; on a GPU, `capacity * row_nbytes` are taken at the first row."""
        return self._size * self.row_nbytes

    def resize(self, capacity: int) -> None:
        """Keeps up to `capacity` rows from now on: all of them when growing, the newest when shrinking.

        Rows move within their memory: on Linux, those of a CPU never exist twice (`GrowableRows`). It may write into what
        the views of `all` show.
        """
        check_whole("ReplayBuffer(capacity=…)", capacity)
        if capacity == self.capacity:
            return
        self._refuse_weighted("resize")
        self._newest_to_front(min(self._size, capacity))
        for column in (self._matrix, self._episode):
            if column is not None:
                column.resize(capacity)
        self.capacity, self._next = capacity, self._size % capacity

    def keep_newest(self, n: int) -> None:
        """Forgets all but the newest `n` rows, 0 or more; the capacity stays.

        Raises:
            DataError: if rows have weights.
        """
        self._refuse_weighted("keep_newest")
        if n >= self._size:
            return
        self._newest_to_front(n)
        self._next = n

    def to(self, device: torch.device | str) -> ReplayBuffer:
        """Moves the rows to `device`, and returns the buffer itself."""
        self.device = torch.device(device)
        for column in (self._matrix, self._episode):
            if column is not None:
                column.to(device)
        if self._cumulative is not None:
            self._cumulative = self._cumulative.to(device)
        self._order = EpisodeOrder()
        return self

    # checkpoint ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The filled rows and the ring's position, as tensors and plain data; a full ring is not copied."""
        matrix, episode = self._allocated()
        # saving a view would write the whole allocation behind it, so a part is cloned
        whole = self._size == self.capacity
        return {
            "capacity": self.capacity,
            "added": self.added,
            "next": self._next,
            "matrix": matrix if whole else matrix[: self._size].clone(),
            "episode": None if episode is None else episode if whole else episode[: self._size].clone(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where `state` was taken: the same draws give the same rows.

        Raises:
            CheckpointError: if the state's rows have other columns than this buffer's.
        """
        for name, kind in _STATE.items():
            if name not in state or not isinstance(state[name], kind):
                raise CheckpointError(
                    f"ReplayBuffer: expected {' or '.join(one.__name__ for one in kind)} as {name} of its state, got "
                    f"{type(state[name]).__name__ if name in state else 'none'}; load one that state_dict made."
                )
        matrix, episode = state["matrix"], state["episode"]
        if not 0 <= state["next"] < state["capacity"] or matrix.ndim != 2 or len(matrix) > state["capacity"]:
            raise CheckpointError(
                f"ReplayBuffer: expected at most capacity rows and a next one among them, got capacity {state['capacity']}, "
                f"next {state['next']} and rows of shape {tuple(matrix.shape)}; load one that state_dict made."
            )
        wanted, found = (self.layout.width, self.store_episodes), (matrix.shape[-1], episode is not None)
        if found != wanted:
            raise CheckpointError(
                f"ReplayBuffer: expected (columns, store_episodes) = {wanted}, got {found}; load it into its task's buffer."
            )
        self.capacity, self.added, self._next = state["capacity"], state["added"], state["next"]
        self._size, self._matrix, self._episode = matrix.shape[0], None, None
        self._order, self._cumulative = EpisodeOrder(), None
        self._fill(matrix, *(() if episode is None else (episode,)))

    # parts -----------------------------------------------------------------------------------------------------------

    def _allocated(self) -> tuple[Tensor, Tensor | None]:
        if self._matrix is None:
            self._matrix = GrowableRows((self.capacity, self.layout.width), torch.float32, self.device)
            if self.store_episodes:
                self._episode = GrowableRows((self.capacity,), torch.int64, self.device)
        return self._matrix.tensor, None if self._episode is None else self._episode.tensor

    def _fill(self, *columns: Tensor) -> None:
        for target, source in zip(self._allocated(), columns, strict=False):
            if target is not None:
                target[: source.shape[0]].copy_(source)

    def _newest_to_front(self, n: int) -> None:
        """Forgets all but the newest `n` rows, which then lie in order from slot 0 on."""
        oldest = (self._next + self._size - n) % self._size if self._size == self.capacity else self._size - n
        for column in (self._matrix, self._episode):
            if column is not None and self._size:
                rotate(column.tensor[: self._size], oldest)
        self._size, self._order = n, EpisodeOrder()

    def _in_order(self, column: Tensor) -> Tensor:
        if self._size < self.capacity or self._next == 0:
            return column[: self._size]
        return torch.cat([column[self._next :], column[: self._next]])

    def _slots(self, age: Tensor) -> Tensor:
        if self._size < self.capacity or self._next == 0:
            return age
        return (age + self._next) % self.capacity

    def _draw(self, n: int, generator: torch.Generator) -> Tensor:
        if self._size == 0:
            raise DataError(f"ReplayBuffer: expected rows to sample {n} from, got an empty buffer; add transitions first.")
        if self._cumulative is None:
            return torch.randint(self._size, (n,), generator=generator, device=generator.device).to(self.device)  # n
        drawn = torch.rand(n, generator=generator, device=generator.device, dtype=torch.float64).to(self.device)  # n
        # the first row whose cumulative weight exceeds the draw; one of weight 0 never does so first
        return torch.searchsorted(self._cumulative, drawn * self._cumulative[-1], right=True).clamp_(max=self._size - 1)

    def _refuse_weighted(self, what: str) -> None:
        if self._cumulative is not None:
            raise DataError(f"ReplayBuffer.{what}: expected rows without weights, got weighted ones; make another buffer.")

    def _in_episodes(self, length: int) -> EpisodeOrder:
        """The rows episode by episode, among which there is a window of `length`."""
        if not self.store_episodes:
            raise ConfigError("ReplayBuffer.sample_windows: expected episode numbers, got none; set store_episodes=True.")
        self._order.follow(self.added, self._size, self._newest_episodes)
        if self._size == 0 or (length > 1 and self._order.starts(length).shape[0] == 0):
            raise DataError(
                f"ReplayBuffer.sample_windows: expected an episode of {length} steps or more, got none among {self._size} "
                "rows; ask for shorter windows, or add longer episodes."
            )
        return self._order

    def _newest_episodes(self, n: int) -> Tensor:
        column = self._allocated()[1]
        assert column is not None  # episode numbers are stored
        return column.index_select(0, self._slots(torch.arange(self._size - n, self._size, device=self.device)))
