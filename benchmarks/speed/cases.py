"""Cases to time: the work of MBPO on Hopper-v5 (Janner2019's sizes), each piece alone and a step as a whole."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import Literal

import gymnasium
import numpy as np
import torch

from benchmarks.speed import products
from benchmarks.speed.rounds import Case
from mbrl.data import ReplayBuffer, Task, Transitions, make_generator, mixed_batch
from mbrl.envs import VectorExperience, make_task
from mbrl.models import GaussianEnsemble
from mbrl.planners import CEM, PETS, UPMPC, Dyna, PolicySample
from mbrl.planners.rollouts.imagination import Imagination
from mbrl.policies import SAC

ENV_ID = "Hopper-v5"
STATES = 100_000  # MBPO's rollouts per fit
PLANNED_STATES = 4000  # each costs as much as 123 of them
CANDIDATES, LOOKAHEAD = 5, 5  # UP-MPC's K and H
REAL_ROWS, MODEL_ROWS = 12, 244  # a batch of 256 with 5 % real rows
MEMBERS, HIDDEN, BATCH = 7, [200] * 4, 256
PLAIN, PLANNED = "rollout step", "rollout step, UP-MPC 5 x 5"
Precision = Literal["fp32", "bf16"]


def task() -> Task:
    """Hopper-v5: S = 11, A = 3; the reward is learned, the termination known."""
    return make_task(ENV_ID)


def model_sizes(known: Task) -> list[int]:
    """Widths of the ensemble's layers: mean and log-variance of S changes and the reward."""
    return [known.obs_size + known.action_size, *HIDDEN, 2 * (known.obs_size + 1)]


def policy_sizes(known: Task) -> list[int]:
    """Widths of the actor's layers."""
    return [known.obs_size, 256, 256, 2 * known.action_size]


def random_rows(known: Task, n: int, device: torch.device) -> Transitions:
    """`n` made-up transitions of a standing hopper, so that rollouts don't end at once."""
    generator = make_generator(device, "rows")
    obs = torch.randn(n, known.obs_size, generator=generator, device=device) * 0.05  # n x S
    obs[:, 0] += 1.25
    action = torch.rand(n, known.action_size, generator=generator, device=device) * 2 - 1  # n x A
    rows = Transitions.from_obs(obs, known.action_size, episode=torch.arange(n, device=device) // 100)
    rows.action, rows.reward = action, 1 - action.square().sum(-1)
    rows.next_obs = obs + 0.01 * torch.randn(obs.shape, generator=generator, device=device)
    return rows


def matmul(precision: Precision, device: torch.device) -> Case:
    """The rate of one large product: the limit of all that multiplies."""
    size = 1024 if device.type == "cpu" else 8192
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    a, b = torch.randn(2, size, size, generator=make_generator(device, 0), device=device).to(dtype)
    out = torch.empty(size, size, device=device, dtype=dtype)
    return Case(f"matmul {precision}", "products", lambda: torch.mm(a, b, out=out), flops=2.0 * size**3)


def ensemble(known: Task, device: torch.device, precision: Precision = "fp32", members: int = MEMBERS) -> GaussianEnsemble:
    """MBPO's ensemble, with statistics of made-up rows."""
    model = GaussianEnsemble(members=members, hidden=HIDDEN, precision=precision, max_updates=1)
    model.build(known, 0)
    model.to(device)
    model.make_optimizers()
    model.refit(random_rows(known, 2000, device), make_generator(device, "fit"))
    return model


def sac(known: Task, device: torch.device, precision: Precision = "fp32") -> SAC:
    """MBPO's learner."""
    learner = SAC(hidden=[256, 256], precision=precision)
    learner.build(known, 0)
    learner.to(device)
    learner.make_optimizers()
    return learner


def ensemble_update(known: Task, device: torch.device, precision: Precision = "fp32", members: int = MEMBERS) -> Case:
    """One update of all members, batches gathered from the rows as a fit does."""
    model = ensemble(known, device, precision, members)
    rows = random_rows(known, 20_000, device)
    run = model.begin_fit(rows, make_generator(device, "split"))
    batches = (batch for _ in itertools.count() for batch in run.epoch() if batch.obs.shape[-2] == BATCH)  # no short ones

    def update() -> None:
        model.update(next(batches))

    flops = products.ensemble_update(members, BATCH, model_sizes(known))
    return Case(f"ensemble update {precision}", "updates", update, 1, flops)


def rollout_step(known: Task, device: torch.device) -> Case:
    """One model step of 100,000 states with sampled actions, stored in the model buffer."""
    model, learner = ensemble(known, device), sac(known, device)
    starts = random_rows(known, STATES, device)
    buffer = ReplayBuffer(4 * STATES, known.obs_size, known.action_size, device=device)
    for _ in range(4):
        buffer.add(starts)
    chunk = inspect.signature(Dyna).parameters["rollout_chunk"].default
    imagination = Imagination(model, learner.policy, PolicySample(), [], 0, chunk, device.type == "cpu")
    flops = products.rollout_step(model_sizes(known), policy_sizes(known))
    return Case(PLAIN, "states", lambda: imagination.run(starts, 1, 0, buffer.add), STATES, flops)


def planned_rollout_step(known: Task, device: torch.device) -> Case:
    """The same with actions chosen by UP-MPC, all members' disagreement counted at every step of every candidate."""
    model, learner = ensemble(known, device), sac(known, device)
    starts = random_rows(known, PLANNED_STATES, device)
    buffer = ReplayBuffer(STATES, known.obs_size, known.action_size, device=device)
    chunk = inspect.signature(Dyna).parameters["rollout_chunk"].default
    selector = UPMPC(-2.0, candidates=CANDIDATES, horizon=LOOKAHEAD)
    imagination = Imagination(model, learner.policy, selector, [], 0, chunk, device.type == "cpu")
    sizes = (CANDIDATES, LOOKAHEAD, MEMBERS, model_sizes(known), policy_sizes(known))
    flops = products.planned_rollout_step(*sizes)
    return Case(PLANNED, "states", lambda: imagination.run(starts, 1, 0, buffer.add), PLANNED_STATES, flops)


def sac_update(known: Task, device: torch.device, precision: Precision = "fp32") -> Case:
    """One update of batch 256, sampling from a real and a model buffer included."""
    learner = sac(known, device, precision)
    real = ReplayBuffer(100_000, known.obs_size, known.action_size, device=device)
    model = ReplayBuffer(400_000, known.obs_size, known.action_size, device=device)
    real.add(random_rows(known, 100_000, device))
    model.add(random_rows(known, 400_000, device))
    replay, noise = make_generator(device, "replay"), make_generator(device, "noise")

    def update() -> None:
        learner.update(mixed_batch([(real, REAL_ROWS), (model, MODEL_ROWS)], replay), noise)

    flops = products.sac_update(BATCH, policy_sizes(known), [known.obs_size + known.action_size, 256, 256, 1], 2)
    return Case(f"SAC update {precision}", "updates", update, 1, flops)


def sb3_update(known: Task, device: torch.device) -> Case:
    """The same update by Stable-Baselines3, sampling included; ten in a call, as its own loop would batch them."""
    from stable_baselines3 import SAC as Peer
    from stable_baselines3.common.logger import configure

    env = gymnasium.make(ENV_ID)
    peer = Peer(
        "MlpPolicy", env, batch_size=BATCH, buffer_size=100_000, device=device, policy_kwargs={"net_arch": [256, 256]}
    )
    peer.set_logger(configure(None, []))
    rows = random_rows(known, 1000, torch.device("cpu"))
    obs, action, reward, next_obs = (item.numpy() for item in (rows.obs, rows.action, rows.reward, rows.next_obs))
    for i in range(100_000):
        j = i % 1000
        peer.replay_buffer.add(obs[j : j + 1], next_obs[j : j + 1], action[j : j + 1], reward[j : j + 1], np.zeros(1), [{}])
    flops = products.sac_update(BATCH, policy_sizes(known), [known.obs_size + known.action_size, 256, 256, 1], 2)
    name = "Stable-Baselines3's SAC update"
    return Case(name, "updates", lambda: peer.train(gradient_steps=10, batch_size=BATCH), 10, flops)


def plan(known: Task, device: torch.device) -> Case:
    """One decision of PETS: CEM with 500 candidates, 20 particles, 5 iterations and 15 steps, none of them left out."""
    sizes = {"candidates": 500, "iterations": 5}
    planner = PETS(ensemble(known, device), CEM(elites=50, epsilon=0.0, **sizes), horizon=15, particles=20)
    fitted = planner.dynamics.state_dict()
    planner.build(known, 0)
    planner.to(device)
    planner.dynamics.load_state_dict(fitted)
    obs = random_rows(known, 1, device).obs
    memory = planner.memory(1, make_generator(device, "acting"))
    flops = products.plan(sizes["candidates"], 20, sizes["iterations"], 15, model_sizes(known))
    return Case("plan, CEM 500 x 20 x 5 x 15", "plans", lambda: planner.plan(obs, memory, explore=True), 1, flops)


def env_step(known: Task, n: int) -> Case:
    """One step of `n` environments, conversion to tensors and resets included; counted in single steps."""
    experience = VectorExperience(known, n, seed=0)
    experience.reset(0)
    action = torch.rand(n, known.action_size, generator=make_generator("cpu", "actions")) * 2 - 1
    return Case(f"environment step, N = {n}", "steps", lambda: experience.step(action), n)


def bare_env_step() -> Case:
    """The environment alone, as Gymnasium makes it."""
    env = gymnasium.make(ENV_ID, disable_env_checker=True)
    env.reset(seed=0)
    env.action_space.seed(0)
    action = env.action_space.sample()

    def step() -> None:
        *_, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()

    return Case("environment step, Gymnasium alone", "steps", step)


def dyna_tick(known: Task, device: torch.device, updates: int = 20) -> Case:
    """A whole step of MBPO between two fits: act, step, store, update `updates` times."""
    planner = Dyna(GaussianEnsemble(), SAC(), warmup_steps=1, refit_every=10**6, updates_per_step=updates)
    planner.build(known, 0)
    planner.to(device)
    planner.make_optimizers()
    planner.real_buffer.add(random_rows(known, 10_000, device))
    planner.model_buffer.resize(400_000)
    imagined = random_rows(known, 400_000, device)
    for name, width in planner.model_buffer.layout.extras.items():  # which step of which rollout a row is
        imagined.extras[name] = torch.zeros(len(imagined), width, device=device)
    planner.model_buffer.add(imagined)
    planner.env_steps = 10_000
    experience = VectorExperience(known, 1, seed=0, device=device)
    experience.reset(0)
    flops = updates * products.sac_update(BATCH, policy_sizes(known), [known.obs_size + known.action_size, 256, 256, 1], 2)
    return Case(f"Dyna tick, {updates} updates", "steps", lambda: planner.tick(experience), 1, flops)


def all_cases(device: torch.device, bf16: bool, report: Callable[[str], None], only: str = "") -> list[Case]:
    """Every case that this machine can run.

    Args:
        device: where to run.
        bf16: whether bfloat16 products are worth timing.
        report: told the name of each case once it is made.
        only: leaves out cases without this in their names; the limits stay.
    """
    known = task()
    makers: dict[str, Callable[[], Case]] = {
        "matmul fp32": lambda: matmul("fp32", device),
        "ensemble update fp32": lambda: ensemble_update(known, device),
        PLAIN: lambda: rollout_step(known, device),
        PLANNED: lambda: planned_rollout_step(known, device),
        "SAC update fp32": lambda: sac_update(known, device),
        "Stable-Baselines3's SAC update": lambda: sb3_update(known, device),
        "Dyna tick": lambda: dyna_tick(known, device),
        "plan": lambda: plan(known, device),
        "environment step, N = 1": lambda: env_step(known, 1),
        "environment step, N = 16": lambda: env_step(known, 16),
        "environment step, Gymnasium alone": bare_env_step,
    }
    if bf16:
        makers["matmul bf16"] = lambda: matmul("bf16", device)
        makers["ensemble update bf16"] = lambda: ensemble_update(known, device, "bf16")
        makers["SAC update bf16"] = lambda: sac_update(known, device, "bf16")
    cases = []
    for name, make in makers.items():
        if only in name or name == "matmul fp32":
            cases.append(make())
            report(cases[-1].name)
    return cases
