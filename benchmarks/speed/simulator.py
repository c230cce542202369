"""Times the simulator as a model beside the bare physics: `python -m benchmarks.speed.simulator --out results/mine.json`.

Open loop: `SimulatorModel.rollout` of 512 plans of 20 steps beside `mujoco.rollout` of as many physics steps in one call.
Closed loop: `SimulatorModel.step` of 512 rows beside `mujoco.rollout` of one step of the environment per call. The bare
calls are given their states, controls and threads, and no more is done with what they return; ours convert actions, compute
observations, rewards and terminations, and return tensors. Beside them, Gymnasium's `SyncVectorEnv`, and the environments
that are stepped one after the other. Ratios are of the same round, medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import torch
from mujoco.rollout import Rollout

from benchmarks.speed.rounds import Case, measure, ratio
from mbrl.data import Transitions, make_generator
from mbrl.envs import VectorExperience, make_task
from mbrl.models import SimState, SimulatorModel
from mbrl.models.simulator.physics import BatchedPhysics

ROWS, HORIZON = 512, 20
BATCHED = [
    "Hopper-v5",
    "HalfCheetah-v5",
    "Walker2d-v5",
    "InvertedPendulum-v5",
    "Swimmer-v5",
    "dm_control/cartpole-swingup-v0",
]
STEPWISE = ["Ant-v5", "Humanoid-v5", "Reacher-v5"]


def starts(env_id: str, rows: int) -> Transitions:
    """`rows` states of an environment under random actions, with their simulator states."""
    task = make_task(env_id)
    experience = VectorExperience(task, 16, seed=0)
    draws = make_generator("cpu", "actions")
    obs, states = [], []
    while len(obs) * 16 < rows:
        snapshot = experience.snapshot
        assert snapshot is not None
        obs.append(experience.obs)
        states.append(snapshot)
        experience.step(torch.rand(16, task.action_size, generator=draws) * 2 - 1)
    experience.close()
    return Transitions.from_obs(torch.cat(obs)[:rows], task.action_size, sim_state=torch.cat(states)[:rows])


def bare(model: SimulatorModel, state: SimState, horizon: int, threads: int) -> Callable[[], object]:
    """`mujoco.rollout` of as many physics steps as `horizon` of the model's."""
    physics = model.physics
    assert isinstance(physics, BatchedPhysics)
    pool = Rollout(nthread=0 if threads == 1 else threads)
    data = [mujoco.MjData(physics.model) for _ in range(threads)]
    initial = np.ascontiguousarray(state.physics.numpy())
    steps = horizon * physics.inner * physics.repeat
    draws = np.random.default_rng(0)
    control = draws.uniform(-1, 1, (len(initial), horizon, physics.model.nu)).repeat(steps // horizon, 1)
    return lambda: pool.rollout(physics.model, data, initial, control)


def batched_cases(env_id: str, threads: int) -> tuple[list[Case], list[tuple[str, Case, Case]]]:
    """Open and closed loop, ours and bare, and the ratios to report."""
    task = make_task(env_id)
    model = SimulatorModel(threads=threads)
    model.build(task)
    state = model.start(starts(env_id, ROWS), make_generator("cpu", 0))
    plans = torch.rand(ROWS, HORIZON, task.action_size, generator=make_generator("cpu", "plans")) * 2 - 1
    cases = [
        Case(f"{env_id}: rollout", "steps", lambda: model.rollout(state, plans), ROWS * HORIZON),
        Case(f"{env_id}: bare rollout", "steps", bare(model, state, HORIZON, threads), ROWS * HORIZON),
        Case(f"{env_id}: step", "steps", lambda: model.step(state, plans[:, 0]), ROWS),
        Case(f"{env_id}: bare step", "steps", bare(model, state, 1, threads), ROWS),
    ]
    if not env_id.startswith("dm_control"):
        cases.append(sync_case(env_id))
    pairs = [("open loop", cases[0], cases[1]), ("closed loop", cases[2], cases[3])]
    pairs += [("open loop over SyncVectorEnv", cases[0], case) for case in cases[4:]]
    return cases, pairs


def sync_case(env_id: str, num_envs: int = 16) -> Case:
    """Gymnasium's vector environment under the same kind of actions."""
    envs = gymnasium.make_vec(env_id, num_envs, vectorization_mode="sync")
    envs.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, envs.action_space.shape).astype(np.float32)
    return Case(f"{env_id}: SyncVectorEnv", "steps", lambda: envs.step(actions), num_envs)


def stepwise_cases(env_id: str) -> tuple[list[Case], list[tuple[str, Case, Case]]]:
    """An environment that is stepped one row after the other: no limit to hold, only figures."""
    task = make_task(env_id)
    model = SimulatorModel()
    model.build(task)
    state = model.start(starts(env_id, 32), make_generator("cpu", 0))
    plans = torch.rand(32, HORIZON, task.action_size, generator=make_generator("cpu", "plans")) * 2 - 1
    cases = [
        Case(f"{env_id}: rollout", "steps", lambda: model.rollout(state, plans), 32 * HORIZON),
        Case(f"{env_id}: step", "steps", lambda: model.step(state, plans[:, 0]), 32),
        sync_case(env_id),
    ]
    return cases, [("rollout over SyncVectorEnv", cases[0], cases[2]), ("step over SyncVectorEnv", cases[1], cases[2])]


def main() -> None:
    """Prints the table, and writes it if asked to."""
    parser = argparse.ArgumentParser(description="Speed of the simulator as a model, beside the bare physics.")
    parser.add_argument("--out", type=Path, help="write the figures there as JSON")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--round-seconds", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--envs", nargs="+", default=BATCHED + STEPWISE)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"threads": given.threads, "mujoco": mujoco.__version__, "environments": {}}
    for env_id in given.envs:
        cases, pairs = stepwise_cases(env_id) if env_id in STEPWISE else batched_cases(env_id, given.threads)
        measure(cases, given.rounds, given.round_seconds, torch.device("cpu"))
        rates = {case.name.partition(": ")[2]: case.rate for case in cases}
        ratios = {name: ratio(case, other) for name, case, other in pairs}
        found["environments"][env_id] = {"steps_per_second": rates, "ratios": ratios}
        print(env_id)
        for name, rate in rates.items():
            print(f"  {name:<16} {rate:12,.0f} steps a second")
        for name, value in ratios.items():
            print(f"  {name:<32} {value:.2f}")
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
