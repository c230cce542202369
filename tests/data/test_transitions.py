"""Transitions: named tensors that are cut, joined and moved together."""

from __future__ import annotations

import torch

from mbrl.data import Transitions


def rows(n: int, first: int = 0, **extras: torch.Tensor) -> Transitions:
    number = torch.arange(first, first + n)
    value = number.float()
    return Transitions(
        obs=value[:, None].expand(n, 3),
        action=value[:, None].expand(n, 2),
        reward=value,
        next_obs=value[:, None].expand(n, 3) + 1,
        terminated=number % 2 == 0,
        truncated=number % 3 == 0,
        row=number,
        extras=dict(extras),
    )


def test_select_takes_index_mask_and_slice_of_everything() -> None:
    batch = rows(5, episode=torch.arange(5) * 10)
    wanted = [1, 4]
    for index in (torch.tensor(wanted), torch.tensor([False, True, False, False, True]), slice(1, 5, 3)):
        part = batch.select(index)
        assert part.reward.tolist() == wanted
        assert part.next_obs[:, 0].tolist() == [2, 5]
        assert part.terminated.tolist() == [False, True]
        assert part.truncated.tolist() == [False, False]
        assert part.row is not None
        assert part.row.tolist() == wanted
        assert part.extras["episode"].tolist() == [10, 40]
        assert len(part) == 2


def test_map_keeps_none_and_leaves_the_original() -> None:
    batch = rows(2)
    batch.row = None
    doubled = batch.map(lambda tensor: tensor * 2)
    assert doubled.row is None
    assert doubled.reward.tolist() == [0, 2]
    assert batch.reward.tolist() == [0, 1]


def test_cat_keeps_what_all_parts_have() -> None:
    joined = Transitions.cat([rows(2, a=torch.zeros(2), b=torch.zeros(2)), rows(3, 2, b=torch.ones(3))])
    assert joined.reward.tolist() == [0, 1, 2, 3, 4]
    assert joined.row is not None
    assert joined.row.tolist() == [0, 1, 2, 3, 4]
    assert set(joined.extras) == {"b"}
    assert joined.extras["b"].tolist() == [0, 0, 1, 1, 1]
    without = rows(1)
    without.row = None
    assert Transitions.cat([rows(1), without]).row is None


def test_from_obs_is_a_row_to_start_from() -> None:
    obs = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    start = Transitions.from_obs(obs, 2, sim_state=torch.ones(4, 2, 7))
    assert start.batch_shape == (4, 2)
    assert start.action.shape == (4, 2, 2)
    assert torch.equal(start.obs, obs)
    assert not start.terminated.any()
    assert not start.truncated.any()
    assert start.extras["sim_state"].shape == (4, 2, 7)
