"""`mbrl export`: a sparse model or a sparse policy as a few lines of Python or C that need nothing else."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from mbrl.data import Task
from mbrl.errors import ConfigError
from mbrl.models import SINDy
from mbrl.networks.sparse.code import Language, file, function, sums
from mbrl.planners import FixedPolicy, Planner, dynamics_of
from mbrl.policies import SparsePolicy
from mbrl.replacing import replacing
from mbrl.training.load import load
from mbrl.training.output import say


def run(given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Writes the source file that the options ask for."""
    module = load(given.run, allow)
    policy = module.policy if isinstance(module, FixedPolicy) else None
    model = dynamics_of(module) if isinstance(module, Planner) else module
    if isinstance(policy, SparsePolicy):
        text = policy_code(policy, given.to)
    elif isinstance(model, SINDy):
        text = model_code(model, given.to)
    else:
        raise ConfigError(
            f"mbrl export: expected a run with a SINDy model or a SparsePolicy, got {type(module).__name__} with neither; "
            "distil its policy first (mbrl distill)."
        )
    with replacing(given.output) as source:
        source.write(text.encode())
    say(f"the code is in {given.output}")
    return 0


def policy_code(policy: SparsePolicy, language: Language) -> str:
    """The function `policy(x)` of a sparse policy: observations to actions, environment units."""
    task = policy.built_task
    inputs = [f"x[{place}]" for place in range(task.obs_size)]
    raw = sums(policy.map.terms, policy.map.in_units()[0], language, inputs)
    tanh = "math.tanh" if language == "python" else "tanh"
    lines = [
        f"{(low + high) / 2!r} + {(high - low) / 2!r}*{tanh}({one})"
        for one, low, high in zip(raw, task.action_low, task.action_high, strict=True)
    ]
    about = f"The action of {_of(task)} in its units, at an observation x of {task.obs_size} numbers."
    return file([function("policy", ["x"], lines, about, language, "u")], language)


def model_code(model: SINDy, language: Language) -> str:
    """The functions `step(x, u)` and, if it is learned, `reward(x, u)` of a sparse model, the mean of its members' sums."""
    task = model.built_task
    drawn = model.drawn_members.cpu()
    inputs = [*(f"x[{place}]" for place in range(task.obs_size)), *(f"u[{place}]" for place in range(task.action_size))]
    lines = sums(model.map.terms, model.map.in_units().cpu()[drawn].mean(0), language, inputs)
    if model.target == "change":
        lines = [f"x[{place}] + {line}" for place, line in enumerate(lines)]
    about = f"The next observation of {_of(task)}, after x and the action u in their units, before any projection."
    functions = [function("step", ["x", "u"], lines, about, language, "next")]
    if model.reward_map is not None:
        lines = sums(model.reward_map.terms, model.reward_map.in_units().cpu()[drawn].mean(0), language, inputs)
        about = "The reward of a step by the action u that led to the observation x."
        functions.append(function("reward", ["x", "u"], lines, about, language, "r"))
    return file(functions, language)


def _of(task: Task) -> str:
    """Name of the environment in a comment, without what could end it: a checkpoint may come from anywhere."""
    return re.sub(r"[^\w/.:-]", "_", task.env_id) or "the task"
