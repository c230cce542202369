import errno

import h5py
import numpy as np
import pytest

from mbrl.data import OfflineDataset, TaskFacts, read_hdf5, read_npz, read_offline, write_npz
from mbrl.data.offline_columns import write_arrays
from mbrl.errors import DataError

S, A = 3, 2
# three episodes: terminated after 4 steps, cut after 3, unfinished after 2
ENDS = {3: "terminated", 6: "truncated"}
STARTS = (0, 4, 7)


def columns(dtype=np.float32):
    """Nine steps whose observations count up inside an episode and jump by 100 at a reset."""
    n = 9
    episode = np.repeat([0, 1, 2], [4, 3, 2])
    number = np.arange(n) + 100 * episode
    obs = (number[:, None] + np.zeros(S)).astype(dtype)
    return {
        "obs": obs,
        "action": np.linspace(-1, 1, n * A).reshape(n, A).astype(dtype),
        "reward": np.arange(n).astype(dtype),
        "next_obs": obs + 1,
        "terminated": np.array([ENDS.get(i) == "terminated" for i in range(n)]),
        "truncated": np.array([ENDS.get(i) == "truncated" for i in range(n)]),
    }, episode


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    def full(file, **arrays):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(DataError, match=r"expected room for the file, but writing failed \(No space left on device\)"):
        write_arrays(tmp_path / "steps.npz", {"obs": np.zeros(3)})
    assert not list(tmp_path.iterdir())


def npz(folder, **arrays):
    np.savez(folder / "steps.npz", **arrays)
    return folder / "steps.npz"


def hdf5(folder, **arrays):
    with h5py.File(folder / "steps.hdf5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file["infos/qpos"] = np.zeros((9, 2))
    return folder / "steps.hdf5"


D4RL = {
    "obs": "observations",
    "action": "actions",
    "reward": "rewards",
    "next_obs": "next_observations",
    "terminated": "terminals",
    "truncated": "timeouts",
}


def d4rl(folder, **arrays):
    return hdf5(folder, **{D4RL.get(name, name): array for name, array in arrays.items()})


@pytest.mark.parametrize("write", [npz, d4rl])
def test_all_columns_are_read_as_they_are(tmp_path, write):
    steps, episode = columns()
    dataset = read_offline(write(tmp_path, **steps))
    for name, column in steps.items():
        np.testing.assert_array_equal(getattr(dataset, name), column)
    np.testing.assert_array_equal(dataset.episode, episode)
    assert dataset.terminated.dtype == dataset.truncated.dtype == np.bool_
    assert dataset.dropped == 0
    assert (dataset.obs_size, dataset.action_size) == (S, A)


@pytest.mark.parametrize("write", [npz, d4rl])
def test_without_next_obs_no_step_jumps_to_the_next_reset(tmp_path, write):
    steps, episode = columns()
    del steps["next_obs"]
    dataset = read_offline(write(tmp_path, **steps))
    # rows 3 and 6 end an episode, row 8 the file: nobody knows where they led
    kept = [0, 1, 2, 4, 5, 7]
    np.testing.assert_array_equal(dataset.obs, steps["obs"][kept])
    np.testing.assert_array_equal(dataset.action, steps["action"][kept])
    np.testing.assert_array_equal(dataset.reward, steps["reward"][kept])
    np.testing.assert_array_equal(dataset.next_obs, dataset.obs + 1)
    np.testing.assert_array_equal(dataset.episode, episode[kept])
    np.testing.assert_array_equal(dataset.truncated, [False, False, True, False, True, True])
    assert not dataset.terminated.any()
    assert dataset.dropped == 3


@pytest.mark.parametrize("write", [npz, d4rl])
def test_without_timeouts_an_episode_ends_where_next_obs_is_not_the_following_obs(tmp_path, write):
    steps, episode = columns()
    truncated = steps.pop("truncated")
    dataset = read_offline(write(tmp_path, **steps))
    np.testing.assert_array_equal(dataset.episode, episode)
    np.testing.assert_array_equal(dataset.truncated, truncated)
    np.testing.assert_array_equal(dataset.next_obs, steps["next_obs"])


def test_an_episode_column_says_where_episodes_end(tmp_path):
    steps, episode = columns()
    del steps["truncated"]
    del steps["next_obs"]
    dataset = read_npz(npz(tmp_path, **steps, episode=episode + 40))
    np.testing.assert_array_equal(dataset.next_obs, dataset.obs + 1)
    np.testing.assert_array_equal(np.unique(dataset.episode), [0, 1, 2])  # the file's numbers only say where


def test_columns_of_one_number_a_row_are_flattened(tmp_path):
    steps, _ = columns(np.float64)
    for name in ("reward", "terminated", "truncated"):
        steps[name] = steps[name][:, None].astype(np.float64)
    dataset = read_npz(npz(tmp_path, **steps))
    assert dataset.reward.shape == dataset.terminated.shape == (9,)
    assert dataset.obs.dtype == np.float64


def test_what_is_written_is_read_back_with_its_task(tmp_path):
    steps, episode = columns()
    facts = TaskFacts((-2.0, -1.0), (2.0, 3.0), "Hopper-v5", {"reset_noise_scale": 0.1}, 1000, 1)
    dataset = OfflineDataset(source="here", **steps, episode=episode, facts=facts)
    write_npz(tmp_path / "steps.npz", dataset)
    again = read_npz(tmp_path / "steps.npz")
    for name in (*steps, "episode"):
        np.testing.assert_array_equal(getattr(again, name), getattr(dataset, name))
    assert again.facts == facts


@pytest.mark.parametrize("name", ["obs", "action", "reward", "next_obs"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_name_column_and_row(tmp_path, name, bad):
    steps, _ = columns()
    steps[name][5] = bad
    with pytest.raises(DataError, match=rf"steps.npz: expected finite numbers, got .* as {name} of row 5 \(1 such rows\)"):
        read_npz(npz(tmp_path, **steps))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"obs": None}, r"expected a column obs or observations, got \["),
        ({"terminated": None}, "expected a column terminated or terminals or terminations, got"),
        ({"terminated": None, "dones": np.zeros(9)}, "done doesn't say whether the task ended"),
        ({"truncated": None, "next_obs": None}, "expected truncated, episode or next_obs to tell where episodes end"),
        ({"action": np.zeros((8, A))}, "action: expected shape 9 x 2, got 8 x 2; write the file anew"),
        ({"action": np.zeros(9)}, "action: expected shape 9 x A, got 9; save one row per step"),
        ({"action": np.zeros((9, A), dtype=np.int64)}, "expected action to be floats, got int64"),
        ({"reward": np.zeros((9, 2))}, "reward: expected shape 9, got 9 x 2"),
        ({"next_obs": np.zeros((9, S + 1))}, "next_obs: expected shape 9 x 3, got 9 x 4"),
        ({"terminated": np.full(9, 0.5)}, "expected terminated to be a flag .* got 0.5"),
        ({"observations": np.zeros((9, S))}, "expected one column for obs, got obs and observations"),
        ({"reward": np.array(1.0)}, "reward: expected shape 9, got a single number"),
    ],
)
def test_columns_that_cannot_be_used(tmp_path, change, message):
    steps, _ = columns()
    steps = {name: column for name, column in {**steps, **change}.items() if column is not None}
    with pytest.raises(DataError, match=message):
        read_npz(npz(tmp_path, **steps))
    with pytest.raises(DataError, match=message):
        read_hdf5(hdf5(tmp_path, **steps))


def test_a_dataset_without_steps(tmp_path):
    steps, _ = columns()
    with pytest.raises(DataError, match="expected at least one step, got none"):
        read_npz(npz(tmp_path, **{name: column[:0] for name, column in steps.items()}))
    one = {name: column[:1] for name, column in steps.items() if name != "next_obs"}
    with pytest.raises(DataError, match=r"got none \(1 were left out, since it doesn't say where they led\)"):
        read_npz(npz(tmp_path, **one))


def test_files_that_are_something_else(tmp_path):
    for name in ("steps.npz", "steps.hdf5"):
        with pytest.raises(DataError, match="expected a dataset file, got a path where there is none"):
            read_offline(tmp_path / name)
        (tmp_path / name).write_bytes(b"not a dataset")
        with pytest.raises(DataError, match=f"{name}: expected an? .* file"):
            read_offline(tmp_path / name)
    with h5py.File(tmp_path / "main_data.hdf5", "w") as file:
        file.create_group("episode_0")
    with pytest.raises(DataError, match="the inside of a Minari dataset"):
        read_offline(tmp_path / "main_data.hdf5")
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    with pytest.raises(DataError, match="named columns, got a single array"):
        read_offline(tmp_path / "array.npz")


class Trap:
    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


def test_python_objects_in_a_file_are_refused_unread(tmp_path):
    steps, _ = columns()
    steps["reward"] = np.array([Trap()] * 9, dtype=object)
    with pytest.raises(DataError, match=r"expected a \.npz file of number arrays, got Object arrays cannot be loaded"):
        read_npz(npz(tmp_path, **steps))
    assert not Trap.sprung


def test_a_file_of_another_kind_is_not_called_a_pickle(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"text\.npz: expected a \.npz file of number arrays, got a file of another kind"):
        read_npz(tmp_path / "text.npz")


@pytest.mark.parametrize("note", ["", "[]", '{"env_id": 3}', "{"])
def test_a_note_of_the_task_that_is_something_else(tmp_path, note):
    steps, _ = columns()
    with pytest.raises(DataError, match="expected its note of the task to hold action_low"):
        read_npz(npz(tmp_path, **steps, task=np.array(note)))


STATES = np.arange(9.0)[:, None] / 3 + np.zeros(5)  # float64 that float32 can't hold


@pytest.mark.parametrize("write", [npz, d4rl])
def test_simulator_states_belong_to_their_rows(tmp_path, write):
    steps, _ = columns()
    dataset = read_offline(write(tmp_path, sim_state=STATES, **steps))
    assert dataset.sim_state.dtype == np.float64
    np.testing.assert_array_equal(dataset.sim_state, STATES)
    np.testing.assert_array_equal(dataset.head(4).sim_state, STATES[:4])
    write_npz(tmp_path / "again.npz", dataset)
    np.testing.assert_array_equal(read_npz(tmp_path / "again.npz").sim_state, STATES)


@pytest.mark.parametrize("write", [npz, d4rl])
def test_a_row_that_is_left_out_takes_its_state_with_it(tmp_path, write):
    """Without next_obs, the last step of each episode goes."""
    steps, _ = columns()
    del steps["next_obs"]
    dataset = read_offline(write(tmp_path, sim_state=STATES, **steps))
    kept = [0, 1, 2, 4, 5, 7]
    np.testing.assert_array_equal(dataset.obs, steps["obs"][kept])
    np.testing.assert_array_equal(dataset.sim_state, STATES[kept])


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (STATES.astype(np.float32), "expected float64 sim_state, got float32, which loses digits"),
        (STATES[:, 0], "sim_state: expected shape 9 x W, got 9"),
        (STATES[:8], "sim_state: expected shape 9 x 5, got 8 x 5"),
        (np.where(np.arange(9)[:, None] == 3, np.nan, STATES), "as sim_state of row 3"),
    ],
)
def test_simulator_states_that_cannot_be_used(tmp_path, states, message):
    steps, _ = columns()
    with pytest.raises(DataError, match=message):
        read_offline(npz(tmp_path, sim_state=states, **steps))


def test_text_in_a_column_is_refused_before_it_is_added_up(tmp_path):
    steps, _ = columns()
    steps["reward"] = steps["reward"].astype(str)
    with pytest.raises(DataError, match="expected numbers in the column reward, got <U"):
        read_npz(npz(tmp_path, **steps))
