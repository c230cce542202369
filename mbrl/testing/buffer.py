"""`check_buffer`: the conformance suite of replay buffers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from mbrl.data import Task, Transitions
from mbrl.testing.clauses import Clauses, noise, some_rows, through_bytes
from mbrl.testing.no_sync import NoScalarReadback, ReadbackError

CAPACITY = 20


class Buffer(Protocol):
    """Interface that planners ask of a buffer."""

    added: int

    def add(self, rows: Transitions) -> None:
        """Adds rows; the oldest beyond the capacity go."""

    def sample(self, n: int, generator: torch.Generator) -> Transitions:
        """Draws `n` rows with replacement."""

    def all(self) -> Transitions:
        """All rows, oldest first."""

    def __len__(self) -> int: ...

    def state_dict(self) -> dict[str, object]:
        """The state that a checkpoint keeps."""

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continues from `state_dict`."""


def check_buffer(make: Callable[[], Buffer], task: Task) -> None:
    """Checks that a buffer keeps what planners rely on.

    Args:
        make: makes an empty buffer for `task` with a capacity of 20 rows, the same each time.
        task: its sizes.

    Raises:
        ConformanceError: naming the first clause that doesn't hold.
    """
    clauses = Clauses(type(make()).__name__)
    rows = some_rows(task, 48)
    buffer = make()
    for first, last in ((0, 7), (7, 19), (19, 31), (31, 33)):  # up to the capacity, over the seam, again
        part = rows.select(slice(first, last))
        with clauses.untouched("add", rows=part):
            buffer.add(part)
        clauses.hold(buffer.added == last, "added counts all rows ever added", buffer.added)
        clauses.hold(len(buffer) == min(last, CAPACITY), f"a buffer keeps {CAPACITY} rows", len(buffer))
        _newest(clauses, buffer, rows, last)
    _sampling(clauses, buffer, rows)
    _resume(clauses, buffer, make(), rows)

    crowded = make()
    crowded.add(rows)
    clauses.hold(crowded.added == len(rows), "added counts all rows ever added", crowded.added)
    _newest(clauses, crowded, rows, len(rows))


def _newest(clauses: Clauses, buffer: Buffer, rows: Transitions, last: int) -> None:
    kept = buffer.all()
    expected = rows.select(slice(max(0, last - CAPACITY), last))
    for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated", "row"):
        clauses.equal(getattr(kept, name), getattr(expected, name), f"all() is the newest rows, oldest first ({name})")


def _sampling(clauses: Clauses, buffer: Buffer, rows: Transitions) -> None:
    before = buffer.all().map(torch.clone)
    with clauses.untouched("sample"):
        batch = buffer.sample(200, noise())
    clauses.equal(batch, buffer.sample(200, noise()), "the same generator gives the same batch")
    if batch.row is None:
        clauses.hold(False, "a sampled row says its insertion number in `row`")
        return
    for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated"):
        named = getattr(rows, name)[batch.row]
        clauses.equal(getattr(batch, name), named, f"a sampled row is the one that `row` names ({name})")
    drawn = set(batch.row.tolist())
    newest = set(range(buffer.added - len(buffer), buffer.added))
    clauses.hold(drawn <= newest, "only rows that are kept are sampled", sorted(drawn - newest))
    clauses.hold(len(drawn) > len(newest) // 2, "sampling reaches all rows", f"{len(drawn)} of {len(newest)} in 200 draws")
    batch.obs.add_(1.0)
    clauses.equal(buffer.all().obs, before.obs, "changing a batch leaves the buffer as it was")
    try:
        with NoScalarReadback():
            buffer.sample(8, noise())
    except ReadbackError as error:
        clauses.hold(False, "sample reads nothing back from the device", error)


def _resume(clauses: Clauses, buffer: Buffer, twin: Buffer, rows: Transitions) -> None:
    twin.load_state_dict(through_bytes(buffer.state_dict()))
    clauses.hold(twin.added == buffer.added, "a restored buffer counts on", twin.added)
    for made in (buffer, twin):
        made.add(rows.select(slice(33, 48)))
    clauses.equal(twin.all(), buffer.all(), "a restored buffer holds the same rows and goes on in the same place")
    clauses.equal(twin.sample(50, noise()), buffer.sample(50, noise()), "a restored buffer samples the same")
