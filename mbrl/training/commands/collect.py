"""`mbrl collect`: record a dataset with random actions, or with a trained planner."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from mbrl.arguments import Seed, check_argument, check_whole
from mbrl.data import Task, make_generator
from mbrl.envs import collect, make_task
from mbrl.errors import ConfigError
from mbrl.planners import Planner
from mbrl.planners.evaluation import snapshot_for
from mbrl.training.commands import collect_levels
from mbrl.training.commands.check import json_object
from mbrl.training.load import load_policy
from mbrl.training.output import say


def run(given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Records what the options name and says where it is."""
    if given.levels is not None:
        return collect_levels.run(given, allow)
    check_argument("--seed", given.seed, Seed)
    check_whole("--num_envs", given.num_envs)
    task: Task
    act = None
    if given.ckpt_path is None:
        if given.env_id is None:
            raise ConfigError("mbrl collect: expected --env_id or --ckpt_path, got neither; give one.")
        if given.explore:
            raise ConfigError("--explore: expected --ckpt_path beside it, got random actions, which explore; leave it out.")
        repeat = 1 if given.action_repeat is None else given.action_repeat
        kwargs = None if given.env_kwargs is None else json_object("--env_kwargs", given.env_kwargs)
        task = make_task(given.env_id, kwargs, action_repeat=repeat)
    else:
        if given.env_id is not None or given.env_kwargs is not None or given.action_repeat is not None:
            raise ConfigError("mbrl collect: expected --ckpt_path or an environment, got both; leave the environment out.")
        planner = load_policy(given.ckpt_path, allow)
        task = planner.built_task
        act = acting(planner, given.num_envs, given.seed, explore=given.explore)
    name = "random" if act is None else Path(given.ckpt_path).name
    try:
        where = collect(
            task,
            given.output,
            steps=given.steps,
            act=act,
            num_envs=given.num_envs,
            seed=given.seed,
            algorithm=name,
            sim_state=not given.no_sim_state,
            allow=None if act is None else allow,
        )
    except KeyboardInterrupt as ctrl_c:
        say(f"interrupted: {ctrl_c}" if ctrl_c.args else "interrupted before the first step; nothing was written")
        return 130
    say(f"{given.steps} steps in {where}")
    return 0


def acting(planner: Planner, num_envs: int, seed: int, *, explore: bool) -> Any:
    """The planner as `collect` wants it: actions for where the environments stand."""
    memory = planner.memory(num_envs, make_generator(planner.device, seed, "collect"))

    def act(experience: Any) -> Tensor:
        nonlocal memory
        if experience.ended is not None:
            memory.reset(experience.ended)
        action, memory = planner.act(experience.obs, memory, explore=explore, snapshot=snapshot_for(planner, experience))
        return action

    return act
