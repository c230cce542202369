import numpy as np
import pytest
import torch

from mbrl.data import OfflineDataset, Task, TaskFacts, Transitions
from mbrl.errors import DataError

TASK = Task("Made-v0", 2, 2, (-2.0, 0.0), (2.0, 10.0), time_limit=50)


def dataset(action):
    n = len(action)
    return OfflineDataset(
        source="steps.npz",
        obs=np.arange(2.0 * n).reshape(n, 2),
        action=np.asarray(action, dtype=np.float64),
        reward=np.arange(float(n)),
        next_obs=np.arange(2.0 * n).reshape(n, 2) + 0.5,
        terminated=np.arange(n) == 1,
        truncated=np.arange(n) == 2,
        episode=np.arange(n) // 2,
    )


def test_actions_are_scaled_at_this_edge():
    rows = dataset([[-2, 0], [2, 10], [0, 5], [1, 2.5]]).transitions(TASK)
    assert rows.action.tolist() == [[-1, -1], [1, 1], [0, 0], [0.5, -0.5]]
    assert {rows.obs.dtype, rows.action.dtype, rows.reward.dtype, rows.next_obs.dtype} == {torch.float32}
    assert rows.obs[1].tolist() == [2, 3]
    assert rows.next_obs[1].tolist() == [2.5, 3.5]
    assert rows.terminated.tolist() == [False, True, False, False]
    assert rows.truncated.tolist() == [False, False, True, False]
    assert rows.extras["episode"].tolist() == [0, 0, 1, 1]


def test_actions_beyond_the_bounds():
    close = dataset([[-2.0001, 0], [2, 10.0004]]).transitions(TASK)
    assert close.action.tolist() == [[-1, -1], [1, 1]]
    far = dataset([[0, 0], [0, 10], [0, 10.1], [0, 9]])
    with pytest.raises(
        DataError, match=r"actions within \[-2.0, 0.0\] and \[2.0, 10.0\], got \[0.0, 10.1\] in row 2; .*clip_actions"
    ):
        far.transitions(TASK)
    assert far.transitions(TASK, clip_actions=True).action[2].tolist() == [0, 1]


def test_a_dataset_of_another_task():
    with pytest.raises(DataError, match="obs: expected shape N x 3, got 1 x 2; give a dataset of Hopper-v5"):
        dataset([[0, 0]]).transitions(Task("Hopper-v5", 3, 2, (-1, -1), (1, 1)))
    with pytest.raises(DataError, match="action: expected shape N x 1, got 1 x 2; give a dataset of the task"):
        dataset([[0, 0]]).transitions(Task("", 2, 1, (-1,), (1,)))


def test_from_transitions_and_back():
    rows = dataset([[-2, 0], [2, 10], [0, 5], [1, 2.5]]).transitions(TASK)
    again = OfflineDataset.from_transitions(rows, TASK)
    assert again.action.tolist() == [[-2, 0], [2, 10], [0, 5], [1, 2.5]]
    assert again.facts == TaskFacts((-2.0, 0.0), (2.0, 10.0), "Made-v0", {}, 50, 1)
    back = again.transitions(TASK)
    for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated"):
        assert torch.equal(getattr(back, name), getattr(rows, name)), name
    assert isinstance(back, Transitions)


def test_simulator_states_keep_every_digit():
    one = dataset([[-2, 0], [2, 10]])
    one.sim_state = np.array([[1 / 3], [2 / 3]])
    rows = one.transitions(TASK)
    assert rows.extras["sim_state"].dtype is torch.float64
    assert rows.extras["sim_state"].tolist() == [[1 / 3], [2 / 3]]
    assert OfflineDataset.from_transitions(rows, TASK).sim_state.tolist() == [[1 / 3], [2 / 3]]


def test_head():
    head = dataset(np.zeros((4, 2))).head(3)
    assert len(head) == 3
    assert head.obs.shape == head.next_obs.shape == (3, 2)
    assert len(head.episode) == len(head.terminated) == len(head.truncated) == len(head.action) == 3
