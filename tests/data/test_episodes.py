"""One rule says where recorded episodes end, and everything that reads rows follows it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mbrl.analysis import split_episodes
from mbrl.data import (
    OfflineDataset,
    Task,
    TaskFacts,
    episode_ends,
    episode_numbers,
    read_minari,
    read_npz,
    read_offline,
    write_minari,
    write_npz,
)
from mbrl.errors import DataError

TASK = Task("", 2, 1, (-1.0,), (1.0,))


def recording(episodes=(3, 4), start=0.0):
    """Episodes whose observations count up and jump by 100 at a reset; the last is unfinished."""
    number = np.repeat(np.arange(len(episodes)), episodes)
    n = len(number)
    obs = np.stack([np.arange(n) + 100.0 * number + start, np.zeros(n)], 1)
    last = np.append(number[1:] != number[:-1], False)
    return {
        "obs": obs, "action": np.zeros((n, 1)), "reward": np.ones(n), "next_obs": obs + np.array([1.0, 0.0]),
        "terminated": np.zeros(n, bool), "truncated": last, "episode": number,
    }  # fmt: skip


def joined(*parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_two_recordings_in_one_file_are_not_one_episode(tmp_path, monkeypatch):
    """Their numbers begin again, and the first recording's last episode carries no flag."""
    np.savez(tmp_path / "joined.npz", **joined(recording((3, 4)), recording((4, 2), 1000.0)))
    dataset = read_npz(tmp_path / "joined.npz")
    assert np.bincount(dataset.episode).tolist() == [3, 4, 4, 2]
    assert np.flatnonzero(dataset.truncated).tolist() == [2, 6, 10]  # the gap is a cut, the file's end is none
    rows = dataset.transitions(TASK)
    assert [len(part) for part in split_episodes(rows)] == [3, 4, 4, 2]
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    dataset.facts = TaskFacts((-1.0,), (1.0,))
    write_minari("joined-v0", dataset, algorithm="none", description="Four episodes.")
    again = read_minari("joined-v0")
    for name in ("obs", "next_obs", "reward", "episode"):
        np.testing.assert_array_equal(getattr(again, name), getattr(dataset, name))


def test_the_same_numbers_side_by_side_across_a_gap(tmp_path):
    """Whatever numbers or flags say, a row that doesn't lead to the following one ends its episode."""
    parts = joined(recording((4,)), recording((4,), 50.0))
    assert set(parts["episode"]) == {0}
    np.savez(tmp_path / "gap.npz", **parts)
    assert read_npz(tmp_path / "gap.npz").episode.tolist() == [0] * 4 + [1] * 4
    del parts["next_obs"]  # then nobody can see the gap
    np.savez(tmp_path / "blind.npz", **parts)
    assert set(read_npz(tmp_path / "blind.npz").episode) == {0}


def test_rounding_to_float32_is_no_gap():
    obs = np.array([[0.1], [0.2], [0.3]])
    next_obs = np.float32(obs[1:]).astype(np.float64)
    never = np.zeros(3, bool)
    ends = episode_ends(obs, np.concatenate([next_obs, [[9.0]]]), never, never)
    assert ends.tolist() == [False, False, True]
    assert episode_numbers(ends).tolist() == [0, 0, 0]
    assert episode_numbers(np.array([True, False, True])).tolist() == [0, 1, 1]


def test_rows_in_messages_are_the_files(tmp_path):
    parts = recording((3, 4))
    del parts["next_obs"]
    parts["obs"][5] = np.nan
    np.savez(tmp_path / "nan.npz", **parts)
    with pytest.raises(DataError, match=r"as obs of row 5 \(1 such rows\)"):
        read_npz(tmp_path / "nan.npz")


def test_a_file_of_another_format_is_told_which_are_read(tmp_path):
    (tmp_path / "steps.csv").write_text("obs,action\n1,2\n")
    with pytest.raises(
        DataError, match=r"expected a .npz, an HDF5 file \(.hdf5, .h5\) or a Minari .* got a .csv file; .*savez"
    ):
        read_offline(tmp_path / "steps.csv")


def test_what_is_kept_survives_a_file(tmp_path):
    np.savez(tmp_path / "one.npz", **joined(recording((3, 4)), recording((4, 2), 1000.0)))
    one = read_npz(tmp_path / "one.npz")
    write_npz(tmp_path / "two.npz", one)
    two = read_npz(tmp_path / "two.npz")
    for name in ("obs", "next_obs", "terminated", "truncated", "episode"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert isinstance(two, OfflineDataset) and torch.equal(one.transitions(TASK).obs, two.transitions(TASK).obs)


def test_noise_of_a_sensor_is_no_gap():
    """obs and next_obs were read one after the other, so that no row leads to exactly the following one."""
    parts = recording((30, 30))
    noise = np.random.default_rng(0)
    for name in ("obs", "next_obs"):
        parts[name] = parts[name] + 1e-3 * noise.normal(size=parts[name].shape)
    ends = episode_ends(parts["obs"], parts["next_obs"], parts["terminated"], parts["truncated"], parts["episode"])
    assert np.flatnonzero(ends).tolist() == [29, 59]
    assert episode_ends(parts["obs"], parts["next_obs"], parts["terminated"], None).all()  # then nothing else says


def test_a_single_step_is_an_episode(tmp_path, monkeypatch):
    one = {name: column[:1] for name, column in recording().items()}
    np.savez(tmp_path / "one.npz", **one)
    read = read_npz(tmp_path / "one.npz")
    assert (len(read), read.episode.tolist()) == (1, [0])
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    given = replace(read, facts=TaskFacts((-1.0,), (1.0,)))
    assert len(read_minari(write_minari("one/step-v0", given, algorithm="none", description="One step."))) == 1
