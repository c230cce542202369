"""Rows that grow and shrink in place: their contents, their memory, and what others see of them meanwhile."""

from __future__ import annotations

import copy
import ctypes
import gc
import sys
from pathlib import Path

import pytest
import torch

from mbrl.data import ReplayBuffer, Transitions
from mbrl.data.memory import growable_rows
from mbrl.data.memory.growable_rows import GrowableRows, rotate

CPU = torch.device("cpu")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere rows are copied")


def filled(rows: int) -> GrowableRows:
    made = GrowableRows((rows, 3), torch.float32, CPU)
    made.tensor.copy_(torch.arange(3.0 * rows).view(rows, 3))
    return made


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 4000])
def test_the_first_rows_stay(rows: int) -> None:
    made = filled(8)
    made.resize(rows)
    kept = min(rows, 8)
    assert made.tensor.shape == (rows, 3)
    assert torch.equal(made.tensor[:kept], torch.arange(24.0).view(8, 3)[:kept])
    made.tensor[-1] = 5.0  # all of it can be written
    assert made.tensor[-1].tolist() == [5.0] * 3


def test_a_view_that_somebody_holds_stays_what_it_was() -> None:
    made = filled(8)
    view = made.tensor[2:4]
    made.resize(100_000)
    made.tensor.fill_(-1.0)
    assert view.tolist() == [[6.0, 7.0, 8.0], [9.0, 10.0, 11.0]]
    del view
    made.resize(8)
    assert made.tensor.unique().tolist() == [-1.0]


def test_a_copy_has_rows_of_its_own_and_grows_too() -> None:
    made = filled(8)
    twin = copy.deepcopy(made)
    twin.resize(16)
    twin.tensor.fill_(0.0)
    assert torch.equal(made.tensor, filled(8).tensor) and twin.tensor.shape == (16, 3)


@pytest.mark.parametrize("piece", [1, 48, 1000])
@pytest.mark.parametrize("rows", [1, 2, 7, 12])
def test_rotating_in_pieces_is_rolling(rows: int, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growable_rows, "_PIECE", piece)
    for first in range(rows):
        made = torch.arange(2 * rows).view(rows, 2)
        expected = made.roll(-first, 0)
        rotate(made, first)
        assert torch.equal(made, expected)


def peak() -> int:
    """Bytes that this process has held at most since `forget_peak`."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status["VmHWM"].split()[0])


def forget_peak() -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the system tells no peak")


@LINUX
@pytest.mark.parametrize("added", [400_000, 550_000], ids=["in order", "with a seam"])
@pytest.mark.parametrize("capacity", [800_000, 300_000])
def test_no_row_of_a_buffer_exists_twice_while_its_size_changes(added: int, capacity: int) -> None:
    """Beside the rows, moving them takes two pieces of 1 MB at a time; a copy would be 64 MB."""
    small = ReplayBuffer(3, 17, 3)  # so that code which has never run doesn't count
    small.add(Transitions.from_obs(torch.zeros(5, 17), 3))
    small.resize(capacity)
    buffer = ReplayBuffer(400_000, 17, 3)
    for first in range(0, added, 50_000):
        rows = Transitions.from_obs(torch.zeros(50_000, 17), 3)
        rows.reward = torch.arange(first, first + 50_000, dtype=torch.float32)
        buffer.add(rows)
    del rows
    forget_peak()
    before = peak()
    buffer.resize(capacity)
    taken = peak() - before
    kept = min(400_000, capacity)
    assert torch.equal(buffer.all().reward, torch.arange(added - kept, added, dtype=torch.float32))
    assert taken < 0.3 * 400_000 * buffer.row_nbytes


def test_a_buffer_whose_rows_are_looked_at_grows_all_the_same() -> None:
    buffer = ReplayBuffer(4, 2, 1, store_episodes=True)
    rows = Transitions.from_obs(torch.arange(8.0).view(4, 2), 1, episode=torch.arange(4))
    buffer.add(rows)
    seen = buffer.all()
    buffer.resize(50_000)
    buffer.add(rows)
    assert torch.equal(seen.obs, rows.obs) and torch.equal(buffer.all().obs, torch.cat([rows.obs, rows.obs]))
    assert buffer.all().extras["episode"].tolist() == [0, 1, 2, 3] * 2
