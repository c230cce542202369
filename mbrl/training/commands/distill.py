"""`mbrl distill`: the policy of a run as a sparse sum that can be read, saved as a run of its own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mbrl.arguments import check_whole
from mbrl.data import ReplayBuffer, Transitions, make_generator
from mbrl.envs.check import check_task
from mbrl.errors import ConfigError, RunFolderError, reading
from mbrl.networks import Library
from mbrl.planners import FixedPolicy, LearnsPolicy, Planner, dynamics_of
from mbrl.planners.distillation import distill
from mbrl.policies import SparsePolicy
from mbrl.spec import from_spec
from mbrl.training.checkpoint import read_checkpoint
from mbrl.training.load import module_of
from mbrl.training.output import plain_warnings, quiet, say
from mbrl.training.resume import checkpoint_at
from mbrl.training.run_folder import holds_run
from mbrl.training.trainer import Trainer

_STARTS = 64  # rows of the run at which rollouts begin


def run(given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Distils the run that the options name, evaluates the result in its environment, and says what came of it."""
    with plain_warnings():
        return _distilled(given, allow)


def _distilled(given: argparse.Namespace, allow: Sequence[str]) -> int:
    check_whole("--degree", given.degree)
    check_whole("--steps", given.steps)
    if holds_run(Path(given.folder)):
        raise RunFolderError(f"--folder: expected a new folder, but {given.folder} holds a run; give another.")
    path = checkpoint_at(given.run)
    checkpoint = read_checkpoint(path, buffers=True)
    planner = module_of({**checkpoint, "mbrl_buffers": {}}, path, allow)
    model = dynamics_of(planner)
    if not isinstance(planner, Planner) or not isinstance(planner, LearnsPolicy) or planner.learner is None or model is None:
        raise ConfigError(
            f"mbrl distill: expected the run of a planner with a learner and a dynamics model, got "
            f"{type(planner).__name__} without; give another, such as one of Dyna."
        )
    with reading("the data of a run in the checkpoint"):
        spec = checkpoint["mbrl_run"]["data"]
        settings = spec["init_args"]
    if "path" in settings:
        raise ConfigError("mbrl distill: expected a run in environments, got one on a dataset; use distill() from Python.")
    named = {name: value for name in ("reward", "terminated") if (value := getattr(given, name)) is not None}
    data = from_spec({**spec, "init_args": {**settings, **named, "steps": 1, "num_envs": 1}}, allow, recorded=True)
    data.allow = [*allow, *(value.rpartition(".")[0] for value in named.values() if "." in value)]  # which the user wrote
    starts = _starts(checkpoint, planner)
    if named:
        check_task(data.task)
        functions = {f"known_{name}": getattr(data.task, f"known_{name}") for name in named}
        model.task = replace(model.built_task, **functions, allow=data.task.allow)
    found = distill(
        planner.learner.policy, model, starts, SparsePolicy(Library(given.degree, bias=False)), steps=given.steps
    )
    say("\n".join(found.policy.equations()))
    earned = "; return in the model unknown"
    if found.model_return is not None:
        earned = f"; return in the model {found.model_return:.6g}, the network's {found.teacher_return:.6g}"
    say(
        f"{found.terms} coefficients at threshold {found.threshold:g}, alpha {found.alpha:g}; error {found.error:.3g} of "
        f"actions in [-1, 1]{earned}"
    )
    with quiet("pytorch_lightning"):
        Trainer(given.folder, progress=False, tensorboard=False).fit(FixedPolicy(found.policy), data)
    say(f"the policy is in {given.folder}: mbrl test --ckpt_path {given.folder}")
    return 0


def _starts(checkpoint: dict[str, Any], planner: Planner) -> Transitions:
    """Real rows of the run, drawn."""
    state = checkpoint["mbrl_buffers"].get("real")
    if state is None:
        raise ConfigError("mbrl distill: expected a run that keeps its real steps, got none of them; give one of Dyna.")
    task, model = planner.built_task, dynamics_of(planner)
    extras = {} if model is None else model.row_extras(task)
    learner = planner.learner.row_extras(task) if isinstance(planner, LearnsPolicy) and planner.learner else {}
    buffer = ReplayBuffer(
        int(state["capacity"]),
        task.obs_size,
        task.action_size,
        extras={**extras, **learner},
        float64=tuple(extras),
        store_episodes=True,
    )
    buffer.load_state_dict(state)
    rows = buffer.all()
    picked = torch.randint(len(rows), (min(_STARTS, len(rows)),), generator=make_generator("cpu", planner.seed, "distill"))
    return rows.select(picked)
