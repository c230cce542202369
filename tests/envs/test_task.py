"""From an environment id to a task: what is read, and what is refused in which words."""

from __future__ import annotations

import builtins
import sys
import textwrap
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl.data import Task
from mbrl.data.task import names_in
from mbrl.envs import VectorExperience, check_task, make_env, make_task, rewards, terminations
from mbrl.errors import ConfigError, TaskError, UntrustedNameError

USER_MODULE = """
    import gymnasium, numpy as np, torch
    from gymnasium import spaces

    class Slide(gymnasium.Env):
        \"\"\"A point on a line, pushed to the left of 1.\"\"\"

        def __init__(self, push=lambda a: a):
            self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
            self.action_space = spaces.Box(-0.5, 1.5, (1,), np.float32)
            self.push = push

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.x = self.np_random.uniform(-0.1, 0.1, 1)
            return self.x.copy(), {}

        def step(self, action):
            self.x = self.x + 0.1 * self.push(action.astype(np.float64))
            return self.x.copy(), float(-self.x[0] ** 2), bool(self.x[0] > 1), False, {}

    gymnasium.register("Slide-v0", entry_point=Slide, max_episode_steps=50)

    def reward(obs, action, next_obs):
        return -next_obs[..., 0] ** 2

    def wrong_reward(obs, action, next_obs):
        return -obs[..., 0] ** 2

    def flat_reward(obs, action, next_obs):
        return -next_obs.square()

    def over(obs, action, next_obs):
        return next_obs[..., 0] > 1

    def over_as_numbers(obs, action, next_obs):
        return over(obs, action, next_obs).float()

    def double(action):
        return 2 * action
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's, outside the package."""
    (tmp_path / "my_slide.py").write_text(textwrap.dedent(USER_MODULE))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_slide", raising=False)
    yield "my_slide"
    sys.modules.pop("my_slide", None)
    gymnasium.registry.pop("Slide-v0", None)


class Shapes(gymnasium.Env):
    """An environment of any spaces."""

    def __init__(self, obs: spaces.Space, action: spaces.Space) -> None:
        self.observation_space = obs
        self.action_space = action


BOX = spaces.Box(-1, 1, (2,), np.float32)


def register(obs: spaces.Space = BOX, action: spaces.Space = BOX) -> str:
    gymnasium.registry.pop("Shapes-v0", None)
    gymnasium.register("Shapes-v0", entry_point=lambda: Shapes(obs, action))
    return "Shapes-v0"


@pytest.fixture(autouse=True)
def _forget_shapes():
    yield
    gymnasium.registry.pop("Shapes-v0", None)


def test_a_task_says_what_the_environment_is() -> None:
    task = make_task("Humanoid-v5", {"include_cinert_in_observation": False})
    assert (task.action_size, task.time_limit, task.action_repeat) == (17, 1000, 1)
    assert task.action_low == pytest.approx([-0.4] * 17)
    assert task.known_reward is None
    assert task.known_terminated == "mbrl.envs.terminations.humanoid"
    assert Task.from_plain(task.to_plain()) == task


def test_a_box_of_one_number_each_is_fine() -> None:
    one = spaces.Box(-2, 3, (1,), np.float32)
    task = make_task(register(one, one))
    assert (task.obs_size, task.action_size, task.action_low, task.action_high) == (1, 1, (-2.0,), (3.0,))
    assert task.time_limit is None


def test_functions_are_auto_learned_or_named() -> None:
    assert make_task("Pendulum-v1").known_reward == "mbrl.envs.rewards.pendulum"
    learned = make_task("Pendulum-v1", reward="learned", terminated="learned")
    assert (learned.known_reward, learned.known_terminated) == (None, None)
    obs = torch.zeros(2, 3)
    assert learned.reward(obs, torch.zeros(2, 1), obs) is None
    given = make_task("Pendulum-v1", reward=rewards.one, terminated="mbrl.envs.terminations.hopper")
    assert given.known_reward == "mbrl.envs.rewards.one"
    assert given.known_terminated == "mbrl.envs.terminations.hopper"
    assert make_task("Hopper-v5", terminated=terminations.never).known_terminated == "mbrl.envs.terminations.never"


def test_with_an_action_repeat_the_reward_is_learned_and_the_limit_shorter() -> None:
    task = make_task("Pendulum-v1", action_repeat=3)
    assert task.known_reward is None
    assert task.time_limit == 66  # 200 inner steps, of which the last two are no whole real step
    assert task.known_terminated == "mbrl.envs.terminations.never"
    with pytest.raises(ConfigError, match="no known reward at action_repeat 3"):
        make_task("Pendulum-v1", action_repeat=3, reward="mbrl.envs.rewards.pendulum")
    for bad in (0, -1, 1.5, True):
        with pytest.raises(ConfigError, match=r"make_task\(action_repeat=…\): expected a whole number of at least 1, got"):
            make_task("Pendulum-v1", action_repeat=bad)  # type: ignore[arg-type]


def test_an_action_repeat_sums_rewards_and_stops_at_the_end() -> None:
    task = make_task("Pendulum-v1", action_repeat=3)
    repeated, single = make_env(task), make_env(make_task("Pendulum-v1"))
    repeated.reset(seed=1)
    single.reset(seed=1)
    action = np.array([0.3], dtype=np.float32)
    for step in range(66):
        obs, reward, terminated, truncated, _ = repeated.step(action)
        inner = [single.step(action) for _ in range(3)]
        assert np.array_equal(obs, inner[-1][0])
        assert reward == sum(float(part[1]) for part in inner)
        assert (terminated, truncated) == (False, step == 65)
    repeated.close()
    single.close()


# dm_control ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "obs_size", "action_size"),
    [("cartpole-swingup", 5, 1), ("pendulum-swingup", 3, 1), ("ball_in_cup-catch", 8, 2), ("humanoid-walk", 67, 21)],
)
def test_dm_control_tasks_are_flattened(name: str, obs_size: int, action_size: int) -> None:
    pytest.importorskip("shimmy")
    task = make_task(f"dm_control/{name}-v0")
    assert (task.obs_size, task.action_size, task.time_limit) == (obs_size, action_size, 1000)
    assert make_task(f"dm_control/{name}-v0", action_repeat=2).time_limit == 500


def test_dm_control_entries_come_in_alphabetical_order() -> None:
    pytest.importorskip("shimmy")
    env = make_env(make_task("dm_control/humanoid-walk-v0"))
    obs, _ = env.reset(seed=0)
    inner = env.unwrapped._env.task.get_observation(env.unwrapped._env.physics)
    names = ["com_velocity", "extremities", "head_height", "joint_angles", "torso_vertical", "velocity"]
    assert sorted(inner) == names
    assert np.allclose(obs, np.concatenate([np.ravel(inner[name]) for name in names]))
    env.close()


def test_dm_control_seeds_choose_the_start() -> None:
    """Some wrappers seed only the spaces, so that every seed starts alike; a global seed must not matter either."""
    pytest.importorskip("shimmy")
    task = make_task("dm_control/cartpole-swingup-v0")
    starts = []
    for seed in (0, 0, 1):
        np.random.seed(len(starts))  # noqa: NPY002
        experience = VectorExperience(task, 2, seed=seed)
        starts.append(experience.obs)
        experience.close()
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])
    assert not torch.equal(starts[0][0], starts[0][1])


def test_dm_control_without_its_packages_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: object, **kwargs: object) -> object:
        if name.split(".")[0] == "shimmy":
            raise ImportError("No module named 'shimmy'")
        return real(name, *args, **kwargs)

    monkeypatch.setitem(sys.modules, "shimmy", None)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(TaskError, match=r"expected dm_control and shimmy .* pip install 'mbrl-toolkit\[dmc\]'"):
        make_task("dm_control/cartpole-swingup-v0")


# the user's own ------------------------------------------------------------------------------------------------------


def test_a_users_environment_and_functions_in_a_file_of_their_own(user_module: str) -> None:
    task = make_task("my_slide:Slide-v0", reward="my_slide.reward", terminated="my_slide.over")
    assert (task.action_low, task.action_high, task.time_limit) == ((-0.5,), (1.5,), 50)
    findings = check_task(task, steps=300)
    assert findings[0].startswith("my_slide.reward agrees on 300 steps")
    assert "0 of which" not in findings[1]
    experience = VectorExperience(task)
    at_zero = experience.step(torch.full((1, 1), -0.5))  # the library's −0.5 is the environment's 0
    assert torch.equal(at_zero.obs, at_zero.next_obs)
    experience.close()
    assert task.reward(torch.zeros(1, 1), torch.zeros(1, 1), torch.full((1, 1), 2.0)).item() == -4  # type: ignore[union-attr]


def test_names_of_a_file_need_leave(user_module: str) -> None:
    task = make_task("my_slide:Slide-v0", {"push": {"callable": "my_slide.double"}}, reward="my_slide.reward")
    data = task.to_plain()
    with pytest.raises(UntrustedNameError, match="--allow my_slide"):
        Task.from_plain(data)
    with pytest.raises(UntrustedNameError, match="--allow my_slide"):
        Task.from_plain({**data, "known_reward": None, "env_id": "Slide-v0"})  # the name in the kwargs alone
    read = Task.from_plain(data, allow=["my_slide"])
    with pytest.raises(UntrustedNameError, match="--allow my_slide"):
        make_env(read, allow=())
    env = make_env(read, allow=["my_slide"])
    start, _ = env.reset(seed=0)
    led_to, *_ = env.step(np.array([0.5], dtype=np.float32))
    assert led_to - start == pytest.approx(0.1)  # the push was doubled
    env.close()
    assert list(names_in(task.env_id, task.env_kwargs)) == ["my_slide:Slide-v0", "my_slide.double"]
    with pytest.raises(UntrustedNameError, match="--allow my_slide"):
        VectorExperience(make_task("my_slide:Slide-v0"), allow=())


# refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning")
@pytest.mark.parametrize(
    ("env_id", "sentence"),
    [
        ("Hoper-v5", r"expected the id of a registered environment, got 'Hoper-v5' \(.*Hopper.*\); check the spelling"),
        ("Hopper-v99", r"expected the id of a registered environment, got 'Hopper-v99' \(.*v5.*\)"),
        ("no_such_module_x:Foo-v0", r"expected the id of a registered environment, got 'no_such_module_x:Foo-v0'"),
        ("dm_control/cartpole-fly-v0", r"expected the id of a registered environment, got 'dm_control/cartpole-fly-v0'"),
        ("Hopper v5", r"expected Hopper v5 to start .* Malformed environment ID"),
        (
            "Hopper-v3",
            r"expected Hopper-v3 to start .* got ImportError: .*; check env_kwargs and what",
        ),
        ("CartPole-v1", r"CartPole-v1: expected actions .* got discrete ones \(Discrete\(2\)\); only continuous actions"),
    ],
)
def test_ids_that_cannot_be_used(env_id: str, sentence: str) -> None:
    with pytest.raises(TaskError, match=sentence):
        make_task(env_id)


def test_unknown_arguments_of_the_environment() -> None:
    with pytest.raises(TaskError, match=r"expected Hopper-v5 to start with arguments \{'foo': 1\}, got TypeError: .*'foo'"):
        make_task("Hopper-v5", {"foo": 1})
    with pytest.raises(ConfigError, match=r"expected plain env_kwargs, got <built-in function abs>; write .*callable"):
        make_task("Hopper-v5", {"deep": [{"push": abs}]})
    with pytest.raises(ConfigError, match=r"expected plain data"):
        make_task("Hopper-v5", {"xml_file": np.zeros(3)})


@pytest.mark.parametrize(
    ("obs", "action", "sentence"),
    [
        (
            spaces.Box(0, 255, (64, 64, 3), np.uint8),
            BOX,
            r"got images of shape \(64, 64, 3\) \(uint8\); flatten or encode",
        ),
        (spaces.Box(-1, 1, (2, 3), np.float32), BOX, r"got arrays of shape \(2, 3\) \(float32\)"),
        (spaces.Box(-1, 1, (), np.float32), BOX, r"got a single number without a dimension"),
        (spaces.Box(-1, 1, (0,), np.float32), BOX, r"got an empty one"),
        (spaces.Box(0, 9, (2,), np.int64), BOX, r"observations .* got integers \(int64, shape \(2,\)\)"),
        (spaces.Dict({"a": BOX}), BOX, r"observations .* got Dict\(.*; flatten it \(gymnasium.wrappers.FlattenObs"),
        (spaces.Discrete(3), BOX, r"observations .* got Discrete\(3\); encode it as floats"),
        (BOX, spaces.MultiDiscrete([2, 2]), r"actions .* got discrete ones .*; only continuous actions"),
        (BOX, spaces.Dict({"a": BOX}), r"actions .* got Dict\("),
        (BOX, spaces.Box(-1, 1, (2, 2), np.float32), r"actions .* got a box of shape \(2, 2\)"),
        (BOX, spaces.Box(0, 3, (2,), np.int32), r"actions .* got integers \(int32\); only continuous"),
        (BOX, spaces.Box(-np.inf, np.inf, (2,), np.float32), r"actions .* got one without bounds .*RescaleAction"),
        (
            BOX,
            spaces.Box(np.array([-1, 2], np.float32), np.array([1, 2], np.float32)),
            r"expected finite action bounds with low < high",
        ),
    ],
)
def test_spaces_that_cannot_be_used(obs: spaces.Space, action: spaces.Space, sentence: str) -> None:
    with pytest.raises(TaskError, match=sentence):
        make_task(register(obs, action))


def test_functions_that_cannot_be_used() -> None:
    with pytest.raises(ConfigError, match=r"expected reward to be 'auto', 'learned' or a dotted name .* got 'autoo'"):
        make_task("Pendulum-v1", reward="autoo")
    with pytest.raises(ConfigError, match=r"mbrl.envs.rewards has no pendulumm"):
        make_task("Pendulum-v1", reward="mbrl.envs.rewards.pendulumm")
    with pytest.raises(ConfigError, match=r"expected terminated to name a function .* got 'math.pi', which is none"):
        make_task("Pendulum-v1", terminated="math.pi")
    with pytest.raises(ConfigError, match=r"expected a function with a dotted name, got .*<lambda>"):
        make_task("Pendulum-v1", reward=lambda obs, action, next_obs: obs[..., 0])


def test_a_task_of_a_dataset_has_no_environment() -> None:
    task = Task(env_id="", obs_size=1, action_size=1, action_low=(-1.0,), action_high=(1.0,))
    with pytest.raises(TaskError, match=r"expected a task with an environment"):
        make_env(task)


# functions that disagree ---------------------------------------------------------------------------------------------


def test_a_reward_that_disagrees_is_refused_with_the_first_state(user_module: str) -> None:
    task = make_task("my_slide:Slide-v0", reward="my_slide.wrong_reward")
    sentence = (
        r"my_slide:Slide-v0: expected my_slide.wrong_reward to agree with the environment, got \S+ where the environment "
        r"gave \S+ at step 0 .*\(obs \[\S+\], action \[\S+\], next_obs \[\S+\]; \d+ of 50 steps disagree\); correct"
    )
    with pytest.raises(TaskError, match=sentence):
        check_task(task, steps=50)


def test_a_disagreement_names_the_first_state_and_both_numbers() -> None:
    task = make_task("InvertedPendulum-v5", reward="mbrl.envs.rewards.one")
    with pytest.raises(TaskError, match=r"rewards.one to agree .* got 1 where the environment gave 0 at step [1-9]\d* "):
        check_task(task, steps=100)


def test_a_termination_that_disagrees_is_refused() -> None:
    task = make_task("InvertedPendulum-v5", terminated="mbrl.envs.terminations.never")
    with pytest.raises(TaskError, match=r"never to agree .* got 0 where the environment gave 1 .* set terminated: learned"):
        check_task(task, steps=100)


def test_functions_of_the_wrong_shape_are_refused(user_module: str) -> None:
    task = make_task("my_slide:Slide-v0", reward="my_slide.flat_reward")
    with pytest.raises(TaskError, match=r"flat_reward to return one number per row, .* shape \(20,\), got \(20, 1\)"):
        check_task(task, steps=20)
    task = make_task("my_slide:Slide-v0", terminated="my_slide.over_as_numbers")
    with pytest.raises(TaskError, match=r"over_as_numbers to return one bool per row, .* got \(20,\) \(torch.float32\)"):
        check_task(task, steps=20)


def test_nothing_known_is_nothing_to_check() -> None:
    assert check_task(make_task("Pendulum-v1", reward="learned", terminated="learned")) == []
