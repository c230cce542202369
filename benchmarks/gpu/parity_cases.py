"""What is run on the CPU and on the GPU: every model's fit, every learner's updates, every planner's ticks.

Models and planners are those of the table of pairs (`tests/test_pairs.py`), and learners and optimisers of plans what the
package exports: a guest that has its line there is here too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

import mbrl.planners
import mbrl.policies
import mbrl.testing  # registers what the table names
from mbrl.data import Task, Transitions, make_generator
from mbrl.envs import VectorExperience, make_task
from mbrl.models import DynamicsModel
from mbrl.names import import_name
from mbrl.planners import OfflinePlanner, Planner, PlanOptimizer
from mbrl.policies import SAC, Learner
from mbrl.spec import from_spec
from tests.test_pairs import MODELS, PLANNERS, SHORT, concrete, table

WEIGHTS = "weights"
Outcome = dict[str, Tensor]  # WEIGHTS: how far they moved; others: what came out
Case = Callable[[torch.device], Outcome]
ROWS, TICKS, UPDATES = 60, 23, 3
LEARNERS: dict[str, dict[str, Any]] = {"mbrl.policies.SequenceSAC": {"length": 1}}  # alone it has no model to ask for more


def cases() -> Iterator[tuple[str, Case]]:
    """All of them by name."""
    for name, (spec, data) in MODELS.items():
        yield f"fit and step: {_plain(name)}", _of_model(spec, data)
    for name in sorted(concrete(mbrl.policies, Learner)):
        yield f"updates: {name}", _of_learner(name)
    runs = table()
    for name, spec in PLANNERS.items():
        model = next(row for row in MODELS if runs[row, name] == "runs")
        yield f"ticks: {_plain(name)}", _of_planner(spec, *MODELS[model])
    (pets,) = (spec for name, spec in PLANNERS.items() if "iCEM" in name)
    tried = {spec["init_args"].get("optimizer", {}).get("class_path") for spec in PLANNERS.values()}
    for name in sorted(concrete(mbrl.planners, PlanOptimizer) - tried):
        planner = {**pets, "init_args": {**pets["init_args"], "optimizer": {"class_path": name, "init_args": {}}}}
        yield f"ticks: PETS, {name}", _of_planner(planner, *next(iter(MODELS.values())))


def _plain(name: str) -> str:
    return name.replace("`", "").replace("mbrl.models.", "").replace("mbrl.planners.", "")


def _task(data: dict[str, Any]) -> Task:
    given = {**SHORT, **data}
    known = ("env_id", "env_kwargs", "reward", "terminated", "action_repeat")
    return make_task(**{name: given[name] for name in known if name in given})


def _rows(task: Task, asked: dict[str, int], device: torch.device, rows: int = ROWS) -> Transitions:
    """Steps at random in the environment, the same for all devices, with the extras that are asked for."""
    experience, generator = VectorExperience(task, 1, seed=0), make_generator("cpu", "rows")
    experience.reset(0)
    parts = []
    for _ in range(rows):
        snapshot = experience.snapshot if "sim_state" in asked else None
        part = experience.step(torch.rand(1, task.action_size, generator=generator) * 2 - 1)
        if snapshot is not None and len(part):
            part.extras["sim_state"] = snapshot
        parts.append(part)
    experience.close()
    found = Transitions.cat(parts)
    for name, width in asked.items():
        if name not in found.extras:
            found.extras[name] = torch.rand(len(found), width, generator=generator) * 2 - 1
    return found.to(device)


def _weights(module: nn.Module) -> Tensor:
    parameters = [parameter.detach().double().flatten().cpu() for parameter in module.parameters()]
    return torch.cat([*parameters, torch.zeros(0, dtype=torch.float64)])


def _numbers(report: dict[str, Any]) -> Tensor:
    return torch.tensor([float(value) for name, value in sorted(report.items()) if not name.startswith("time/")])


def _of_model(spec: dict[str, Any], data: dict[str, Any]) -> Case:
    def run(device: torch.device) -> Outcome:
        task = _task(data)
        model: DynamicsModel = from_spec(spec)
        model.build(task, 0)
        model.to(device)
        model.make_optimizers()
        value = _learner(SAC(hidden=[8, 8]), task, device) if model.wants_value else None
        rows, before = _rows(task, model.row_extras(task), device), _weights(model)
        report = model.refit(rows, make_generator(device, "fit"), value)
        first = rows.select(slice(16))
        with torch.no_grad():
            step = model.step(model.start(first, make_generator(device, "step")), first.action)
        found = {"metrics of the fit": _numbers(report), "next_obs": step.next_obs, "reward": step.reward}
        return {WEIGHTS: _weights(model) - before, **found}

    return run


def _learner(learner: Learner, task: Task, device: torch.device) -> Learner:
    learner.build(task, 0)
    learner.to(device)
    learner.make_optimizers()
    return learner


def _of_learner(name: str) -> Case:
    def run(device: torch.device) -> Outcome:
        task, kind = _task({}), import_name(name)
        arguments = inspect.signature(kind).parameters.values()
        small = any(one.name == "hidden" or one.kind is one.VAR_KEYWORD for one in arguments)
        learner = _learner(kind(**LEARNERS.get(name, {}), **({"hidden": [16, 16]} if small else {})), task, device)
        rows = _rows(task, learner.row_extras(task), device)
        learner.fit_inputs(rows)
        before, noise = _weights(learner), make_generator(device, "updates")
        reports = [_numbers(learner.update(rows, noise)) for _ in range(UPDATES)]
        with torch.no_grad():
            found = {"metrics": torch.cat(reports), "mode": learner.policy.mode(rows.obs, rows.extras.get("prev_action"))}
            if learner.has_critics:
                found["values"] = learner.value(rows.obs)
        return {WEIGHTS: _weights(learner) - before, **found}

    return run


def _of_planner(spec: dict[str, Any], model: dict[str, Any], data: dict[str, Any]) -> Case:
    def run(device: torch.device) -> Outcome:
        task = _task(data)
        planner: Planner = from_spec({**spec, "init_args": {**spec["init_args"], "dynamics": model}})
        planner.build(task, 0)
        planner.to(device)
        planner.make_optimizers()
        before = _weights(planner)
        experience = None
        if isinstance(planner, OfflinePlanner):
            planner.take(_rows(task, {}, device))
        else:
            experience = VectorExperience(task, 1, seed=0, device=device)
            experience.reset(0)
        for _ in range(UPDATES if experience is None else TICKS):
            planner.tick(experience)
        if experience is not None:
            experience.close()
        found = {}
        for name in ("real_buffer", "model_buffer"):
            buffer = getattr(planner, name, None)
            if buffer is not None and len(buffer):
                kept = buffer.all()
                found |= {f"{name}: {column}": getattr(kept, column) for column in ("obs", "action", "reward")}
        obs = _rows(task, {}, device, 4).obs
        with torch.no_grad():
            found["act"] = planner.act(obs, planner.memory(4, make_generator(device, "acting")), explore=False)[0]
        return {WEIGHTS: _weights(planner) - before, **found}

    return run
