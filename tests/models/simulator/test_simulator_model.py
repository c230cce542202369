"""The simulator model beside the real environments: bit for bit where it says so, refused where it can't be right."""

from __future__ import annotations

import copy
import os
import signal
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv
from gymnasium.envs.mujoco.reacher_v5 import ReacherEnv

from mbrl.data import Task, Transitions, make_generator
from mbrl.envs import VectorExperience, make_env, make_task, simulator_state_size
from mbrl.errors import ConfigError, DataError, ShapeError, UnsupportedError
from mbrl.models import Exact, HasMembers, SimState, SimulatorModel
from mbrl.spec import from_spec
from mbrl.testing import check_dynamics_model
from tests.models.simulator.recorded import Recorded, record

BATCHED = ["InvertedPendulum-v5", "Hopper-v5", "Walker2d-v5", "HalfCheetah-v5", "Swimmer-v5"]
STEPWISE = ["Ant-v5", "Humanoid-v5", "HumanoidStandup-v5", "Reacher-v5", "Pusher-v5", "InvertedDoublePendulum-v5"]
CARTPOLE = "dm_control/cartpole-swingup-v0"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo writes its log where the program runs; reading Gymnasium's own files already fills it."""
    monkeypatch.chdir(tmp_path)


def built(task: Task, threads: int = 1) -> SimulatorModel:
    model = SimulatorModel(threads=threads)
    model.build(task)
    return model


def nothing() -> torch.Generator:
    return make_generator("cpu", "nothing")


def open_loop(model: SimulatorModel, seen: Recorded, length: int, most: int) -> tuple[torch.Tensor, ...]:
    """Largest differences of observation and reward, and whether terminations are equal."""
    first = seen.windows(length, most)
    assert len(first) > 0
    at = first[:, None] + torch.arange(length)  # B x H
    steps = model.rollout(model.start(seen.rows.select(first), nothing()), seen.rows.action[at])
    obs = torch.stack([step.next_obs - seen.rows.next_obs[at[:, h]] for h, step in enumerate(steps)])
    reward = torch.stack([step.reward - seen.rows.reward[at[:, h]] for h, step in enumerate(steps)])
    ended = torch.stack([step.terminated == seen.rows.terminated[at[:, h]] for h, step in enumerate(steps)])
    return obs.abs().max(), reward.abs().max(), ended.all()


# exactness -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", BATCHED + STEPWISE)
def test_a_plan_from_a_recorded_state_is_the_environment_bit_for_bit(env_id: str) -> None:
    task = make_task(env_id)
    seen = record(task, 60, scale=0.3 if env_id == "InvertedPendulum-v5" else 1.0)
    model = built(task)
    length = 4 if env_id.startswith("Inverted") else 10
    obs, reward, ended = open_loop(model, seen, length, 30)
    assert (obs, reward) == (0.0, 0.0)
    assert ended
    # every recorded state one step on, ends included
    step = model.step(model.start(seen.rows, nothing()), seen.rows.action)
    assert torch.equal(step.next_obs, seen.rows.next_obs)
    assert torch.equal(step.reward, seen.rows.reward)
    assert torch.equal(step.terminated, seen.rows.terminated)
    if task.known_terminated is not None and not task.known_terminated.endswith("never"):
        assert seen.rows.terminated.any()


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("Hopper-v5", {"forward_reward_weight": 2.0, "ctrl_cost_weight": 0.5, "healthy_reward": 3.0, "frame_skip": 2}),
        ("Hopper-v5", {"terminate_when_unhealthy": False, "exclude_current_positions_from_observation": False}),
        (
            "Hopper-v5",
            {"healthy_state_range": (-3.0, 3.0), "healthy_z_range": (1.1, 2.0), "healthy_angle_range": (-0.1, 0.1)},
        ),
        ("Walker2d-v5", {"healthy_z_range": (1.15, 1.3), "healthy_angle_range": (-0.2, 0.2), "healthy_reward": 0.5}),
        ("HalfCheetah-v5", {"forward_reward_weight": 0.5, "ctrl_cost_weight": 2.0}),
        ("Swimmer-v5", {"exclude_current_positions_from_observation": False, "ctrl_cost_weight": 1.0}),
        ("Ant-v5", {"main_body": 3, "include_cfrc_ext_in_observation": False}),
        ("Humanoid-v5", {"include_cinert_in_observation": False}),
    ],
)
def test_arguments_of_the_environment_count(env_id: str, kwargs: dict) -> None:
    task = make_task(env_id, kwargs)
    seen = record(task, 60)
    plain = record(make_task(env_id), 60)
    differs = seen.rows.obs.shape != plain.rows.obs.shape or not torch.equal(seen.rows.reward, plain.rows.reward)
    assert differs  # else the arguments test nothing
    obs, reward, ended = open_loop(built(task), seen, 1, 60)
    assert (obs, reward) == (0.0, 0.0)
    assert ended


@pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning")
@pytest.mark.parametrize("env_id", ["InvertedPendulum-v4", "Hopper-v4", "Walker2d-v4", "Ant-v4", "Reacher-v4"])
def test_version_4_is_exact_with_its_own_rewards(env_id: str) -> None:
    seen = record(make_task(env_id), 60)
    obs, reward, ended = open_loop(built(make_task(env_id)), seen, 1, 60)
    assert (obs, reward) == (0.0, 0.0)
    assert ended
    if env_id == "InvertedPendulum-v4":
        assert seen.rows.terminated.any()
        assert (seen.rows.reward == 1.0).all()  # it pays on its last step, where version 5 doesn't


@pytest.mark.parametrize(("env_id", "repeat"), [("Hopper-v5", 3), ("InvertedPendulum-v5", 2), ("Humanoid-v5", 4)])
def test_an_action_repeat_sums_rewards_and_stops_at_the_end(env_id: str, repeat: int) -> None:
    task = make_task(env_id, action_repeat=repeat)
    seen = record(task, 40)
    assert seen.rows.terminated.any()
    obs, reward, ended = open_loop(built(task), seen, 1, 40)
    assert (obs, reward) == (0.0, 0.0)
    assert ended
    if env_id == "InvertedPendulum-v5":  # an end on the first of two inner steps pays 0, on the second 1
        assert set(seen.rows.reward[seen.rows.terminated].tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(("name", "repeat"), [("swingup", 1), ("swingup", 4), ("balance", 1), ("balance_sparse", 1)])
def test_dm_controls_cartpole_is_exact_but_for_the_rounding_of_its_cosine(name: str, repeat: int) -> None:
    pytest.importorskip("shimmy")
    task = make_task(f"dm_control/cartpole-{name}-v0", action_repeat=repeat)
    seen = record(task, 40)
    obs, reward, _ = open_loop(built(task), seen, 10, 20)
    assert obs <= 5e-16
    assert reward <= 1e-15
    assert seen.rows.reward.abs().max() > 0  # even the sparse one pays here


@pytest.mark.parametrize("env_id", [*STEPWISE, "Walker2d-v5", "HalfCheetah-v5", "InvertedPendulum-v5"])
def test_stepwise_physics_is_exact_step_by_step_too(env_id: str) -> None:
    """Also of environments that could be stepped as a batch."""
    task = make_task(env_id)
    seen, model = record(task, 12, seed=3), SimulatorModel(threads=1, batched=False)
    model.build(task)
    length = 3 if env_id == "InvertedDoublePendulum-v5" else 8
    first = seen.windows(length, 2)
    state = model.start(seen.rows.select(first), nothing())
    for h in range(length):
        step = model.step(state, seen.rows.action[first + h])
        assert torch.equal(step.next_obs, seen.rows.next_obs[first + h])
        assert torch.equal(step.reward, seen.rows.reward[first + h])
        state = step.state.tile(2).select(torch.arange(len(first)))  # through the state's own operations


@pytest.mark.parametrize("env_id", ["Hopper-v5", "Walker2d-v5", "HalfCheetah-v5", "Swimmer-v5"])
def test_a_batched_step_without_its_warm_start_is_right_to_the_solvers_tolerance(env_id: str) -> None:
    """One step: 1e-9 at most. Measured over 50 steps: see the docs; contacts let the difference grow."""
    task = make_task(env_id)
    seen, model = record(task, 150), built(task)
    state = model.start(seen.rows, nothing())
    assert isinstance(state, SimState) and state.rest is not None
    cold = SimState(state.obs, state.generator, state.physics, None)
    gap = (model.step(cold, seen.rows.action).next_obs - seen.rows.next_obs).abs().max()
    assert gap <= 1e-9
    if env_id != "Hopper-v5":
        assert gap > 0 or env_id == "Swimmer-v5"  # the warm start does matter: without it the bits differ


def test_the_warm_start_is_used() -> None:
    """Walker2d's contacts: bit-equal with the recorded warm start, not with another."""
    task = make_task("Walker2d-v5")
    seen, model = record(task, 100), built(task)
    state = model.start(seen.rows, nothing())
    assert isinstance(state, SimState) and state.rest is not None
    other = SimState(state.obs, state.generator, state.physics, state.rest + 1.0)
    assert torch.equal(model.step(state, seen.rows.action).next_obs, seen.rows.next_obs)
    assert not torch.equal(model.step(other, seen.rows.action).next_obs, seen.rows.next_obs)


def test_threads_change_no_number() -> None:
    task = make_task("HalfCheetah-v5")
    seen = record(task, 40)
    plan = seen.rows.action[torch.randint(40, (40, 6), generator=make_generator("cpu", 0))]
    one, two = (built(task, threads) for threads in (1, 2))
    for left, right in zip(
        one.rollout(one.start(seen.rows, nothing()), plan), two.rollout(two.start(seen.rows, nothing()), plan), strict=True
    ):
        assert torch.equal(left.next_obs, right.next_obs)
        assert torch.equal(left.reward, right.reward)


# from observations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env_id", "obs_error", "reward_error"),
    [
        # measured on 300 random steps with the warm start that MuJoCo computes when a state is set: 1.3e-15 and 1.8e-15 for
        # Hopper, 1.2e-12 and 1.4e-14 for HalfCheetah; ours starts the solver cold
        ("Hopper-v5", 2e-14, 1e-13),
        ("HalfCheetah-v5", 5e-12, 1e-12),
        ("Swimmer-v5", 2e-14, 1e-13),
        ("Reacher-v5", 1e-12, 1e-12),
        ("InvertedDoublePendulum-v5", 1e-9, 1e-9),
        (CARTPOLE, 1e-7, 1e-7),  # 2e-8 where the cart meets the end of its rail, whose force the solver finds coldly
    ],
)
def test_observations_that_determine_the_state_do_to_rounding(env_id: str, obs_error: float, reward_error: float) -> None:
    if env_id == CARTPOLE:
        pytest.importorskip("shimmy")
    task = make_task(env_id)
    seen, model = record(task, 300), built(task)
    shown = Transitions.from_obs(seen.rows.obs, task.action_size)
    step = model.step(model.start(shown, nothing()), seen.rows.action)
    assert (step.next_obs - seen.rows.next_obs).abs().max() <= obs_error
    assert (step.reward - seen.rows.reward).abs().max() <= reward_error
    assert torch.equal(step.terminated, seen.rows.terminated)
    assert torch.equal(step.obs, seen.rows.obs)


@pytest.mark.parametrize(
    ("env_id", "why"),
    [
        ("Walker2d-v5", "clip velocities"),
        ("Ant-v5", "one inner step behind"),
        ("Humanoid-v5", "one inner step behind"),
        ("HumanoidStandup-v5", "where MuJoCo's solver starts"),
        ("Pusher-v5", "the object's velocity"),
    ],
)
def test_observations_that_do_not_determine_the_state_are_refused(env_id: str, why: str) -> None:
    task = make_task(env_id)
    model = built(task)
    obs = torch.zeros(2, task.obs_size)
    with pytest.raises(UnsupportedError, match=rf"extras\['sim_state'\].*{why}.*Experience\.snapshot"):
        model.start(Transitions.from_obs(obs, task.action_size), nothing())
    with pytest.raises(UnsupportedError, match=why):
        model.predict(obs, torch.zeros(2, task.action_size))


@pytest.mark.parametrize(("env_id", "column"), [("Hopper-v5", 7), ("InvertedDoublePendulum-v5", 6)])
def test_a_velocity_at_its_clip_is_refused(env_id: str, column: int) -> None:
    task = make_task(env_id)
    model = built(task)
    obs = record(task, 3).rows.obs
    model.start(Transitions.from_obs(obs, task.action_size), nothing())
    for clipped in (10.0, -10.0):
        obs[1, column] = clipped
        with pytest.raises(DataError, match=r"velocities inside ±10.*in row 1.*sim_state"):
            model.start(Transitions.from_obs(obs, task.action_size), nothing())


def test_hopper_beyond_its_clip_is_exact_from_the_simulator_state() -> None:
    """What observations can't say, the state says: a joint at 25 rad/s, shown as 10."""
    task = make_task("Hopper-v5")
    env = make_env(task)
    env.reset(seed=0)
    inner = env.unwrapped
    velocity = inner.data.qvel.copy()
    velocity[4] = 25.0
    inner.set_state(inner.data.qpos.copy(), velocity)
    from mbrl.envs import SimulatorState

    row, obs = torch.from_numpy(SimulatorState(env).read())[None], torch.from_numpy(inner._get_obs())[None]
    assert obs[0, 9] == 10.0
    model = built(task)
    step = model.step(model.start(Transitions.from_obs(obs, 3, sim_state=row), nothing()), torch.zeros(1, 3))
    led_to, reward, *_ = env.step(np.zeros(3, dtype=np.float32))
    assert torch.equal(step.next_obs[0], torch.from_numpy(led_to))
    assert step.reward.item() == reward
    env.close()


# rows that are wrong -------------------------------------------------------------------------------------------------


def test_a_wrong_sim_state_is_refused() -> None:
    task = make_task("Hopper-v5")
    seen, model = record(task, 4), built(task)
    rows = seen.rows
    assert rows.extras["sim_state"].shape[1] == 13 + 6  # time, 6 positions, 6 velocities; 6 of the warm start
    with pytest.raises(DataError, match=r"float64, got torch\.float32; see ReplayBuffer\(float64"):
        model.start(Transitions.from_obs(rows.obs, 3, sim_state=rows.extras["sim_state"].float()), nothing())
    with pytest.raises(ShapeError, match=r"4 x 19, got 4 x 13"):
        model.start(Transitions.from_obs(rows.obs, 3, sim_state=rows.extras["sim_state"][:, :13]), nothing())
    with pytest.raises(DataError, match=r"of the states that obs shows.*take the snapshot before"):
        model.start(Transitions.from_obs(rows.next_obs, 3, sim_state=rows.extras["sim_state"]), nothing())
    with pytest.raises(DataError, match="float64"):
        model.start(Transitions.from_obs(rows.obs, 3, sim_state=rows.action), nothing())


def test_wrong_actions_are_refused() -> None:
    task = make_task("Hopper-v5")
    seen, model = record(task, 4), built(task)
    state = model.start(seen.rows, nothing())
    with pytest.raises(DataError, match=r"actions in \[−1, 1\], got 1\.5"):
        model.step(state, torch.full((4, 3), 1.5))
    with pytest.raises(ShapeError, match=r"4 x H x 3, got 3 x 1 x 3"):
        model.step(state, torch.zeros(3, 3))
    with pytest.raises(UnsupportedError, match="a state from its own start, got ObsState"):
        model.step(super(SimulatorModel, model).start(seen.rows, nothing()), torch.zeros(4, 3))


@pytest.mark.parametrize(
    ("env_id", "huge"), [("Hopper-v5", 1e11), ("Hopper-v5", 9e9), ("HalfCheetah-v5", 9e9), ("Reacher-v5", 1e11)]
)
def test_a_state_that_diverges_gives_nan_and_leaves_the_others_alone(env_id: str, huge: float) -> None:
    task = make_task(env_id)
    seen, model = record(task, 5), built(task)
    rows = seen.rows
    alone = model.rollout(model.start(rows, nothing()), rows.action[:, None].expand(-1, 4, -1))
    broken = rows.map(torch.clone)
    nq = int(model.physics.model.nq)
    broken.extras["sim_state"][2, 1 + nq :] = huge  # velocities; 1e11 is beyond what MuJoCo takes, 9e9 explodes in a step
    state = SimState(
        rows.obs,
        nothing(),
        broken.extras["sim_state"][:, : model.physics.physics_size],
        broken.extras["sim_state"][:, model.physics.physics_size :],
    )
    said: list[str] = []
    before_us = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(said.append)
    steps = model.rollout(state, rows.action[:, None].expand(-1, 4, -1))
    fine = torch.tensor([True, True, False, True, True])
    for step, before in zip(steps, alone, strict=True):
        assert torch.equal(step.finite, fine)
        assert step.next_obs[2].isnan().all()
        assert step.reward[2].isnan()
        assert not step.terminated[2]
        assert torch.equal(step.next_obs[fine], before.next_obs[fine])
        assert torch.equal(step.reward[fine], before.reward[fine])
    again = model.step(steps[-1].state, rows.action)  # a row that is NaN stays so
    assert torch.equal(again.finite, fine)
    assert not said  # else MuJoCo prints, and writes a log where the program runs
    assert mujoco.get_mju_user_warning() == said.append  # and whoever listened does so again
    mujoco.set_mju_user_warning(before_us)


@pytest.mark.parametrize("env_id", ["InvertedPendulum-v5", "Hopper-v5", CARTPOLE, "Reacher-v5"])
def test_an_action_that_is_nan_gives_nan_from_there_on(env_id: str) -> None:
    """MuJoCo takes such a command as 0, and its rollout then leaves the row where it is."""
    task = make_task(env_id)
    seen, model = record(task, 3), built(task)
    plans = seen.rows.action[:, None].repeat(1, 4, 1)
    plans[1, 2, 0] = torch.nan
    plans[2, 0, 0] = torch.nan
    steps = model.rollout(model.start(seen.rows, nothing()), plans)
    assert [step.finite.tolist() for step in steps] == [[True, True, False]] * 2 + [[True, False, False]] * 2
    assert all(step.next_obs[~step.finite].isnan().all() for step in steps)
    assert not any(step.terminated[~step.finite].any() for step in steps)


@pytest.mark.parametrize("env_id", ["Hopper-v5", CARTPOLE, "Reacher-v5"])
def test_a_batch_of_no_rows_is_stepped_as_any(env_id: str) -> None:
    task = make_task(env_id)
    seen, model = record(task, 3), built(task)
    none = seen.rows.select(slice(0, 0))
    steps = model.rollout(model.start(none, nothing()), none.action[:, None].repeat(1, 2, 1))
    assert [step.next_obs.shape for step in steps] == [(0, task.obs_size)] * 2
    assert model.step(steps[-1].state, none.action).reward.shape == (0,)


# what can't be modelled ----------------------------------------------------------------------------------------------


class Remembering(InvertedPendulumEnv):
    """Pushed by a wind that it draws at reset and keeps outside MuJoCo."""

    def reset(self, **kwargs):
        found = super().reset(**kwargs)
        self.wind = float(self.np_random.uniform(-1, 1))
        return found

    def step(self, action):
        obs, reward, *rest = super().step(np.clip(action + self.wind, -3, 3).astype(np.float32))
        return obs, reward, *rest


class Paying(ReacherEnv):
    """Somebody's own environment, whose state is all in MuJoCo."""

    def step(self, action):
        before = self.get_body_com("fingertip")[0].copy()
        obs, reward, *rest = super().step(action)
        return obs, reward + self.get_body_com("fingertip")[0] - before, *rest


gymnasium.register("MbrlTestRemembering-v0", entry_point=Remembering)
gymnasium.register("MbrlTestPaying-v0", entry_point=Paying)


@pytest.mark.parametrize(
    ("env_id", "why"),
    [
        ("Pendulum-v1", "expected one of Gymnasium's MuJoCo environments or dm_control's cartpole, got PendulumEnv"),
        ("MbrlTestRemembering-v0", "keeps a state outside MuJoCo"),
        ("dm_control/cartpole-two_poles-v0", "the cartpole with one pole only"),
        ("dm_control/pendulum-swingup-v0", "the cartpole with one pole only"),
    ],
)
def test_what_it_cannot_model_is_refused_when_it_is_built(env_id: str, why: str) -> None:
    if env_id.startswith("dm_control"):
        pytest.importorskip("shimmy")
    with pytest.raises(UnsupportedError, match=f"SimulatorModel can't model {env_id}: .*{why}"):
        SimulatorModel().build(make_task(env_id))


def test_somebodys_own_environment_is_stepped_as_it_is() -> None:
    task = make_task("MbrlTestPaying-v0")
    seen = record(task, 20)
    obs, reward, _ = open_loop(built(task), seen, 5, 10)
    assert (obs, reward) == (0.0, 0.0)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_a_wrong_number_of_threads_is_refused(threads: object) -> None:
    with pytest.raises(ConfigError, match=r"SimulatorModel\(threads=…\): expected a whole number of at least 1, or None"):
        SimulatorModel(threads=threads)  # type: ignore[arg-type]


# the contract --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env_id", "from_obs"),
    [("InvertedPendulum-v5", True), ("Hopper-v5", True), ("Walker2d-v5", False), ("Ant-v5", False)],
)
def test_it_keeps_the_contract(env_id: str, from_obs: bool) -> None:
    task = make_task(env_id)
    rows = record(task, 8).rows
    rows.obs = rows.obs.float()
    if from_obs:
        rows.extras = {}
    check_dynamics_model(lambda: SimulatorModel(threads=1), task, rows)


def test_it_is_exact_and_has_no_members() -> None:
    model = built(make_task("InvertedPendulum-v5"))
    assert isinstance(model, Exact)
    assert not isinstance(model, HasMembers)
    assert model.state_dict() == {}


def test_a_prediction_is_the_step() -> None:
    task = make_task("InvertedPendulum-v5")
    seen, model = record(task, 40), built(task)
    assert seen.rows.terminated.any() and not seen.rows.terminated.all()
    said = model.predict(seen.rows.obs.view(5, 8, 4), seen.rows.action.view(5, 8, 1))
    step = model.step(model.start(Transitions.from_obs(seen.rows.obs, 1), nothing()), seen.rows.action, ("prediction",))
    assert torch.equal(said.mean, step.next_obs.view(1, 5, 8, 4))
    assert said.reward_mean is not None and said.terminated_logit is not None
    assert torch.equal(said.reward_mean.flatten(), step.reward)
    assert torch.equal((said.terminated_logit > 0).flatten(), seen.rows.terminated)
    assert step.prediction is not None
    assert torch.equal(step.prediction.mean[0], step.next_obs)


def test_it_is_copied_and_made_again_with_equal_steps() -> None:
    task = make_task("Hopper-v5")
    seen, model = record(task, 6), built(task, threads=2)
    expected = model.step(model.start(seen.rows, nothing()), seen.rows.action)
    twin = from_spec(model.spec)
    assert twin.threads == 2
    twin.build(task)
    for other in (copy.deepcopy(model), twin):
        step = other.step(other.start(seen.rows, nothing()), seen.rows.action)
        assert torch.equal(step.next_obs, expected.next_obs)


def test_a_forked_process_has_threads_of_its_own() -> None:
    """A pool's threads don't survive a fork, and waiting for them would never end."""
    task = make_task("InvertedPendulum-v5")
    seen, model = record(task, 30), built(task, threads=2)
    expected = model.step(model.start(seen.rows, nothing()), seen.rows.action).next_obs
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)  # ends a hang
        try:
            again = model.step(model.start(seen.rows, nothing()), seen.rows.action).next_obs
            os._exit(0 if torch.equal(again, expected) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_replaced_rows_step_on_from_where_they_were_put() -> None:
    task = make_task("Walker2d-v5")
    seen, model = record(task, 12), built(task)
    begun = model.start(seen.rows.select(slice(0, 4)), nothing())
    after = model.step(begun, seen.rows.action[:4]).state  # its warm starts are gone
    fresh = model.start(seen.rows.select(slice(8, 10)), nothing())
    merged = after.replaced(torch.tensor([3, 0]), fresh)
    step = model.step(merged, seen.rows.action[[9, 2, 3, 8]])
    assert torch.equal(step.next_obs[[3, 0]], seen.rows.next_obs[[8, 9]])
    assert torch.allclose(step.next_obs[1:3], seen.rows.next_obs[[2, 3]], 0, 1e-9)
    with pytest.raises(UnsupportedError, match="a state of the same simulator"):
        after.replaced(torch.tensor([0]), super(SimulatorModel, model).start(seen.rows, nothing()))


def test_what_a_planner_keeps_for_it_starts_it_where_the_environment_stands() -> None:
    """A snapshot taken with the observation, kept by a buffer, starts the very step that the environment then made."""
    from mbrl.data import ReplayBuffer

    task = make_task("Walker2d-v5")
    model = built(task)
    extras = model.row_extras(task)
    assert extras == {"sim_state": simulator_state_size(task)}
    buffer = ReplayBuffer(30, task.obs_size, task.action_size, extras=extras, float64=("sim_state",))
    experience = VectorExperience(task, 2, seed=4)
    for action in torch.rand(20, 2, 6, generator=make_generator("cpu", "plan")) * 2 - 1:
        snapshot = experience.snapshot
        rows = experience.step(action)
        rows.extras = {"sim_state": snapshot}
        buffer.add(rows)
    experience.close()
    batch = buffer.sample(40, make_generator("cpu", "sample"))
    step = model.step(model.start(batch, nothing()), batch.action)
    assert torch.equal(step.next_obs, batch.next_obs)
    assert torch.equal(step.reward, batch.reward)
    assert torch.equal(step.terminated, batch.terminated)
