import dataclasses
import json
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from mbrl.data import OfflineDataset, TaskFacts, read_minari, read_offline, write_minari
from mbrl.errors import DataError, MbrlWarning

S, A = 3, 2
FACTS = TaskFacts((-2.0, -2.0), (2.0, 2.0), "Made-v0", {"size": 3}, 4, 2)


@pytest.fixture(autouse=True)
def datasets_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))


def made():
    """Two interleaved environments: episode 0 ends after 3 steps, 1 and 2 are cut after 4 and 2."""
    episode = np.array([0, 1, 0, 1, 0, 1, 2, 1, 2])
    rng = np.random.default_rng(0)
    obs = np.zeros((9, S), dtype=np.float32)
    next_obs = rng.normal(size=(9, S)).astype(np.float32)
    for row, number in enumerate(episode):
        before = np.flatnonzero(episode[:row] == number)
        obs[row] = next_obs[before[-1]] if len(before) else rng.normal(size=S)
    return OfflineDataset(
        source="made",
        obs=obs,
        action=rng.uniform(-2, 2, (9, A)).astype(np.float32),
        reward=rng.normal(size=9).astype(np.float32),
        next_obs=next_obs,
        terminated=np.arange(9) == 4,
        truncated=np.isin(np.arange(9), [7, 8]),
        episode=episode,
        facts=FACTS,
    )


def test_what_is_written_is_read_back_by_id_and_by_folder():
    dataset = made()
    folder = write_minari("made/random-v0", dataset, algorithm="random", description="Nine steps.")
    order = np.argsort(dataset.episode, kind="stable")  # an episode's steps side by side
    for path in ("made/random-v0", folder, folder / "data"):
        again = read_minari(path)
        for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated", "episode"):
            np.testing.assert_array_equal(getattr(again, name), getattr(dataset, name)[order])
        assert again.facts == FACTS
    assert len(read_offline(folder)) == 9


def test_minari_itself_reads_what_is_written():
    import minari

    write_minari("random-v0", made(), algorithm="random", description="Nine steps.")
    dataset = minari.load_dataset("random-v0")
    assert dataset.total_steps == 9
    assert [len(episode.rewards) for episode in dataset] == [3, 4, 2]
    assert dataset.action_space == spaces.Box(-2, 2, (A,), np.float32)
    episode = dataset[0]
    assert episode.observations.shape == (4, S)
    assert episode.terminations.tolist() == [False, False, True]


def test_an_id_that_is_taken_or_malformed():
    write_minari("made/random-v0", made(), algorithm="random", description="Nine steps.")
    with pytest.raises(DataError, match="made/random-v0: expected a new id, got one that exists"):
        write_minari("made/random-v0", made(), algorithm="random", description="Nine steps.")
    with pytest.raises(DataError, match="such as namespace/name-v0, got neither; add the ending or the version"):
        write_minari("no version", made(), algorithm="random", description="Nine steps.")


def foreign(dataset_id, obs_space, action_space, observations, actions, **kwargs):
    """A dataset as another program would write it."""
    import minari
    from minari.data_collector import EpisodeBuffer

    n = len(actions)
    buffer = EpisodeBuffer(
        id=0,
        observations=observations,
        actions=actions,
        rewards=np.arange(float(n)),
        terminations=np.zeros(n, dtype=bool),
        truncations=np.arange(n) == n - 1,
        infos={},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Minari warns of what isn't said
        minari.create_dataset_from_buffers(
            dataset_id, [buffer], observation_space=obs_space, action_space=action_space, **kwargs
        )


BOX = spaces.Box(-np.inf, np.inf, (2,), np.float64)


def test_a_foreign_dataset_with_its_bounds():
    foreign("a-v0", BOX, spaces.Box(-3, 3, (1,)), np.zeros((5, 2)), np.zeros((4, 1), np.float32))
    dataset = read_minari("a-v0")
    assert dataset.facts == TaskFacts((-3.0,), (3.0,))
    assert dataset.obs.dtype == np.float64
    assert dataset.truncated.tolist() == [False, False, False, True]
    foreign("b-v0", BOX, spaces.Box(-np.inf, np.inf, (1,)), np.zeros((5, 2)), np.zeros((4, 1), np.float32))
    assert read_minari("b-v0").facts == TaskFacts()


def test_dicts_of_boxes_are_flattened_in_the_order_of_their_space():
    space = spaces.Dict({"b": spaces.Box(-1, 1, (2,)), "a": spaces.Box(-1, 1, (1,))})
    observations = {"b": np.full((5, 2), 0.5, np.float32), "a": np.full((5, 1), 0.25, np.float32)}
    foreign("dict-v0", space, spaces.Box(-1, 1, (1,)), observations, np.zeros((4, 1), np.float32))
    flat = spaces.flatten(space, {"a": np.array([0.25]), "b": np.array([0.5, 0.5])})
    assert read_minari("dict-v0").obs[0].tolist() == flat.tolist()


def test_spaces_that_are_not_supported():
    foreign("discrete-v0", BOX, spaces.Discrete(3), np.zeros((5, 2)), np.zeros(4, np.int64))
    with pytest.raises(DataError, match=r"expected actions in a one-dimensional box, got Discrete\(3\)"):
        read_minari("discrete-v0")
    foreign("text-v0", spaces.Discrete(5), spaces.Box(-1, 1, (1,)), np.zeros(5, np.int64), np.zeros((4, 1), np.float32))
    with pytest.raises(DataError, match=r"expected observations in a box or a dict of boxes, got Discrete\(5\)"):
        read_minari("text-v0")


def test_no_dataset(tmp_path):
    with pytest.raises(DataError, match=r"got neither .* minari download D4RL/none-v0"):
        read_minari("D4RL/none-v0")
    with pytest.raises(DataError, match="got neither"):
        read_offline(tmp_path)


def test_a_dataset_makes_no_environment(monkeypatch):
    import gymnasium

    spec = EnvSpec("Trap-v0", entry_point="nowhere.to_be:Found", kwargs={"size": 2}, max_episode_steps=7)
    foreign("trap-v0", BOX, spaces.Box(-1, 1, (1,)), np.zeros((5, 2)), np.zeros((4, 1), np.float32))
    from mbrl.data.offline_minari import minari_folder

    file = minari_folder("trap-v0") / "metadata.json"
    metadata = json.loads(file.read_text())
    metadata["env_spec"] = spec.to_json()
    file.write_text(json.dumps(metadata))
    monkeypatch.setattr(gymnasium, "make", lambda *args, **kwargs: pytest.fail("made an environment"))
    facts = read_minari("trap-v0").facts
    assert (facts.env_id, facts.env_kwargs, facts.time_limit) == ("Trap-v0", {"size": 2}, 7)
    del metadata["action_space"]
    file.write_text(json.dumps(metadata))
    with pytest.raises(DataError, match="expected a Minari dataset that holds its action_space, got none"):
        read_minari("trap-v0")


def test_simulator_states_are_infos_of_their_steps():
    """Infos have a row for the state after the last step too, which nobody recorded."""
    import minari

    dataset = made()
    dataset.sim_state = np.arange(9.0)[:, None] / 3 + np.zeros(5)
    write_minari("random-v0", dataset, algorithm="random", description="Nine steps.")
    again, order = read_minari("random-v0"), np.argsort(dataset.episode, kind="stable")
    assert again.sim_state.dtype == np.float64
    np.testing.assert_array_equal(again.sim_state, dataset.sim_state[order])
    infos = minari.load_dataset("random-v0")[0].infos["sim_state"]
    assert infos.shape == (4, 5)
    assert np.isnan(infos[3]).all()
    assert read_minari(write_minari("without-v0", made(), algorithm="random", description="Nine.")).sim_state is None


def test_simulator_states_of_some_episodes_are_refused(monkeypatch):
    import minari

    dataset = made()
    dataset.sim_state = np.zeros((9, 5))
    write_minari("random-v0", dataset, algorithm="random", description="Nine steps.")
    whole = minari.MinariDataset.iterate_episodes

    def some(self):
        for episode in whole(self):
            yield episode if episode.id else dataclasses.replace(episode, infos={})

    monkeypatch.setattr(minari.MinariDataset, "iterate_episodes", some)
    with pytest.raises(DataError, match="expected sim_state in the infos of all 3 episodes or none, got it in 2"):
        read_minari("random-v0")


def boxes(*sizes):
    return [spaces.Box(-np.inf, np.inf, (size,), np.float32) for size in sizes]


def buffers(observations, episodes=2, steps=5):
    from minari.data_collector import EpisodeBuffer

    end = np.arange(steps) == steps - 1
    rng = np.random.default_rng(0)
    return [
        EpisodeBuffer(
            id=number,
            observations=observations(rng, steps + 1),
            actions=rng.uniform(-1, 1, (steps, 1)).astype(np.float32),
            rewards=np.ones(steps),
            terminations=np.zeros(steps, dtype=bool),
            truncations=end,
            infos={},
        )
        for number in range(episodes)
    ]


def create(name, made_of, **about):
    import minari

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(name, made_of, action_space=spaces.Box(-1, 1, (1,), np.float32), **about)


def test_dicts_in_dicts_are_flattened_as_gymnasium_does():
    observation, kettle, door = boxes(3, 2, 1)
    space = spaces.Dict({"observation": observation, "goal": spaces.Dict({"kettle": kettle, "door": door})})

    def observe(rng, n):
        return {
            "observation": rng.normal(size=(n, 3)).astype("f4"),
            "goal": {"kettle": rng.normal(size=(n, 2)).astype("f4"), "door": rng.normal(size=(n, 1)).astype("f4")},
        }

    made_of = buffers(observe)
    create("nested-v0", made_of, observation_space=space)
    dataset = read_minari("nested-v0")
    first = made_of[0].observations
    one = {"observation": first["observation"][0], "goal": {name: rows[0] for name, rows in first["goal"].items()}}
    np.testing.assert_array_equal(dataset.obs[0], spaces.flatten(space, one))
    assert dataset.obs.shape == (10, 6)


def test_wrappers_of_the_recorded_environment_are_named():
    env = gymnasium.wrappers.NormalizeObservation(gymnasium.make("Pendulum-v1"))
    made_of = buffers(lambda rng, n: rng.normal(size=(n, 3)).astype("f4"))
    create("wrapped-v0", made_of, env=env, observation_space=boxes(3)[0])
    with pytest.warns(MbrlWarning, match="recorded in Pendulum-v1 behind NormalizeObservation, .* give its env_id"):
        facts = read_minari("wrapped-v0").facts
    assert (facts.env_id, facts.time_limit) == ("", None)


def test_minari_makes_the_environment_of_what_is_written():
    import minari

    dataset = dataclasses.replace(made(), facts=TaskFacts((-2.0, -2.0), (2.0, 2.0), "Pendulum-v1", {"g": 9.0}, 25, 1))
    write_minari("known-v0", dataset, algorithm="random", description="Nine steps.")
    env = minari.load_dataset("known-v0").recover_environment()
    assert (env.spec.id, env.spec.max_episode_steps, env.unwrapped.g) == ("Pendulum-v1", 25, 9.0)
    write_minari("repeated-v0", made(), algorithm="random", description="At an action repeat, and of no registered task.")
    assert minari.load_dataset("repeated-v0").env_spec is None
