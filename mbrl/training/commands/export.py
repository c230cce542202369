"""`mbrl export`: a run's policy as a file that needs nothing of this library, or a sparse sum as a few lines of code."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from mbrl.data import Task
from mbrl.errors import ConfigError
from mbrl.models import DynamicsModel, SINDy
from mbrl.networks.sparse.code import Language, file, function, sums
from mbrl.planners import FixedPolicy, Planner, PolicyPlanner, dynamics_of
from mbrl.policies import SparsePolicy
from mbrl.training.files import write_whole
from mbrl.training.load import load
from mbrl.training.output import plain_warnings, say
from mbrl.training.parts import tell_if_never_fitted
from mbrl.training.products.exported_policy import RUNNER, onnx_file, torch_file
from mbrl.training.resume import checkpoint_at
from mbrl.training.run_folder import inside

_ENDINGS = {"torch": ".pt2", "onnx": ".onnx", "python": ".py", "c": ".c"}
_NETWORKS: dict[str, Callable[[PolicyPlanner], bytes]] = {"torch": torch_file, "onnx": onnx_file}


def run(given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Writes the file that the options ask for."""
    module = load(given.run, allow)
    sparse = _sparse(module)
    to = _format(given.to, given.output) or ("torch" if sparse is None else "python")
    name = "model" if isinstance(sparse, SINDy) and to not in _NETWORKS else "policy"
    output = given.output or inside(checkpoint_at(given.run)) / (name + _ENDINGS[to])
    runner = output.with_name(RUNNER.name)
    _check_new(output)
    if to == "torch" and (output == runner or not _same(runner, RUNNER)):
        _check_new(runner)
    with plain_warnings():
        written = _written(module, sparse, to)
        tell_if_never_fitted(module)
    if to == "torch":
        write_whole(runner, RUNNER.read_bytes())
    write_whole(output, written)
    what = name if to in _NETWORKS else f"{name}'s code"
    say(f"the {what} is in {output}{f', to act by with {runner}' * (to == 'torch')}")
    return 0


def _format(to: str | None, output: Path | None) -> str | None:
    """The format that is asked for, or that the file's name says; None if neither does."""
    said = next((name for name, ending in _ENDINGS.items() if output is not None and output.suffix == ending), None)
    if output is not None and said is None:
        *others, last = _ENDINGS.values()
        raise ConfigError(
            f"mbrl export: expected a name that ends in {', '.join(others)} or {last}, got --output {output}; name another."
        )
    if to is not None and said not in (None, to):
        raise ConfigError(
            f"mbrl export --to {to}: expected a file named *{_ENDINGS[to]}, got --output {output}, as of --to {said}; "
            "change one of the two."
        )
    return to or said


def _written(module: Planner | DynamicsModel, sparse: SparsePolicy | SINDy | None, to: str) -> bytes:
    kind = type(module).__name__
    if to in _NETWORKS:
        if not isinstance(module, PolicyPlanner):
            raise ConfigError(
                f"mbrl export --to {to}: expected a run that acts by a policy, got {kind}, which has none to act by; give "
                "one of Dyna, SRL, OfflineDyna or FixedPolicy, say."
            )
        return _NETWORKS[to](module)
    language: Language = "c" if to == "c" else "python"
    if sparse is None:
        raise ConfigError(
            f"mbrl export --to {to}: expected a run with a SINDy model or a SparsePolicy, got {kind} with neither; distil "
            "its policy first (mbrl distill), or export a network --to torch."
        )
    code = policy_code(sparse, language) if isinstance(sparse, SparsePolicy) else model_code(sparse, language)
    return code.encode()


def _sparse(module: Planner | DynamicsModel) -> SparsePolicy | SINDy | None:
    """The sparse policy that acts, else the sparse model, else None."""
    if isinstance(module, FixedPolicy) and isinstance(module.policy, SparsePolicy):
        return module.policy
    model = dynamics_of(module) if isinstance(module, Planner) else module
    return model if isinstance(model, SINDy) else None


def _check_new(path: Path) -> None:
    if os.path.lexists(path):
        raise ConfigError(f"mbrl export: expected a new file, but {path} exists; remove it, or name another with --output.")
    if not path.parent.is_dir():
        raise ConfigError(f"mbrl export: expected a folder {path.parent} to write {path.name} into, got none; make it.")


def _same(path: Path, other: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.read_bytes() == other.read_bytes()


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
