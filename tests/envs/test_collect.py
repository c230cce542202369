import os

import numpy as np
import pytest
import torch
from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv

from mbrl.data import derived_seed, read_offline
from mbrl.envs import OfflineData, VectorExperience, collect, make_task
from mbrl.errors import ConfigError, DataError, EnvironmentFailedError, UnsupportedError
from mbrl.models import SimulatorModel


@pytest.fixture(autouse=True)
def datasets_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    monkeypatch.chdir(tmp_path)


def wobble(experience):
    """Actions of a made-up policy, which depend on where the environments stand."""
    return torch.sin(3 * experience.obs[:, :1] + 1)


@pytest.mark.parametrize("output", ["steps.npz", "pendulum/wobble-v0"])
@pytest.mark.parametrize("num_envs", [1, 3])
def test_what_is_read_back_is_what_was_stepped(output, num_envs):
    task = make_task("InvertedPendulum-v5")
    collect(task, output, steps=60, act=wobble, num_envs=num_envs, seed=4, algorithm="wobble")
    data = OfflineData(output)

    experience = VectorExperience(task, num_envs, seed=derived_seed(4, "collect"))
    ticks = []
    for _ in range(60 // num_envs):
        before = experience.snapshot
        ticks.append(experience.step(wobble(experience)))
        ticks[-1].extras["sim_state"] = before
    experience.close()
    assert sum(int(rows.terminated.sum()) for rows in ticks) > 3  # several ends, whose next_obs is no reset

    rows = data.transitions
    assert len(rows) == 60
    assert data.task == task
    stepped = {(int(tick.extras["episode"][i]), j): (tick, i) for j, tick in enumerate(ticks) for i in range(num_envs)}
    assert bool((rows.extras["episode"].diff() >= 0).all())  # an episode's steps lie side by side
    for row, (tick, i) in enumerate(stepped[key] for key in sorted(stepped)):
        assert torch.equal(rows.obs[row], tick.obs[i])
        assert torch.equal(rows.next_obs[row], tick.next_obs[i])
        assert torch.equal(rows.reward[row], tick.reward[i])
        assert torch.equal(rows.extras["sim_state"][row], tick.extras["sim_state"][i])  # of the observation, in float64
        assert rows.terminated[row] == tick.terminated[i]
        torch.testing.assert_close(rows.action[row], tick.action[i], atol=1e-7, rtol=1e-6)
        cut = tick is ticks[-1] and not tick.terminated[i]
        assert rows.truncated[row] == (tick.truncated[i] | cut)


def test_actions_are_written_in_environment_units():
    collect(make_task("Pendulum-v1"), "steps.npz", steps=50, seed=1)
    file = np.load("steps.npz")
    assert 1 < abs(file["action"]).max() <= 2  # torque
    assert abs(OfflineData("steps.npz").transitions.action).max() <= 1
    np.testing.assert_allclose(file["action"] / 2, OfflineData("steps.npz").transitions.action.numpy(), rtol=1e-6)


def test_same_seed_same_dataset_and_another_seed_another():
    task = make_task("Pendulum-v1")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        collect(task, f"{name}.npz", steps=10, seed=seed)
    a, b, c = (read_offline(f"{name}.npz") for name in "abc")
    assert np.array_equal(a.obs, b.obs)
    assert np.array_equal(a.action, b.action)
    assert not np.array_equal(a.obs, c.obs)
    assert not np.array_equal(a.action, c.action)


def test_a_policy_with_memory_is_told_of_new_episodes():
    seen = []

    def act(experience):
        seen.append(experience.ended.tolist())
        return wobble(experience)

    taken = []
    collect(make_task("InvertedPendulum-v5"), "steps.npz", steps=40, num_envs=2, act=act, progress=taken.append)
    experience = VectorExperience(make_task("InvertedPendulum-v5"), 2, seed=derived_seed(0, "collect"))
    steps = [experience.step(wobble(experience)) for _ in range(20)]
    experience.close()
    assert seen[0] == [False, False]
    assert taken == list(range(2, 41, 2))
    ends = [(rows.terminated | rows.truncated).tolist() for rows in steps]
    assert sum(map(sum, ends)) > 2
    assert seen[1:] == ends[:-1]
    dataset = read_offline("steps.npz")
    last = np.append(np.diff(dataset.episode) != 0, True)
    assert ((dataset.terminated | dataset.truncated) == last).all()


def test_what_can_not_be_written_is_refused_before_stepping(tmp_path, monkeypatch):
    monkeypatch.setattr(VectorExperience, "step", lambda *_: pytest.fail("stepped"))
    task = make_task("Pendulum-v1")
    (tmp_path / "there.npz").write_text("precious")
    with pytest.raises(DataError, match=r"there.npz: expected a new file, got one that exists"):
        collect(task, "there.npz", steps=10)
    assert (tmp_path / "there.npz").read_text() == "precious"
    with pytest.raises(DataError, match="expected a folder that can be written to, got nowhere"):
        collect(task, "nowhere/steps.npz", steps=10)
    os.makedirs(tmp_path / "datasets" / "taken-v0")
    with pytest.raises(DataError, match="taken-v0: expected a new id, got one that exists"):
        collect(task, "taken-v0", steps=10)
    with pytest.raises(
        DataError,
        match="such as namespace/name-v0, got neither; add the ending or the version",
    ):
        collect(task, "steps.csv", steps=10)
    for steps, num_envs, said in (
        (10, 3, "multiple of num_envs, got 10 and 3"),
        (2, 3, "multiple of num_envs, got 2 and 3"),
        (0, 1, r"collect\(steps=…\): expected a whole number of at least 1, got 0"),
        (10, 0, r"collect\(num_envs=…\): expected a whole number of at least 1, got 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            collect(task, "new.npz", steps=steps, num_envs=num_envs)


def test_ctrl_c_keeps_what_was_stepped(tmp_path):
    calls = []

    def act(experience):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return torch.zeros(2, 1)

    output = str(tmp_path / "part.npz")
    with pytest.raises(KeyboardInterrupt, match="6 of 100 steps are in"):
        collect(make_task("Pendulum-v1"), output, steps=100, act=act, num_envs=2)
    dataset = read_offline(output)
    assert len(dataset.obs) == 6 and int(dataset.truncated.sum()) == 2
    calls[:] = [1, 1, 1]
    with pytest.raises(KeyboardInterrupt):
        collect(make_task("Pendulum-v1"), str(tmp_path / "none.npz"), steps=100, act=act, num_envs=2)
    assert not (tmp_path / "none.npz").exists()


@pytest.mark.parametrize("output", ["ant.npz", "ant/random-v0"])
def test_an_exact_simulator_starts_from_a_recorded_dataset(output):
    """Ant's observation leaves its place out and its reward reads it, so nothing but the recorded state will do."""
    collect(make_task("Ant-v5", {"max_episode_steps": 12}), output, steps=40, num_envs=2, seed=2)
    data = OfflineData(output)
    rows, model = data.transitions, SimulatorModel(threads=1)
    model.build(data.task)
    step = model.step(model.start(rows, torch.Generator()), rows.action)
    assert rows.truncated.sum() > 2  # over resets
    torch.testing.assert_close(step.next_obs, rows.next_obs, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(step.reward, rows.reward, atol=1e-4, rtol=1e-5)

    collect(data.task, f"small-{output}", steps=10, sim_state=False)
    small = OfflineData(f"small-{output}").transitions
    assert set(small.extras) == {"episode"}
    with pytest.raises(UnsupportedError, match="keep sim_state in the buffer"):
        model.start(small, torch.Generator())


def test_environments_without_a_simulators_state_are_recorded_without():
    collect(make_task("Pendulum-v1"), "steps.npz", steps=10)
    assert "sim_state" not in np.load("steps.npz").files
    assert read_offline("steps.npz").sim_state is None


@pytest.mark.parametrize("output", ["steps.npz", "odd/failing-v0"])
def test_an_environment_that_fails_leaves_what_was_stepped(output, monkeypatch):
    task = make_task("InvertedPendulum-v5")
    whole = collect(task, "whole.npz", steps=60, num_envs=2, seed=3)

    step, taken = InvertedPendulumEnv.step, []

    def failing(self, action):
        taken.append(action)
        if len(taken) == 36:  # the second environment, in the 18th step of both
            raise OSError("the cable came off")
        return step(self, action)

    monkeypatch.setattr(InvertedPendulumEnv, "step", failing)
    with pytest.raises(EnvironmentFailedError, match=r"the cable came off; .* \(34 of 60 steps are in .*\)\.$") as error:
        collect(task, output, steps=60, num_envs=2, seed=3)
    assert isinstance(error.value.__cause__.__cause__, OSError)
    rows = OfflineData(output).transitions
    assert len(rows) == 34
    assert bool((rows.truncated | rows.terminated)[-1])
    assert bool(torch.isin(rows.reward, OfflineData(str(whole)).transitions.reward).all())

    taken[:] = [None] * 35
    with pytest.raises(EnvironmentFailedError, match="the cable came off"):
        collect(task, "none.npz", steps=60, seed=3)
    assert not os.path.exists("none.npz")
