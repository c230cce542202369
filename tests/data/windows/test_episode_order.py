"""`EpisodeOrder` is what a stable sort of all rows would be, whatever came and went since."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mbrl.data import ReplayBuffer, make_generator
from mbrl.data.windows import episode_order
from mbrl.data.windows.episode_order import EpisodeOrder
from tests.data.test_replay_buffer import A, S, interleaved, steps


def sorted_rows(episodes: Tensor, first: int) -> tuple[list[int], list[int]]:
    order = episodes.argsort(stable=True)
    return (order + first).tolist(), episodes[order].tolist()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("searched", [2, 1024])
def test_it_is_a_stable_sort(seed: int, searched: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Episodes that rise, that come back, and that fall; adds of many sizes; a ring that drops few, many and all rows."""
    monkeypatch.setattr(episode_order, "_SEARCHED", searched)
    draw, order, seen = make_generator("cpu", seed), EpisodeOrder(), torch.zeros(0, dtype=torch.int64)

    def whole(low: int, high: int, shape: tuple[int, ...] = ()) -> Tensor:
        return torch.randint(low, high, shape, generator=draw)

    def newest(n: int) -> Tensor:
        return seen[len(seen) - n :]

    capacity = int(whole(5, 60))
    for turn in range(150):
        count = int(whole(0, 2 * capacity if turn % 20 == 19 else 6))
        near = turn if seed < 4 else -turn if seed == 4 else 3
        seen = torch.cat((seen, near + whole(0, 5, (count,))))
        size = min(len(seen), capacity)
        order.follow(len(seen), size, newest)
        expected = sorted_rows(newest(size), len(seen) - size)
        assert (order.numbers.tolist(), order.episodes.tolist()) == expected


def test_windows_begin_wherever_one_fits() -> None:
    order, seen = EpisodeOrder(), torch.tensor([3, 1, 3, 2, 1, 3])  # in order: 1 1 2 3 3 3
    order.follow(6, 6, lambda n: seen[len(seen) - n :])
    for length, starts in ((2, [0, 3, 4]), (3, [3]), (1, list(range(6))), (2, [0, 3, 4]), (6, []), (9, [])):
        assert order.starts(length).tolist() == starts


def test_fewer_rows_may_be_kept_without_new_ones() -> None:
    order, seen = EpisodeOrder(), torch.tensor([3, 1, 3, 2, 1])
    for size in (5, 2):
        order.follow(5, size, lambda n: seen[len(seen) - n :])
        assert (order.numbers.tolist(), order.episodes.tolist()) == sorted_rows(seen[5 - size :], 5 - size)


@pytest.mark.parametrize("capacity", [1000, 61])
def test_windows_are_those_of_a_buffer_that_sorts_anew_and_all_is_sorted_once(
    capacity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, sizes = ReplayBuffer(capacity, S, A, store_episodes=True), []
    sort = torch.Tensor.sort
    monkeypatch.setattr(torch.Tensor, "sort", lambda self, **given: (sizes.append(len(self)), sort(self, **given))[1])
    for number, rows in enumerate(interleaved(60, 3, lambda env: 4 + env)):
        kept.add(rows)
        fresh = ReplayBuffer(capacity, S, A, store_episodes=True)
        fresh.load_state_dict(kept.state_dict())
        before = len(sizes)
        mine, places = kept.sample_cut_windows(9, 3, make_generator("cpu", number))
        windows = kept.sample_windows(9, 3, make_generator("cpu", number)) if number > 5 else None
        assert sizes[before:] == [3], "the rows that are new, and none before"
        again, other = fresh.sample_cut_windows(9, 3, make_generator("cpu", number))
        assert torch.equal(mine.row, again.row) and torch.equal(places, other) and torch.equal(mine.obs, again.obs)
        if windows is not None:
            assert torch.equal(windows.row, fresh.sample_windows(9, 3, make_generator("cpu", number)).row)


def test_rows_that_were_forgotten_or_resized_are_sorted_again() -> None:
    buffer = ReplayBuffer(20, S, A, store_episodes=True)
    buffer.add(steps(0, 20, torch.arange(20) % 3))
    buffer.sample_cut_windows(4, 2, make_generator("cpu", 0))
    buffer.keep_newest(5)
    assert set(buffer.sample_cut_windows(90, 2, make_generator("cpu", 0))[0].row[:, 0].tolist()) == set(range(15, 20))
    buffer.add(steps(20, 4, 7))
    buffer.resize(6)
    assert set(buffer.sample_cut_windows(90, 2, make_generator("cpu", 0))[0].row[:, 0].tolist()) == set(range(18, 24))
