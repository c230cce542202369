"""Real steps to a return: the sparse Dyna preset beside learners without a model, on dm_control's cart-pole swing-up.

    python benchmarks/learning/model_free.py run --arms sac --seeds 0 1 2 --workers 1     # 10 core-minutes a seed
    python benchmarks/learning/model_free.py run --arms ppo --seeds 0 1 2                 # up to 18
    python benchmarks/learning/model_free.py run --arms ppo_surrogate --seeds 0 1 2       # 10
    python benchmarks/learning/model_free.py draw

All act at action repeat 1. `sac` is the sparse preset's soft actor-critic without its model, one update a step. `ppo` is
Stable-Baselines3's proximal policy optimisation (Schulman2017) at its own settings; eight environments fill its batches. It
stops at the first evaluation of 800 or more, or after a million steps. `ppo_surrogate` is the same in the sparse model, as
in SINDy-RL (Zolman2024): 51,200 steps of the model after each thousand of 10,000 real ones, refits between (seed 0 went on
to 20,000). The rows of the preset itself are in `results/dyna-sindy-cartpole-swingup.*.csv`. Every evaluation is two
episodes, 2,000 real steps more, which `draw` counts too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # the scripts beside this one
import arms
import numpy as np
import run as learning
import torch

from mbrl.figure_style import in_style

FILE, SPARSE = "swingup-model-free", "dyna-sindy-cartpole-swingup"
ENV_ID, ENOUGH = "dm_control/cartpole-swingup-v0", 800.0
EPISODES, EPISODE = 2, 1000  # of an evaluation
ENVS, BATCH, MOST, EVERY = 8, 2048, 1_000_000, 5 * 2048
REAL_STEPS, SURROGATE_STEPS, SURROGATE_ENVS, ROLLOUT = 10, 50_000, 16, 200  # thousands of real steps; the rest of the model
SAC = arms.Arm(
    [f"configs/{name}.yaml" for name in ("base/mbpo", "mbpo/cartpole_swingup", "sac")],
    [
        *("--data.init_args.action_repeat=1", "--data.init_args.steps=60000", "--model.init_args.warmup_steps=1000"),
        *("--model.init_args.learner.init_args.discount=0.99", "--trainer.eval_every=2500"),
    ],
)


def real_envs(number: int) -> Any:
    """`number` real environments, in the form that Stable-Baselines3 asks for."""
    from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

    from mbrl.envs import make_env, make_task

    task = make_task(ENV_ID)
    return VecMonitor(DummyVecEnv([lambda: make_env(task)] * number))


def ppo(envs: Any, seed: int) -> Any:
    """The agent, at the library's own settings."""
    from stable_baselines3 import PPO

    return PPO("MlpPolicy", envs, n_steps=BATCH // envs.num_envs, seed=seed, device="cpu")


def evaluate(agent: Any, seed: int, episodes: int = EPISODES) -> list[float]:
    """Returns of deterministic episodes in real environments of their own."""
    from stable_baselines3.common.evaluation import evaluate_policy

    envs = real_envs(1)
    envs.seed(seed)
    returns, _ = evaluate_policy(agent, envs, episodes, return_episode_rewards=True)
    envs.close()
    return [float(value) for value in returns]


def real_ppo(seed: int) -> Iterator[tuple[int, Any]]:
    """The agent after so many real steps."""
    agent = ppo(real_envs(ENVS), seed)
    while agent.num_timesteps < MOST:
        agent.learn(EVERY, reset_num_timesteps=False)
        yield agent.num_timesteps, agent


def surrogate_ppo(seed: int) -> Iterator[tuple[int, Any]]:
    """The agent after so many real steps, which learned in the model alone."""
    from stable_baselines3.common.vec_env import VecMonitor

    from mbrl.data import Transitions, make_generator
    from mbrl.envs import make_task
    from mbrl.models import Box, SINDy, UnitCircle
    from mbrl.models.stable_baselines import ModelVecEnv
    from mbrl.networks import Library

    walls = Box([-1.7, None, None, -10.0, -20.0], [1.7, None, None, 10.0, 20.0], ends="terminate")  # the preset's
    model = SINDy(members=20, library=Library(degree=2, bias=False), domain=[UnitCircle([[1, 2]]), walls])
    model.build(make_task(ENV_ID), seed=seed)
    real, random = real_envs(1), np.random.default_rng(seed)
    real.seed(seed)
    rows = episode(real, lambda obs: random.uniform(-1, 1, (1, 1)).astype(np.float32))
    agent: Any = None
    for thousands in range(1, REAL_STEPS + 1):
        model.refit(rows, make_generator("cpu", seed, "fit", thousands))
        envs = VecMonitor(ModelVecEnv(model, rows, SURROGATE_ENVS, time_limit=ROLLOUT, follow=True))
        if agent is None:
            agent = ppo(envs, seed)
        agent.set_env(envs)  # its next rollouts begin at the new rows
        agent.learn(SURROGATE_STEPS, reset_num_timesteps=False)
        yield thousands * EPISODE, agent
        rows = Transitions.cat([rows, episode(real, lambda obs, acts=agent: acts.predict(obs)[0])])


def episode(real: Any, act: Callable[[Any], Any]) -> Any:
    """The rows of one real episode."""
    from mbrl.data import Transitions

    steps, obs, over = [], real.reset(), np.zeros(1, dtype=bool)
    while not over[0]:
        action = act(obs)
        after, reward, over, infos = real.step(action)
        next_obs = infos[0]["terminal_observation"][None] if over[0] else after
        cut = np.array([infos[0].get("TimeLimit.truncated", False)])
        steps.append([torch.as_tensor(part) for part in (obs, action, reward, next_obs, over & ~cut, over & cut)])
        obs = after
    return Transitions(*(torch.cat(column) for column in zip(*steps, strict=True)))


def train(name: str, seed: int, learner: Callable[[int], Iterator[tuple[int, Any]]]) -> str:
    """Trains and records one of the arms of Stable-Baselines3, unless it is recorded."""
    if (name, seed) in arms.recorded(FILE):
        return "recorded already"
    torch.set_num_threads(1)
    began, used, curve = time.perf_counter(), time.process_time(), []
    for steps, agent in learner(seed):
        returns = evaluate(agent, 10_000 + seed)
        measured = sum(returns) / len(returns)
        spent = round(time.perf_counter() - began, 1)
        row = {"name": name, "seed": seed, "env_steps": steps, "return": measured, "return_low": min(returns)}
        curve.append({**row, "return_high": max(returns), "episodes": len(returns), "wall_s": spent})
        print(f"{name} seed {seed}: {measured:.0f} after {steps:,} real steps, {spent:.0f} s", flush=True)
        if name == "ppo" and measured >= ENOUGH:
            break
    tested = evaluate(agent, 20_000 + seed, 10)
    learning.append(learning.RESULTS / f"{FILE}.curve.csv", curve)
    row = {"name": name, "seed": seed, "env_steps": steps, "test_return": sum(tested) / 10, "test_return_low": min(tested)}
    row |= {"test_return_high": max(tested), "test_episodes": 10, "wall_s": spent}
    row |= {"cpu_s": round(time.process_time() - used, 1), "commit": learning.commit(), "configs": Path(__file__).name}
    row |= {"hardware": learning.hardware(), "versions": learning.versions()}
    learning.append(learning.RESULTS / f"{FILE}.test.csv", [row])
    return "recorded"


def first_enough(points: list[tuple[int, float]]) -> str:
    """Real steps to the first evaluation of `ENOUGH`, without and with those of the evaluations until then."""
    for place, (steps, measured) in enumerate(points, 1):
        if measured >= ENOUGH:
            return f"after {steps:,} real steps, {steps + place * EPISODES * EPISODE:,} with the evaluations'"
    return f"not in {points[-1][0]:,} real steps"


@in_style
def draw() -> None:
    """Writes `results/FILE.png` and prints when each seed was first good enough."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    axes = figure.subplots()
    rows = [*learning.read(learning.RESULTS / f"{SPARSE}.curve.csv"), *learning.read(learning.RESULTS / f"{FILE}.curve.csv")]
    labels = {SPARSE: "sparse Dyna", "ppo_surrogate": "PPO in the sparse model", "sac": "SAC alone", "ppo": "PPO alone"}
    for place, (name, label) in enumerate(labels.items()):
        seeds = sorted({row["seed"] for row in rows if row["name"] == name})
        for seed in seeds:
            found = [row for row in rows if (row["name"], row["seed"]) == (name, seed)]
            points = sorted((int(row["env_steps"]), float(row["return"])) for row in found)
            style = {"color": f"C{place}", "linestyle": ("-", ":", "--", "-.")[place], "linewidth": 1.2}
            axes.plot(*zip(*points, strict=True), **style, label=label if seed == seeds[0] else None)
            print(f"{label}, seed {seed}: {ENOUGH:.0f} {first_enough(points)}")
    axes.axhline(ENOUGH, color="0.6", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("real steps of training (logarithmic; evaluations not counted)")
    axes.set_ylabel("evaluation return (two episodes)")
    figure.legend(loc="outside lower center", ncols=4)
    figure.savefig(learning.RESULTS / f"{FILE}.png", dpi=150)
    arms.print_tests(FILE, [name for name in labels if name != SPARSE])


def main() -> None:
    """Reads the command line."""
    given = arms.parser(__doc__, ["sac", "ppo", "ppo_surrogate"]).parse_args()
    if given.what == "draw":
        draw()
        return
    if "sac" in given.arms:
        arms.run(FILE, {"sac": SAC}, given.seeds, given.runs, given.workers)
    for name, learner in {"ppo": real_ppo, "ppo_surrogate": surrogate_ppo}.items():
        for seed in given.seeds if name in given.arms else ():
            print(f"{FILE} {name} seed {seed}: {train(name, seed, learner)}", flush=True)


if __name__ == "__main__":
    main()
