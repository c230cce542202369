"""Stepping, episode ends and exact resume of our own environments."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from mbrl.data import Task, make_generator
from mbrl.envs import VectorExperience, make_env, make_task, vector_experience
from mbrl.errors import CheckpointError, ConfigError, DataError, ShapeError, TaskError

TASKS = ["InvertedPendulum-v5", "Hopper-v5", "Pendulum-v1", "dm_control/cartpole-swingup-v0"]


def actions(task: Task, steps: int, n: int, *name: object) -> torch.Tensor:
    return torch.rand(steps, n, task.action_size, generator=make_generator("cpu", "actions", *name)) * 2 - 1


def run(experience: VectorExperience, given: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    out = []
    for action in given:
        rows = experience.step(action)
        named = {name: getattr(rows, name) for name in ("obs", "reward", "next_obs", "terminated", "truncated")}
        out.append({**named, **rows.extras})
    return out


def assert_same(a: list[dict[str, torch.Tensor]], b: list[dict[str, torch.Tensor]]) -> None:
    assert len(a) == len(b)
    for left, right in zip(a, b, strict=True):
        for name in left:
            assert torch.equal(left[name], right[name]), name


def test_transitions_chain_until_an_episode_ends_and_keep_where_it_led() -> None:
    task = make_task("InvertedPendulum-v5")
    experience = VectorExperience(task, 3, seed=1)
    before = experience.obs
    ended_once = False
    for action in actions(task, 60, 3):
        rows = experience.step(action)
        assert torch.equal(rows.obs, before)
        ended = rows.terminated | rows.truncated
        assert torch.equal(ended, experience.ended)
        # where nothing ended the next observation is the present one, where something did it isn't
        assert torch.equal(rows.next_obs[~ended], experience.obs[~ended])
        if ended.any():
            ended_once = True
            assert (rows.next_obs[ended][:, 1].abs() > 0.2).all()  # the state that ended it, not that of the reset
            assert (experience.obs[ended][:, 1].abs() <= 0.01 + 1e-6).all()
        before = experience.obs
    assert ended_once
    experience.close()


def test_numbers_match_an_environment_stepped_by_hand() -> None:
    task = make_task("Hopper-v5")
    experience = VectorExperience(task, 1, seed=5)
    env = make_env(task)
    seed = experience.state_dict()["reset_seeds"][0]
    obs, _ = env.reset(seed=seed)
    assert np.array_equal(experience.obs[0].numpy(), obs.astype(np.float32))
    total, length = 0.0, 0
    for action in actions(task, 200, 1):
        rows = experience.step(action)
        obs, reward, terminated, truncated, _ = env.step(action[0].numpy())
        total, length = total + float(reward), length + 1
        assert np.array_equal(rows.next_obs[0].numpy(), obs.astype(np.float32))
        assert rows.reward[0].item() == np.float32(reward)
        assert (rows.terminated.item(), rows.truncated.item()) == (terminated, truncated)
        if terminated or truncated:
            break
    assert experience.finished() == [(total, length)]
    assert experience.finished() == []
    env.close()
    experience.close()


@pytest.mark.check("coplanner-31")
def test_a_time_limit_truncates_and_does_not_terminate() -> None:
    task = make_task("Pendulum-v1")
    experience = VectorExperience(task, 2)
    out = run(experience, actions(task, 201, 2))
    truncated = torch.stack([rows["truncated"] for rows in out])
    assert truncated[199].all()
    assert truncated.sum() == 2
    assert not torch.stack([rows["terminated"] for rows in out]).any()
    assert [length for _, length in experience.finished()] == [200, 200]
    experience.close()


@pytest.mark.parametrize(("limit", "repeat", "inner"), [(3, 1, 3), (2, 3, 6), (250, 1, 250)])
def test_the_time_limit_is_the_tasks_whatever_is_registered(limit: int, repeat: int, inner: int) -> None:
    """Pendulum is registered with 200 steps."""
    task = replace(make_task("Pendulum-v1", action_repeat=repeat), time_limit=limit)
    experience = VectorExperience(task)
    assert experience.envs[0].spec is not None and experience.envs[0].spec.max_episode_steps == inner
    ends = [bool(experience.step(action).truncated) for action in actions(task, min(limit, 4), 1)]
    assert ends == [step + 1 == limit for step in range(len(ends))]


def test_a_time_limit_that_an_environment_cannot_reach_is_refused() -> None:
    """dm_control ends its episodes by itself."""
    pytest.importorskip("dm_control")
    task = make_task("dm_control/pendulum-swingup-v0", action_repeat=4)
    assert task.time_limit == 250
    with pytest.raises(TaskError, match=r"expected episodes of 251 steps, got 250 at most; lower its time_limit"):
        make_env(replace(task, time_limit=251))
    env = make_env(replace(task, time_limit=2))
    env.reset(seed=0)
    assert [env.step(np.zeros(1))[3] for _ in range(2)] == [False, True]


def test_episode_numbers_are_unique_and_change_at_the_end_only() -> None:
    task = make_task("InvertedPendulum-v5")
    experience = VectorExperience(task, 4, seed=2)
    out = run(experience, actions(task, 80, 4))
    episode = torch.stack([rows["episode"] for rows in out])  # T x N
    assert episode.dtype is torch.int64
    assert episode[0].tolist() == [0, 1, 2, 3]
    ended = torch.stack([rows["terminated"] | rows["truncated"] for rows in out])
    assert torch.equal(episode[1:] != episode[:-1], ended[:-1])
    owners = {number: set((episode == number).nonzero()[:, 1].tolist()) for number in episode.unique().tolist()}
    assert all(len(columns) == 1 for columns in owners.values())
    experience.close()


def test_an_environment_does_not_depend_on_its_neighbours() -> None:
    task = make_task("InvertedPendulum-v5")
    given = actions(task, 60, 3)
    wide, narrow = VectorExperience(task, 3, seed=7), VectorExperience(task, 1, seed=7)
    out_wide, out_narrow = run(wide, given), run(narrow, given[:, :1])
    for left, right in zip(out_wide, out_narrow, strict=True):
        assert torch.equal(left["next_obs"][:1], right["next_obs"])
    wide.close()
    narrow.close()


def test_global_generators_change_nothing() -> None:
    task = make_task("InvertedPendulum-v5")
    given = actions(task, 60, 1)
    first, second = VectorExperience(task, 1), VectorExperience(task, 1)
    out_first = run(first, given)
    torch.manual_seed(9)
    np.random.seed(9)  # noqa: NPY002
    random.seed(9)
    first_half = run(second, given[:30])
    np.random.seed(10)  # noqa: NPY002
    assert_same(out_first, first_half + run(second, given[30:]))
    first.close()
    second.close()


def test_seeds_differ_between_episodes_environments_and_runs() -> None:
    task = make_task("Pendulum-v1")
    one, other = VectorExperience(task, 2, seed=0), VectorExperience(task, 2, seed=1)
    starts = torch.cat([one.obs, other.obs])
    run(one, actions(task, 200, 2))
    starts = torch.cat([starts, one.obs])
    assert len(starts.unique(dim=0)) == 6
    one.reset(0)
    assert torch.equal(one.obs, starts[:2])
    one.close()
    other.close()


@pytest.mark.parametrize("env_id", TASKS)
def test_a_loaded_state_goes_on_bit_for_bit(env_id: str, tmp_path) -> None:
    if env_id.startswith("dm_control"):
        pytest.importorskip("shimmy")
    task = make_task(env_id)
    given = actions(task, 90, 2)
    whole, resumed = VectorExperience(task, 2, seed=4), VectorExperience(task, 2, seed=99)
    run(whole, given[:45])
    torch.save(whole.state_dict(), tmp_path / "state")
    rest = run(whole, given[45:])
    run(resumed, given[:3])  # whatever went on before loading
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert_same(rest, run(resumed, given[45:]))
    assert whole.finished() == resumed.finished()
    state, other = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(state.pop("actions"), other.pop("actions"), strict=True))
    for name in ("obs", "ended"):
        assert torch.equal(state.pop(name), other.pop(name))
    assert state == other
    whole.close()
    resumed.close()


def test_an_action_repeat_resumes_too() -> None:
    task = make_task("InvertedPendulum-v5", action_repeat=3)
    given = actions(task, 20, 1)
    whole, resumed = VectorExperience(task, 1), VectorExperience(task, 1)
    run(whole, given[:10])
    resumed.load_state_dict(whole.state_dict())
    assert_same(run(whole, given[10:]), run(resumed, given[10:]))
    whole.close()
    resumed.close()


@pytest.mark.parametrize("change", ["seed", "action", "obs", "past_the_end"])
def test_a_replay_that_comes_out_otherwise_is_refused(change: str) -> None:
    task = make_task("InvertedPendulum-v5")
    experience = VectorExperience(task, 1, seed=4)
    run(experience, actions(task, 2, 1))
    state = experience.state_dict()
    assert len(state["actions"][0]) == 2
    if change == "seed":
        state["reset_seeds"][0] += 1
    elif change == "action":
        state["actions"][0][0] += 1e-6
    elif change == "obs":
        state["obs"][0, 0] = np.nextafter(state["obs"][0, 0].item(), 9.0)
    else:
        state["actions"][0] = torch.ones(200, 1)
    with pytest.raises(CheckpointError, match=r'expected a replay of \d+ steps .* got .*; .*resume="next_episode"'):
        experience.load_state_dict(state)
    experience.close()


def test_an_episode_too_long_to_replay_is_refused_and_its_length_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_experience, "REPLAYED_STEPS", 50)
    task = make_task("Pendulum-v1")
    experience = VectorExperience(task, 2, seed=4)
    given = actions(task, 200, 2)
    run(experience, given[:50])
    resumed = VectorExperience(task, 2)
    resumed.load_state_dict(experience.state_dict())
    run(experience, given[50:51])
    state = experience.state_dict()
    assert [len(steps) for steps in state["actions"]] == [50, 50]
    with pytest.raises(CheckpointError, match=r'at most 50 steps to replay, got one of 51; choose resume="next_episode"'):
        resumed.load_state_dict(state)
    fresh = VectorExperience(task, 2, resume="next_episode")
    fresh.load_state_dict(state)
    run(experience, given[51:])
    assert [length for _, length in experience.finished()] == [200, 200]
    state = experience.state_dict()
    del state["lengths"]  # as written before they were kept
    resumed.load_state_dict(state)


def test_resume_at_the_next_episode_starts_fresh_ones() -> None:
    task = make_task("InvertedPendulum-v5")
    experience = VectorExperience(task, 2, seed=4)
    run(experience, actions(task, 3, 2))
    state = experience.state_dict()
    state["reset_seeds"] = [0, 0]  # a replay would fail
    resumed = VectorExperience(task, 2, seed=0, resume="next_episode")
    resumed.load_state_dict(state)
    assert resumed.ended.all()
    rows = resumed.step(torch.zeros(2, 1))
    assert rows.extras["episode"].tolist() == [state["episodes"], state["episodes"] + 1]
    assert (rows.obs.abs() <= 0.01 + 1e-6).all()
    experience.close()
    resumed.close()


def test_the_state_of_other_environments_is_refused() -> None:
    hopper = VectorExperience(make_task("Hopper-v5"))
    pendulum = VectorExperience(make_task("Pendulum-v1"))
    with pytest.raises(CheckpointError, match=r"state of 1 environments Hopper-v5, got that of 1 of Pendulum-v1"):
        hopper.load_state_dict(pendulum.state_dict())
    hopper.close()
    pendulum.close()


def test_bad_arguments_have_their_sentences() -> None:
    task = make_task("Pendulum-v1")
    with pytest.raises(ConfigError, match=r"VectorExperience\(num_envs=…\): expected a whole number of at least 1, got 0"):
        VectorExperience(task, 0)
    with pytest.raises(ConfigError, match=r"VectorExperience\(resume=…\): expected one of exact, next_episode, got 'never'"):
        VectorExperience(task, resume="never")  # type: ignore[arg-type]
    experience = VectorExperience(task, 2)
    with pytest.raises(ShapeError, match=r"VectorExperience.step\(action\): expected shape 2 x 1, got 1 x 1"):
        experience.step(torch.zeros(1, 1))
    with pytest.raises(DataError, match=r"expected actions in \[−1, 1\], got \[\[2.0\], \[0.0\]\]"):
        experience.step(torch.tensor([[2.0], [0.0]]))
    with pytest.raises(DataError, match="NaN"):
        experience.step(torch.full((2, 1), torch.nan))
    experience.close()


def test_an_environment_that_returns_nan_is_stopped_with_where() -> None:
    experience = VectorExperience(make_task("Pendulum-v1"), 2)
    experience.step(torch.zeros(2, 1))
    experience.envs[1].unwrapped.state = np.array([np.nan, 0.0])
    sentence = r"Pendulum-v1: expected finite observations and rewards, got \[nan, .*\] and nan at step 2 of an episode"
    with pytest.raises(DataError, match=sentence):
        experience.step(torch.zeros(2, 1))
    experience.close()


def test_inputs_are_left_alone_and_rows_are_not_views_of_what_changes() -> None:
    task = make_task("InvertedPendulum-v5")
    experience = VectorExperience(task, 1)
    given = actions(task, 30, 1)
    kept = given.clone()
    out = run(experience, given)
    copies = [{name: tensor.clone() for name, tensor in rows.items()} for rows in out]
    run(experience, given)
    assert torch.equal(given, kept)
    assert_same(out, copies)
    experience.close()
