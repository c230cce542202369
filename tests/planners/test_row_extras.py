"""Real rows keep what planner and learner ask of the memory, and batches carry it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from mbrl.data import Generator, Task, Transitions
from mbrl.envs import OnlineData, make_task
from mbrl.envs.simulator_state import SimulatorState
from mbrl.envs.task import make_env
from mbrl.errors import UnsupportedError
from mbrl.planners import PETS, Dyna, Memory, RandomShooting
from mbrl.policies import SAC
from tests.planners.exact_models import WALK, WalkModel
from tests.planners.test_dyna import Counted, Recorder, dyna, run
from tests.training.toy import lines, trainer


class Remembers(Recorder):
    """Wants the action before with each row."""

    def row_extras(self, task: Task) -> dict[str, int]:
        return {"prev_action": task.action_size}


def test_without_being_asked_rows_keep_nothing_more() -> None:
    planner = dyna()
    run(planner, 25)
    assert planner.real_buffer.layout.extras == {}
    assert set(planner.learner.batches[-1].extras) == {"rollout", "depth", "cut"}


@pytest.mark.parametrize("num_envs", [1, 3])
def test_the_action_before_is_kept_and_reaches_batches_of_both_kinds(num_envs: int) -> None:
    planner = dyna(learner=Remembers(), batch_size=64, real_ratio=0.5, rollout_length=(0, 1, 3, 3), retain_epochs=20)
    run(planner, 120, num_envs)
    rows = planner.real_buffer.all()
    kept, ended = rows.extras["prev_action"], torch.zeros(num_envs, dtype=torch.bool)
    assert kept.dtype is torch.float32 and kept.shape == (120 * num_envs, 1)
    before = torch.zeros(num_envs, 1)
    for tick in range(120):  # as the environments were stepped, warm-up included
        part = rows.select(slice(tick * num_envs, (tick + 1) * num_envs))
        before[ended] = 0.0
        assert torch.equal(part.extras["prev_action"], before)
        before, ended = part.action.clone(), part.terminated | part.truncated
    assert int((rows.terminated | rows.truncated).sum()) > num_envs
    model = planner.model_buffer.all()
    first = model.extras["depth"][:, 0] == 0
    pairs = {tuple(pair) for pair in torch.cat((rows.obs, kept), 1).tolist()}
    assert {tuple(pair) for pair in torch.cat((model.obs, model.extras["prev_action"]), 1)[first].tolist()} <= pairs
    assert torch.isin(model.extras["prev_action"][~first], model.action).all()
    batch = planner.learner.batches[-1]
    for i in range(32):
        assert (batch.obs[i].item(), batch.extras["prev_action"][i].item()) in pairs
    assert torch.isin(batch.extras["prev_action"][32:], model.extras["prev_action"]).all()


class Stamped(Dyna):
    """Keeps the number of the decision with each row, exactly, and draws it in place."""

    float64_extras = ("decision",)

    def row_extras(self, task: Task) -> dict[str, int]:
        return {"decision": 1, "last_two": 2}

    def memory(self, n: int, generator: torch.Generator) -> Memory:
        memory = super().memory(n, generator)
        decision, last = torch.zeros(n, dtype=torch.float64), torch.zeros(n, 2)
        return Memory(n, generator, **memory.tensors, decision=decision, last_two=last)

    def warmup_action(self, obs: Tensor, memory: Memory) -> Tensor:
        memory.tensors["decision"] += 1 + 2.0**-40  # in place
        return super().warmup_action(obs, memory)


def test_a_planners_own_extras_are_kept_as_they_were_before_the_action() -> None:
    planner = Stamped(Counted(), Recorder(), warmup_steps=30)
    planner.build(WALK, seed=1)
    run(planner, 10)
    rows = planner.real_buffer.all()
    assert rows.extras["decision"].dtype is torch.float64 and rows.extras["last_two"].shape == (10, 2)
    assert rows.extras["decision"][:, 0].tolist() == [i * (1 + 2.0**-40) for i in range(10)]


def test_the_columns_are_in_the_checkpoint() -> None:
    planner, other = dyna(learner=Remembers()), dyna(learner=Remembers())
    run(planner, 25)
    other.load_buffers_state(planner.buffers_state())
    for name in ("real_buffer", "model_buffer"):
        one, two = getattr(planner, name).all(), getattr(other, name).all()
        assert torch.equal(one.extras["prev_action"], two.extras["prev_action"]) and len(one) == len(two) > 0


class Asks(SAC):
    def __init__(self, name: str, width: int = 1) -> None:
        super().__init__(hidden=[4])
        self.name, self.width = name, width

    def row_extras(self, task: Task) -> dict[str, int]:
        return {self.name: self.width}


@pytest.mark.parametrize(
    ("learner", "said"),
    [
        (Asks("goal"), r"can't keep 'goal' of width 1 with its rows: its memory holds only \['prev_action'\]; remember it"),
        (Asks("prev_action", 2), r"can't keep 'prev_action' of width 2 with its rows: its memory holds width 1; remember"),
        (
            Asks("depth"),
            r"expected other names of rows' extras than \[.*'depth'.*\], which are taken, got 'depth'; rename",
        ),
    ],
)
def test_a_name_that_nobody_can_fill_is_refused_when_built(learner: Any, said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        Dyna(WalkModel(), learner, real_ratio=1.0).build(WALK)


def test_rollouts_know_the_action_before_alone() -> None:
    class Two(Asks):
        def row_extras(self, task: Task) -> dict[str, int]:
            return {"prev_action": 1, "goal": 1}

    with pytest.raises(UnsupportedError, match=r"Two can't learn from rollouts: it asks for \['goal'\] of each row"):
        Dyna(WalkModel(), Two("goal")).build(WALK)


def test_planner_and_learner_agree_on_a_width() -> None:
    class Wide(Stamped):
        def row_extras(self, task: Task) -> dict[str, int]:
            return {"prev_action": 2}

    with pytest.raises(UnsupportedError, match=r"expected one width of the rows' 'prev_action', got 2 and 1; have planner"):
        Wide(WalkModel(), Asks("prev_action")).build(WALK)


def test_a_planner_without_that_memory_refuses() -> None:
    planner = PETS(WalkModel(), RandomShooting(), learner=Asks("prev_action"), terminal_value="mean", warmup_steps=0)
    with pytest.raises(UnsupportedError, match=r"PETS can't keep 'prev_action' .* its memory holds only \["):
        planner.build(WALK)


class Echo(Recorder):
    def update(self, batch: Transitions, generator: Generator, critic_terms: Any = ()) -> dict[str, Tensor]:
        return {**super().update(batch, generator, critic_terms), "before": batch.extras["prev_action"].mean()}


def test_a_learner_that_asks_for_nothing_gets_nothing() -> None:
    with pytest.raises(KeyError, match="prev_action"):
        run(dyna(learner=Echo()), 25)


REACHER = {"env_id": "Reacher-v5", "env_kwargs": {"max_episode_steps": 10}}


def test_simulator_states_are_kept_on_request_and_change_no_number(tmp_path: Path) -> None:
    kept = {}
    for asked in (False, True):
        planner = Dyna(None, SAC(hidden=[4]), warmup_steps=5, refit_every=10, batch_size=4, keep_sim_state=asked)
        trainer(tmp_path / str(asked)).fit(planner, OnlineData(**REACHER, steps=20, num_envs=2, eval_episodes=1))
        kept[asked] = planner.real_buffer.all()
    assert lines(tmp_path / "True") == lines(tmp_path / "False")
    assert "sim_state" not in kept[False].extras and torch.equal(kept[True].obs, kept[False].obs)
    state = kept[True].extras["sim_state"]  # 20 x W
    assert state.dtype is torch.float64
    env = make_env(make_task(**REACHER))
    simulator = SimulatorState(env)
    env.reset(seed=0)
    simulator.write(state[7].numpy())
    mujoco.mj_forward(simulator.model, simulator.data)
    assert np.allclose(env.unwrapped._get_obs()[:6], kept[True].obs[7, :6], atol=1e-5)  # joints and target
    env.close()
    planner = Dyna(None, SAC(hidden=[4]), warmup_steps=5, refit_every=10, batch_size=4, keep_sim_state=True)
    trainer(tmp_path / "True").fit(planner, OnlineData(**REACHER, steps=24, num_envs=2, eval_episodes=1), ckpt_path="last")
    assert torch.equal(planner.real_buffer.all().extras["sim_state"][:20], state), "over a resume too"


def test_an_environment_without_simulator_states_is_refused(tmp_path: Path) -> None:
    planner = Dyna(None, SAC(hidden=[4]), warmup_steps=5, keep_sim_state=True)
    told = r"Dyna\(keep_sim_state=True\): expected a MuJoCo environment .*, got PendulumEnv; leave it out"
    with pytest.raises(UnsupportedError, match=told):
        trainer(tmp_path).fit(planner, OnlineData("Pendulum-v1", steps=20))
    assert not (tmp_path / "config.yaml").exists(), "it is told before anything is written"
