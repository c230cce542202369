"""`EpisodeOrder`: a buffer's rows episode by episode, kept up as rows come and go."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_SEARCHED = 1024  # rows at the front among which those pushed out are looked for first


class EpisodeOrder:
    """Rows by the number of their episode, and within one by age, as a stable sort would have them.

    Sorting a million rows takes a seventh of a second. What `follow` does beyond the first time costs as much as there are
    rows in episodes behind the oldest that has grown: those that are under way, since later episodes have larger numbers.
    It reads values back to the host twice.
    """

    def __init__(self) -> None:
        self._numbers = self._episodes = torch.empty(0, dtype=torch.int64)  # with room at the end
        self._begin = self._end = 0  # what is used of them
        self._first = self._added = 0  # insertion numbers that are known, and the one behind them
        self._starts: tuple[int, Tensor] | None = None  # of windows of a length

    @property
    def numbers(self) -> Tensor:
        """The insertion numbers of the rows in this order, `B` int64."""
        return self._numbers[self._begin : self._end]

    @property
    def episodes(self) -> Tensor:
        """Their episodes, `B` int64, rising."""
        return self._episodes[self._begin : self._end]

    def starts(self, length: int) -> Tensor:
        """The places in this order at which `length` rows of one episode begin, int64."""
        if self._starts is None or self._starts[0] != length:
            last = max(len(self.episodes) - length + 1, 0)
            whole = self.episodes[:last] == self.episodes[length - 1 : length - 1 + last]
            self._starts = (length, whole.nonzero()[:, 0])
        return self._starts[1]

    def follow(self, added: int, size: int, newest: Callable[[int], Tensor]) -> None:
        """Takes in the rows that were added, and leaves out those pushed out, since the last call.

        Args:
            added: rows ever added.
            size: rows kept, the newest of them.
            newest: the episodes of so many of the newest rows, oldest first, int64.
        """
        first, new = added - size, added - self._added
        if new == 0 and first == self._first:
            return
        self._starts = None
        if new >= size:  # none is known, or none that is kept
            episodes, order = newest(size).sort(stable=True)
            self._keep(order + first, episodes)
        else:
            if first > self._first:
                self._leave_out(first)
            if new:
                self._take_in(newest(new))
        self._first, self._added = first, added

    def _keep(self, numbers: Tensor, episodes: Tensor, more: int = 0) -> None:
        """Moves to new storage, with room for `more` and half as many again."""
        count = len(numbers)
        room = count + count // 2 + more
        self._numbers, self._episodes = (column.new_empty(room) for column in (numbers, episodes))
        self._numbers[:count], self._episodes[:count] = numbers, episodes
        self._begin, self._end = 0, count

    def _leave_out(self, first: int) -> None:
        """Drops the rows before `first`, which lie near the front, where the oldest episodes are."""
        count, reach = first - self._first, _SEARCHED
        while int((self.numbers[:reach] < first).sum()) < count:
            reach *= 4
        front = slice(self._begin, min(self._begin + reach, self._end))
        kept = self._numbers[front] >= first
        for column in (self._numbers, self._episodes):
            column[front.start + count : front.stop] = column[front][kept]
        self._begin += count

    def _take_in(self, episodes: Tensor) -> None:
        """Merges the newest rows, each behind those of its episode."""
        count = len(episodes)
        episodes, order = episodes.sort(stable=True)
        numbers = order + self._added
        places = torch.searchsorted(self.episodes, episodes, right=True)  # rows before the first stay where they are
        at, counts = (each.tolist() for each in places.unique_consecutive(return_counts=True))
        merged = []
        for known, fresh in ((self.numbers, numbers), (self.episodes, episodes)):
            pieces = zip(fresh.split(counts), known[at[0] :].tensor_split([place - at[0] for place in at[1:]]), strict=True)
            merged.append(torch.cat([part for both in pieces for part in both]))
        if self._end + count > len(self._numbers):
            self._keep(self.numbers, self.episodes, count)
        start = self._begin + at[0]
        self._end += count
        self._numbers[start : self._end], self._episodes[start : self._end] = merged
