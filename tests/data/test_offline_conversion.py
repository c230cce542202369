"""What becomes of recorded episodes: D4RL's usual conversion, NeoRL's columns, joined levels, Minari and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
import pytest

from mbrl.data import NormalizedScore, OfflineDataset, TaskFacts, read_minari, read_npz, read_offline, write_minari
from mbrl.errors import DataError


def episodes(*lengths: int, ends: str = "truncated", flagged: int | None = None) -> dict[str, Any]:
    """Columns of episodes whose observations count up, and jump at resets; the last of the first `flagged` are flagged."""
    number = np.concatenate([np.arange(length) + 100.0 * i for i, length in enumerate(lengths)])
    last = np.zeros(len(number), dtype=np.bool_)
    last[np.cumsum(lengths)[: len(lengths) if flagged is None else flagged] - 1] = True
    none = np.zeros_like(last)
    obs = np.stack([number, -number], 1).astype(np.float32)
    return {
        "obs": obs,
        "action": np.sin(number)[:, None].astype(np.float32),
        "reward": np.cos(number),
        "next_obs": obs + np.array([1, -1], dtype=np.float32),
        "terminated": last if ends == "terminated" else none,
        "truncated": last if ends == "truncated" else none,
    }


def dataset(*lengths: int, **options: Any) -> OfflineDataset:
    number = np.repeat(np.arange(len(lengths)), lengths)
    facts = TaskFacts(action_low=(-1.0,), action_high=(1.0,), env_id="Pendulum-v1", time_limit=200)
    return OfflineDataset(source="made", episode=number, facts=facts, **episodes(*lengths, **options))


def d4rl(path: Path, columns: dict[str, Any]) -> str:
    names = {"obs": "observations", "action": "actions", "reward": "rewards", "next_obs": "next_observations",
             "terminated": "terminals", "truncated": "timeouts"}  # fmt: skip
    with h5py.File(path, "w") as file:
        for name, column in columns.items():
            file[names[name]] = column
    return str(path)


@pytest.mark.check("offline-9.6")
def test_steps_on_which_a_limit_cuts_are_kept(tmp_path: Path) -> None:
    columns = episodes(5, 5, 5)
    usual = sum(not cut for cut in columns["truncated"][:-1])  # d4rl.qlearning_dataset: none of them, nor the last row
    found = read_offline(d4rl(tmp_path / "steps.hdf5", columns))
    assert usual == 12 and len(found) == 15
    assert not found.terminated.any() and found.truncated.sum() == 3


@pytest.mark.check("offline-9.6")
def test_no_end_leads_to_the_next_reset(tmp_path: Path) -> None:
    columns = episodes(4, 3, ends="terminated", flagged=1)
    found = read_offline(d4rl(tmp_path / "steps.hdf5", columns))
    usual = columns["obs"][4]  # what the usual conversion takes for where row 3 led
    assert not np.array_equal(found.next_obs[3], usual) and found.next_obs[3, 0] == 4
    assert np.flatnonzero(found.terminated).tolist() == [3]


@pytest.mark.check("offline-9.6")
def test_joined_levels(tmp_path: Path) -> None:
    """Medium of 25 rows, 22 of which are of finished episodes, then expert of 25."""
    medium, expert = dataset(10, 12, 3, flagged=2), dataset(15, 10)
    both = medium.joined(expert)
    assert len(both) == 22 + 25
    assert np.array_equal(both.obs, np.concatenate([medium.obs[:22], expert.obs]))
    same = both.episode[1:] == both.episode[:-1]
    assert np.array_equal(both.next_obs[:-1][same], both.obs[1:][same]), "no pair of rows straddles an episode"
    assert len(np.unique(both.episode)) == 4 and len(medium) == 25
    with pytest.raises(DataError, match=r"made: expected an episode that ended, got none in 25 steps; record more"):
        dataset(25, flagged=0).joined(expert)


@pytest.mark.check("offline-9.6")
def test_minari_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    made = dataset(5, 7, 4)
    made.references = NormalizedScore(-3.0, 2.0, "ours")
    write_minari("test/made-v0", made, algorithm="none", description="A test.")
    theirs = minari.load_dataset("test/made-v0")
    assert theirs.total_steps == 16 and [len(one.observations) for one in theirs.iterate_episodes()] == [6, 8, 5]
    returns = [one.rewards.sum() for one in theirs.iterate_episodes()]
    assert np.allclose(returns, [made.reward[made.episode == i].sum() for i in range(3)], rtol=0, atol=1e-12)  # type: ignore[index]
    assert minari.get_normalized_score(theirs, np.array([-3.0, 2.0])).tolist() == [0.0, 1.0]
    assert theirs.recover_environment().spec.id == "Pendulum-v1"
    assert sum(part.total_episodes for part in minari.split_dataset(theirs, sizes=[1, 2], seed=0)) == 3

    ours = read_minari("test/made-v0")
    assert ours.references == made.references
    write_minari("test/made-v1", ours, algorithm="none", description="Again.")
    again = read_minari("test/made-v1")
    for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated", "episode"):
        assert np.array_equal(getattr(again, name), getattr(made, name)), name
    assert again.references == made.references


def test_references_without_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minari itself drops them without a word."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    made = dataset(5)
    made.facts = TaskFacts(action_low=(-1.0,), action_high=(1.0,))
    made.references = NormalizedScore(-3.0, 2.0, "ours")
    write_minari("test/made-v0", made, algorithm="none", description="A test.")
    assert read_minari("test/made-v0").references == made.references


# NeoRL: obs, next_obs, action, reward (N x 1), done (N x 1), index -----------------------------------------------------


def neorl(path: Path, **changes: Any) -> str:
    columns = episodes(4, 3, ends="terminated", flagged=1)
    found = {name: columns[name] for name in ("obs", "next_obs", "action")}
    found |= {"reward": columns["reward"][:, None], "done": columns["terminated"][:, None].astype(np.float32)}
    found |= {"index": np.array([0, 4])} | changes
    np.savez(path, **{name: column for name, column in found.items() if column is not None})
    return str(path)


def test_done_counts_only_if_it_is_said_what_it_means(tmp_path: Path) -> None:
    path = neorl(tmp_path / "steps.npz")
    with pytest.raises(DataError, match=r"done doesn't say whether .*; add it, or say done: terminated if it is the first"):
        read_offline(path)
    found = read_offline(path, done="terminated")
    assert np.flatnonzero(found.terminated).tolist() == [3] and found.episode.tolist() == [0] * 4 + [1] * 3
    assert found.reward is not None and found.reward.shape == (7,)


def test_index_separates_episodes_that_no_flag_ends(tmp_path: Path) -> None:
    columns = episodes(7)  # one path through the task, cut after three steps
    parts = {name: columns[name] for name in ("obs", "next_obs", "action", "reward")}
    path = neorl(tmp_path / "steps.npz", **parts, done=np.zeros(7), index=np.array([0, 3]))
    found = read_npz(path, done="terminated")
    assert found.episode.tolist() == [0] * 3 + [1] * 4 and np.flatnonzero(found.truncated).tolist() == [2]


@pytest.mark.parametrize("index", [[1, 4], [0, 7], [0, 4, 4], [0.0, 4.0], [], [[0, 4]]])
def test_another_index_is_refused(tmp_path: Path, index: Any) -> None:
    with pytest.raises(DataError, match="expected index to be the rows at which episodes begin, rising from 0 and below 7"):
        read_npz(neorl(tmp_path / "steps.npz", index=np.array(index)), done="terminated")


def test_done_where_there_is_none_or_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(DataError, match="expected a column done beside done: terminated"):
        read_npz(neorl(tmp_path / "none.npz", done=None, terminated=np.zeros(7)), done="terminated")
    with pytest.raises(DataError, match="expected one column for terminated, got terminated and done; leave one out"):
        read_npz(neorl(tmp_path / "both.npz", terminated=np.zeros(7)), done="terminated")
    write_minari("test/made-v0", dataset(5), algorithm="none", description="A test.")
    with pytest.raises(DataError, match="got a Minari dataset, which says both ends itself; leave done out"):
        read_offline("test/made-v0", done="terminated")
