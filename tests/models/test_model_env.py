"""A model as an environment: the checkers pass, a batch equals its single environments, and PPO learns in it."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from mbrl.data import Task, Transitions, make_generator
from mbrl.envs import make_env, make_task
from mbrl.errors import ConfigError, DataError, DivergedError, MbrlError, NotBuiltError, ShapeError, UnsupportedError
from mbrl.models import (
    CartPole,
    DynamicsModel,
    GaussianEnsemble,
    LinearQuadratic,
    ModelEnv,
    ModelVectorEnv,
    ObsState,
    Pendulum,
    SimState,
    SimulatorModel,
)
from mbrl.testing import LinearModel, linear_task, riccati_gains
from mbrl.testing.linear import ACTION_MATRIX, STATE_MATRIX

UNBOUNDED = r"ignore:.*A Box observation space (min|max)imum value is -?infinity"


def starts(size: int, number: int = 50, scale: float = 1.0, actions: int = 1) -> Transitions:
    obs = torch.rand(number, size, generator=make_generator("cpu", "starts", size)) * 2 - 1
    return Transitions.from_obs(scale * obs, actions)


def linear(*, ends: bool = True, **options: Any) -> LinearModel:
    model = LinearModel(**options)
    model.build(linear_task(ends=ends, time_limit=12))
    return model


def quadratic(*, ends: bool = True) -> LinearQuadratic:
    model = LinearQuadratic(STATE_MATRIX, ACTION_MATRIX)
    model.build(linear_task(ends=ends, time_limit=25))
    return model


def pendulum(time_limit: int | None = 30) -> Pendulum:
    model = Pendulum()
    model.build(replace(make_task("Pendulum-v1"), time_limit=time_limit))
    return model


# the checkers ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings(UNBOUNDED)
@pytest.mark.parametrize("options", [{}, {"clip": True, "bounds": ([-3, -3], [3, 3])}, {"follow": True}])
def test_it_passes_both_checkers(options: dict[str, Any]) -> None:
    """Gymnasium's checker warns of the unbounded space, as of any; clipped, nobody has anything to say."""
    from stable_baselines3.common.env_checker import check_env as check_for_sb3

    env = ModelEnv(linear(noise=0.1, members=3, spread=0.1), starts(2), **options)
    if "clip" in options:
        warnings.simplefilter("error")
    check_env(env, skip_render_check=True)
    check_for_sb3(env)


# one environment ------------------------------------------------------------------------------------------------------


def test_it_is_the_real_environment_where_the_model_is_exact() -> None:
    """Torques in N m, a whole episode beside Pendulum-v1 from its own start, and its time limit."""
    real = gymnasium.make("Pendulum-v1", disable_env_checker=True)
    model = Pendulum()
    model.build(make_task("Pendulum-v1"))
    real.reset(seed=4)
    angle, speed = real.unwrapped.state
    rows = Transitions.from_obs(torch.tensor([[np.cos(angle), np.sin(angle), speed]], dtype=torch.float64), 1)
    env = ModelEnv(model, rows)
    assert env.action_space == real.action_space and env.observation_space.shape == (3,)
    env.reset(seed=0)
    for step in range(200):
        torque = np.array([2 * np.sin(step / 7)], dtype=np.float32)
        obs, reward, terminated, truncated, info = env.step(torque)
        expected, paid, *_, limit, _ = real.step(torque)
        assert obs.dtype == np.float32 and np.abs(obs - expected).max() < 1e-4
        assert reward == pytest.approx(float(paid), abs=1e-4)
        assert not terminated and truncated == limit == (step == 199) and info == {}
    real.close()


def test_a_seed_repeats_an_episode_whatever_came_before() -> None:
    def episode(env: ModelEnv, seed: int | None) -> np.ndarray[Any, Any]:
        seen = [env.reset(seed=seed)[0]]
        while True:
            obs, _, terminated, truncated, _ = env.step(np.array([0.1]))
            seen.append(obs)
            if terminated or truncated:
                return np.stack(seen)

    env, other = (ModelEnv(linear(noise=0.2, ends=False), starts(2)) for _ in range(2))
    first = episode(env, 3)
    second = episode(env, None)
    assert len(first) == len(second) == 13 and not np.array_equal(first, second)
    other.reset(seed=9)
    other.step(np.zeros(1))
    assert np.array_equal(episode(other, 3), first)
    assert np.array_equal(episode(other, None), second)
    kept = env.reset(seed=1)[0]
    other.reset(seed=1)
    kept += 100  # what was handed out is the caller's
    assert np.array_equal(env.step(np.ones(1))[0], other.step(np.ones(1))[0])


def test_extras_reach_the_models_start() -> None:
    class Elsewhere(LinearModel):
        def start(self, rows: Transitions, generator: Any, *, follow: bool = False) -> Any:
            return ObsState(rows.obs + rows.extras["sim_state"], generator)

    model = Elsewhere()
    model.build(linear_task())
    env = ModelEnv(model, Transitions.from_obs(torch.zeros(3, 2), 1, sim_state=torch.full((3, 2), 0.25)))
    assert env.reset(seed=0)[0].tolist() == [0.25, 0.25]


def test_the_simulator_as_a_batch_equals_single_ones() -> None:
    """Episodes of different lengths end and begin anew beside each other; the physics of the others stay as they were."""
    task = make_task("Hopper-v5")
    model = SimulatorModel()
    model.build(task)
    env = make_env(task)
    obs = np.stack([env.reset(seed=seed)[0] for seed in range(8)])
    env.close()
    rows = Transitions.from_obs(torch.from_numpy(obs), task.action_size)
    batch = ModelVectorEnv(model, rows, 3, time_limit=17, autoreset_mode="same_step")
    singles = SyncVectorEnv([lambda: ModelEnv(model, rows, time_limit=17)] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    assert np.array_equal(batch.reset(seed=1)[0], singles.reset(seed=1)[0])
    batch.action_space.seed(0)
    ends = 0
    for _ in range(60):
        action = batch.action_space.sample()
        for one, other in zip(batch.step(action)[:4], singles.step(action)[:4], strict=True):
            assert np.array_equal(one, other)
        ends += batch.episodes.elapsed.tolist().count(0)
    assert ends > 6


def test_starts_are_drawn_from_all_rows_uniformly() -> None:
    env = ModelEnv(linear(), Transitions.from_obs(torch.arange(4.0)[:, None].expand(4, 2) / 10, 1))
    env.reset(seed=0)
    found = [round(float(env.reset()[0][0]) * 10) for _ in range(400)]
    counts = np.bincount(found, minlength=4)
    assert len(counts) == 4 and counts.min() > 70  # 100 expected of each, standard deviation 9


def test_following_keeps_a_member_and_not_following_draws_one() -> None:
    model = LinearModel([[1.0]], [[0.0]], members=2, spread=2.0)  # a member adds −1 or +1
    model.build(Task("", 1, 1, (-1.0,), (1.0,), known_reward="mbrl.envs.rewards.one", known_terminated=NEVER))
    rows = Transitions.from_obs(torch.zeros(1, 1), 1)
    changes = {}
    for follow in (True, False):
        env = ModelEnv(model, rows, follow=follow, time_limit=None)
        changes[follow] = []
        for seed in range(20):
            seen = [env.reset(seed=seed)[0][0], *(env.step(np.zeros(1))[0][0] for _ in range(8))]
            changes[follow].append(set(np.diff(seen).tolist()))
    assert {frozenset(change) for change in changes[True]} == {frozenset({1.0}), frozenset({-1.0})}
    assert {1.0, -1.0} in changes[False]


NEVER = "mbrl.envs.terminations.never"


def test_clipping_is_what_the_model_goes_on_from() -> None:
    model = LinearModel([[2.0]], [[0.0]])
    model.build(Task("", 1, 1, (-1.0,), (1.0,), known_reward="mbrl.envs.rewards.one", known_terminated=NEVER))
    rows = Transitions.from_obs(torch.tensor([[1.0]]), 1)
    plain, clipped = ModelEnv(model, rows), ModelEnv(model, rows, clip=True, bounds=([-np.inf], [5.0]))
    seen: dict[ModelEnv, list[float]] = {plain: [], clipped: []}
    for env, values in seen.items():
        env.reset(seed=0)
        values += [float(env.step(np.zeros(1))[0][0]) for _ in range(4)]
    assert seen == {plain: [2, 4, 8, 16], clipped: [2, 4, 5, 5]}
    env = ModelEnv(model, Transitions.from_obs(torch.tensor([[9.0]]), 1), clip=True, bounds=([-5.0], [5.0]))
    assert env.reset(seed=0)[0] == 5  # a start is clipped too
    assert clipped.observation_space == gymnasium.spaces.Box(-np.inf, 5.0, (1,), np.float32)


def test_clipping_finds_the_real_environments_bounds() -> None:
    env = ModelEnv(pendulum(), starts(3), clip=True)
    assert env.observation_space.high.tolist() == [1, 1, 8] and env.observation_space.low.tolist() == [-1, -1, -8]


# a batch --------------------------------------------------------------------------------------------------------------


def cases() -> dict[str, tuple[DynamicsModel, Transitions, float]]:
    pytest.importorskip("shimmy")
    cart_pole = CartPole()
    cart_pole.build(replace(make_task("dm_control/cartpole-swingup-v0", action_repeat=4), time_limit=9))
    return {
        "quadratic": (quadratic(), starts(2, scale=3.0), 0.0),
        "pendulum": (pendulum(7), starts(3), 0.0),
        "cart-pole": (cart_pole, starts(5, scale=2.0), 0.0),
        "noisy": (linear(noise=0.2, members=3, spread=0.1), starts(2, scale=1.9), 1e-6),
    }


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("name", ["quadratic", "pendulum", "cart-pole", "noisy"])
def test_a_batch_equals_its_single_environments(name: str, mode: AutoresetMode) -> None:
    """Bit for bit on the closed forms, over several episodes of different lengths, in each autoreset mode."""
    model, rows, tolerance = cases()[name]
    batch = ModelVectorEnv(model, rows, 5, autoreset_mode=mode.name.lower(), follow=name == "noisy")
    single = SyncVectorEnv([lambda: ModelEnv(model, rows, follow=name == "noisy")] * 5, autoreset_mode=mode)
    assert batch.metadata["autoreset_mode"] is mode
    assert batch.observation_space == single.observation_space and batch.action_space == single.action_space
    assert np.array_equal(batch.reset(seed=11)[0], single.reset(seed=11)[0])
    single.action_space.seed(0)
    terminations, truncations, held = 0, 0, []
    for _ in range(40):
        action = single.action_space.sample()
        ours, theirs = batch.step(action), single.step(action)
        for one, other in zip(ours[:4], theirs[:4], strict=True):
            assert one.dtype == other.dtype and np.allclose(one, other, tolerance, tolerance)
        assert ours[4].keys() == theirs[4].keys()
        for key in ours[4].keys() & {"final_obs", "_final_obs"}:
            for one, other in zip(ours[4][key], theirs[4][key], strict=True):
                assert (one is None and other is None) or np.allclose(one, other, tolerance, tolerance)
        held.append((ours[0], ours[0].copy()))
        ended = ours[2] | ours[3]
        terminations, truncations = terminations + ours[2].sum(), truncations + ours[3].sum()
        if mode is AutoresetMode.DISABLED and ended.any():
            again = [env.reset(options={"reset_mask": ended})[0] for env in (batch, single)]
            assert np.array_equal(*again)
    assert truncations > 2 and (terminations > 2) == (name in ("quadratic", "noisy"))
    assert all(np.array_equal(kept, copy) for kept, copy in held)


def test_a_batch_of_a_network_agrees_step_by_step() -> None:
    """From the same state each step is within 1e-5 of the single environments', noise and members included."""
    model = GaussianEnsemble(members=5, elites=4, hidden=[32, 32])
    model.build(linear_task(ends=False, time_limit=None))
    rows = starts(2)
    batch = ModelVectorEnv(model, rows, 4)
    singles = [ModelEnv(model, rows) for _ in range(4)]
    batch.reset(seed=2)
    for i, env in enumerate(singles):
        env.reset(seed=2 + i)
    batch.action_space.seed(0)
    for _ in range(15):
        action, states = batch.action_space.sample(), batch.episodes.started()
        for i, env in enumerate(singles):
            own = env.episodes.state
            assert isinstance(own, ObsState)
            env.episodes.state = replace(own, obs=states.obs[i : i + 1])
        obs, reward, *_ = batch.step(action)
        for i, env in enumerate(singles):
            alone, paid, *_ = env.step(action[i])
            assert np.abs(alone - obs[i]).max() < 1e-5 and abs(paid - reward[i]) < 1e-5


def test_an_environment_does_not_depend_on_those_beside_it() -> None:
    model, rows = linear(noise=0.3), starts(2)
    wide, narrow = ModelVectorEnv(model, rows, 6), ModelVectorEnv(model, rows, 2)
    wide.reset(seed=[0, 1, 5, 6, 7, 8])
    narrow.reset(seed=[0, 1])
    for _ in range(20):
        action = np.full((6, 1), 0.2, dtype=np.float32)
        assert np.allclose(wide.step(action)[0][:2], narrow.step(action[:2])[0], atol=1e-6)


def test_wrappers_count_episodes() -> None:
    env = gymnasium.wrappers.RecordEpisodeStatistics(ModelEnv(pendulum(5), starts(3)))
    env.reset(seed=0)
    infos = [env.step(np.ones(1))[4] for _ in range(5)]
    assert infos[-1]["episode"]["l"] == 5
    envs = gymnasium.wrappers.vector.RecordEpisodeStatistics(ModelVectorEnv(pendulum(5), starts(3), 3))
    envs.reset(seed=0)
    infos = [envs.step(np.ones((3, 1)))[4] for _ in range(5)]
    assert infos[-1]["episode"]["l"].tolist() == [5, 5, 5]


# learning -------------------------------------------------------------------------------------------------------------


def test_ppo_improves_on_a_linear_model() -> None:
    """In 3,000 steps the mean return of 40 fixed episodes of 25 steps rises by 5 or more.

    Measured with five seeds: from about −15.7 to between −8.5 and −6.6, so by 7.2 or more; the best controller gets −4.5.
    """
    from stable_baselines3 import PPO
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

    model, rows = quadratic(ends=False), starts(2, 200)

    def environments() -> VecMonitor:
        return VecMonitor(DummyVecEnv([lambda: ModelEnv(model, rows)] * 4))

    agent = PPO(
        "MlpPolicy", environments(), n_steps=128, batch_size=128, learning_rate=1e-3, gamma=0.95, seed=0, device="cpu",
        policy_kwargs={"net_arch": [32]},
    )  # fmt: skip
    means = []
    for steps in (0, 3000):
        if steps:
            agent.learn(steps)
        test = environments()
        test.seed(7)
        means.append(float(evaluate_policy(agent, test, 40)[0]))
    before, after = means
    assert after - before > 5
    _, cost = riccati_gains(horizon=25)
    best = -torch.einsum("bi,ij,bj->b", rows.obs.double(), cost[0], rows.obs.double()).mean().item()
    assert best == pytest.approx(-4.53, abs=0.01)  # over all the starts


# refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "rows", "error", "message"),
    [
        ({}, starts(2, 0), DataError, "at least one initial row .* got none; give it some"),
        ({}, starts(3), ShapeError, r"expected shape N x 2, got 50 x 3"),
        ({}, starts(2, scale=float("inf")), DataError, "finite initial observations"),
        ({"clip": True}, starts(2), ConfigError, "a finite bound to clip to, got none; give bounds"),
        ({"clip": True, "bounds": ([0], [1])}, starts(2), ConfigError, r"bounds of 2 lows.* got \(\[0\], \[1\]\)"),
        ({"clip": True, "bounds": ([0, 1], [1, 1])}, starts(2), ConfigError, "each below its high"),
        ({"bounds": ([0, 0], [1, 1])}, starts(2), ConfigError, "expected bounds only with clip=True"),
    ],
)
def test_refused_at_construction(options: dict[str, Any], rows: Transitions, error: type[MbrlError], message: str) -> None:
    with pytest.raises(error, match=r"ModelEnv.*: .*" + message):
        ModelEnv(linear(), rows, **options)
    with pytest.raises(error, match=r"ModelVectorEnv.*: .*" + message):
        ModelVectorEnv(linear(), rows, 1, **options)


@pytest.mark.parametrize(("low", "high"), [(-2.0, 2.0), (-1.0, 0.3), (0.1, 0.7), (-3.0, 0.0), (1000.0, 1000.1)])
def test_actions_that_float32_puts_a_unit_outside_count_as_the_bound(low: float, high: float) -> None:
    model = LinearModel()
    model.build(replace(linear_task(), action_low=(low,), action_high=(high,)))
    env, many = ModelEnv(model, starts(2)), ModelVectorEnv(model, starts(2), 2)
    space = env.action_space
    assert isinstance(space, gymnasium.spaces.Box)
    unit = np.spacing(np.maximum(space.high - space.low, np.maximum(abs(space.low), abs(space.high))))
    for bound, outwards in ((space.low, -1), (space.high, 1)):
        led_to = []
        for given in (bound, np.nextafter(bound, np.float32(outwards * np.inf)), bound + outwards * unit):
            env.reset(seed=0)
            led_to.append(env.step(given)[0].tolist())
            many.reset(seed=0)
            many.step(np.stack([given, given]))
        assert led_to[0] == led_to[1] == led_to[2]
        env.reset(seed=0)
        with pytest.raises(DataError, match="expected actions between"):
            env.step(bound + 3 * outwards * unit)


def test_rescaled_actions_are_taken() -> None:
    for low, high in ((-1.0, 0.3), (-0.7, 0.1), (0.1, 0.9), (-2.0, 3.3)):
        model = LinearModel()
        model.build(replace(linear_task(), action_low=(low,), action_high=(high,)))
        env = gymnasium.wrappers.RescaleAction(ModelEnv(model, starts(2)), np.float32(-1), np.float32(1))
        for action in np.linspace(-1, 1, 5, dtype=np.float32):
            env.reset(seed=0)
            env.step(np.array([action]))


def test_refused_clipping() -> None:
    unnamed = LinearModel()
    unnamed.build(replace(linear_task(), env_id=""))
    with pytest.raises(ConfigError, match=r"the environment's can't be read: expected a task with an environment"):
        ModelEnv(unnamed, starts(2), clip=True)

    class Latent(LinearModel):
        def start(self, rows: Transitions, generator: Any, *, follow: bool = False) -> Any:
            return SimState(rows.obs, generator, rows.obs, None)

    latent = Latent()
    latent.build(linear_task())
    with pytest.raises(UnsupportedError, match=r"whose state is an observation, got Latent"):
        ModelEnv(latent, starts(2), clip=True, bounds=([-1, -1], [1, 1]))


def test_refused_steps_and_resets() -> None:
    env = ModelEnv(linear(), starts(2))
    with pytest.raises(UnsupportedError, match="ModelEnv: expected reset before anything else, got a step without one"):
        env.step(np.zeros(1))
    with pytest.raises(ConfigError, match=r"none in reset's options, got \['row'\]"):
        env.reset(options={"row": 3})
    env.reset(seed=0)
    with pytest.raises(ShapeError, match=r"ModelEnv\(action\): expected shape 1, got 2"):
        env.step(np.zeros(2))
    for wrong in (1.01, float("nan")):
        with pytest.raises(DataError, match=r"actions between \[-1\.0\] and \[1\.0\], got \[(1\.00999|nan)"):
            env.step(np.array([wrong]))
    while not any(env.step(np.zeros(1))[2:4]):
        continue
    with pytest.raises(UnsupportedError, match="expected reset after the end of an episode, got another step"):
        env.step(np.zeros(1))
    with pytest.raises(NotBuiltError):
        ModelEnv(LinearModel(), starts(2))


def test_refused_in_a_batch() -> None:
    for number in (0, 2.0, True):
        with pytest.raises(ConfigError, match=r"ModelVectorEnv\(num_envs=…\): expected a whole number of at least 1, got"):
            ModelVectorEnv(linear(), starts(2), number)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"ModelEnv\(time_limit=…\): expected a whole number of at least 1, got 0"):
        ModelEnv(linear(), starts(2), time_limit=0)
    with pytest.raises(ConfigError, match=r"ModelEnv\(rows=…\): expected a Transitions, got array"):
        ModelEnv(linear(), np.zeros((2, 2)))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="one of next_step, same_step, disabled, got 'never'"):
        ModelVectorEnv(linear(), starts(2), 1, autoreset_mode="never")  # type: ignore[arg-type]
    envs = ModelVectorEnv(linear(ends=False), starts(2), 2, autoreset_mode="disabled")
    with pytest.raises(UnsupportedError, match=r"a first reset of all 2, got 1; leave the mask out"):
        envs.reset(options={"reset_mask": np.array([True, False])})
    envs.reset(seed=0)
    for mask in (np.zeros(2, dtype=bool), np.ones(3, dtype=bool), np.ones(2)):
        with pytest.raises(ConfigError, match="reset_mask of 2 booleans, one at least True"):
            envs.reset(options={"reset_mask": mask})
    with pytest.raises(ConfigError, match=r"reset_mask alone in reset's options, got \['row'\]"):
        envs.reset(options={"row": 3})
    with pytest.raises(ShapeError, match=r"ModelVectorEnv\(seed\): expected shape 2, got 3"):
        envs.reset(seed=[1, 2, 3])
    with pytest.raises(ShapeError, match=r"ModelVectorEnv\(actions\): expected shape 2 x 1, got 2;"):
        envs.step(np.zeros(2))
    for _ in range(12):
        ended = envs.step(np.zeros((2, 1)))[3]
    assert ended.all()
    envs.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(UnsupportedError, match=r"a reset of the environments that have ended, got a step with \[1\]"):
        envs.step(np.zeros((2, 1)))


def test_what_diverges_is_named_unless_it_has_ended() -> None:
    model = LinearModel([[1e30]], [[0.0]])
    model.build(Task("", 1, 1, (-1.0,), (1.0,), known_reward="mbrl.envs.rewards.one", known_terminated=NEVER))
    rows = Transitions.from_obs(torch.ones(1, 1), 1)
    env = ModelEnv(model, rows)
    env.reset(seed=0)
    env.step(np.zeros(1))
    with pytest.raises(DivergedError, match=r"finite predictions, got \[inf\] with reward 1.0 after 2 steps; shorten"):
        env.step(np.zeros(1))
    envs = ModelVectorEnv(model, rows, 2, time_limit=1)
    envs.reset(seed=0)
    for _ in range(4):  # each second step is a reset, whose void prediction overflows
        obs, *_ = envs.step(np.full((2, 1), 0.5))
    assert np.array_equal(obs, np.ones((2, 1)))


def reached(obs: torch.Tensor, action: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
    return next_obs[..., 0]


def test_the_void_reward_of_a_reset_is_0() -> None:
    model = LinearModel([[1e30]], [[0.0]])
    model.build(Task("", 1, 1, (-1.0,), (1.0,), known_reward=f"{__name__}.reached", known_terminated=NEVER))
    envs = ModelVectorEnv(model, Transitions.from_obs(torch.ones(1, 1), 1), 2, time_limit=1)
    envs.reset(seed=0)
    first, void = (envs.step(np.full((2, 1), 0.5))[1] for _ in range(2))  # the second overflows
    assert np.allclose(first, 1e30) and void.tolist() == [0.0, 0.0]


# the page -------------------------------------------------------------------------------------------------------------


def test_the_page_runs() -> None:
    page = Path(__file__).parents[2] / "docs/model_as_env.md"
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(compile(block, str(page), "exec"), names)
    assert names["reward"].shape == (64,) and names["env"].episodes.time_limit == 200
