"""A policy network as a file that needs no part of this library: `torch.export`'s, or ONNX."""

from __future__ import annotations

import copy
import io
import json
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mbrl.data import Task, make_generator
from mbrl.errors import UnsupportedError
from mbrl.planners import PolicyPlanner, evaluating
from mbrl.policies import Policy
from mbrl.training.output import quiet

RUNNER = Path(__file__).with_name("policy_runner.py")
_ONNX = ("onnx", "onnxscript")


def torch_file(planner: PolicyPlanner) -> bytes:
    """The planner's policy as a `.pt2` file of `torch.export`, which `policy_runner.py` acts by.

    Raises:
        UnsupportedError: for a policy that torch can't trace.
    """
    program, about = _traced(planner)
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={"policy.json": json.dumps(about)})
    return file.getvalue()


def onnx_file(planner: PolicyPlanner) -> bytes:
    """The planner's policy as an `.onnx` file, its facts in the metadata under `policy`.

    Raises:
        UnsupportedError: without the packages that write one, or for a policy that torch can't trace.
    """
    missing = [name for name in _ONNX if find_spec(name) is None]
    if missing:
        raise UnsupportedError(
            f"mbrl export --to onnx: expected the packages {' and '.join(_ONNX)}, but {' and '.join(missing)} can't be "
            "imported; pip install 'mbrl-toolkit[export]', or export --to torch."
        )
    program, about = _traced(planner)
    with warnings.catch_warnings(), quiet("torch.onnx", logging.ERROR):
        for noise in (DeprecationWarning, FutureWarning):  # what torch 2.13 and its packages say of their own calls
            warnings.simplefilter("ignore", noise)
        try:
            made: Any = torch.onnx.export(program, dynamo=True, verbose=False, external_data=False, output_names=["action"])
        except torch.onnx.OnnxExporterError as error:
            kind, why = type(planner.acting_policy).__name__, " ".join(str(error.__cause__ or error).split())
            raise UnsupportedError(
                f"mbrl export --to onnx: expected a policy of operations that ONNX has, got {kind} ({why[:200]}); try torch."
            ) from error
    proto = made.model_proto
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    entry = proto.metadata_props.add()
    entry.key, entry.value = "policy", json.dumps(about)
    written: bytes = proto.SerializeToString()
    return written


class _InUnits(nn.Module):
    """Observations `B x S` and actions before `B x A` to actions `B x length x A`, or `B x A` of a policy of single ones.

    All are float32 in environment units.
    """

    low: Tensor
    high: Tensor
    middle: Tensor
    half_width: Tensor

    def __init__(self, policy: Policy, task: Task, length: int) -> None:
        super().__init__()
        self.policy, self.length = copy.deepcopy(policy).cpu().requires_grad_(False), length
        low, high = (torch.tensor(bounds, dtype=torch.float64) for bounds in (task.action_low, task.action_high))
        self.register_buffer("low", low)  # A
        self.register_buffer("high", high)
        self.register_buffer("middle", (high + low) / 2)
        self.register_buffer("half_width", (high - low) / 2)

    def forward(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        before = None if prev_action is None else ((prev_action.double() - self.middle) / self.half_width).to(obs.dtype)
        actions = self.policy.mode_sequence(obs, before, self.length)  # B x length x A, in [−1, 1]
        return self.in_units(actions) if self.length > 1 else self.in_units(actions).squeeze(1)

    def in_units(self, actions: Tensor) -> Tensor:
        return torch.clamp(actions.double() * self.half_width + self.middle, self.low, self.high).float()


def _traced(planner: PolicyPlanner) -> tuple[torch.export.ExportedProgram, dict[str, Any]]:
    """The exported program, without the action before among its inputs if nothing depends on it, and its facts."""
    task, length = planner.built_task, planner.decision_length
    module = _InUnits(planner.acting_policy, task, length).eval()
    obs = torch.zeros(2, task.obs_size, dtype=torch.float32)
    program = _export(planner, module, (obs, torch.zeros(2, task.action_size, dtype=torch.float32)))
    asks = _reaches_output(program, "prev_action")
    if not asks:
        program = _export(planner, module, (obs,))
    _check_same(planner, module, program, asks)
    about = {
        "obs_size": task.obs_size,
        "action_size": task.action_size,
        "low": list(task.action_low),
        "high": list(task.action_high),
        "length": length,
        "asks_prev_action": asks,
        "env_id": task.env_id,
        "action_repeat": task.action_repeat,
    }
    return program, about


def _export(planner: PolicyPlanner, module: _InUnits, example: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} for _ in example)
    try:
        with torch.enable_grad():  # so that nobody takes rows in chunks, whose number depends on the batch
            module(*example)  # makes what is made when first asked for
            program = torch.export.export(module, example, dynamic_shapes=shapes)
    except Exception as error:  # torch raises of many kinds, its own and the policy's
        raise UnsupportedError(
            f"mbrl export: expected a policy that torch.export can trace, got {type(planner.acting_policy).__name__} "
            f"({' '.join(str(error).split())[:200]}); write its mode_sequence without branches on tensors."
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names folders of this machine
    return program


@torch.no_grad()
def _check_same(planner: PolicyPlanner, module: _InUnits, program: torch.export.ExportedProgram, asks: bool) -> None:
    """Refuses a planner that decides otherwise than its policy, such as one that asks a model too."""
    task, device = planner.built_task, planner.device
    obs = torch.randn(8, task.obs_size, generator=make_generator("cpu", 0, "export"), dtype=torch.float32)
    with evaluating(planner):
        actions = planner.decide(obs.to(device), planner.memory(8, make_generator(device, 0, "export")), module.length)
    expected = module.in_units(actions.cpu())  # B x length x A
    inputs = (obs, module.middle.float().expand(8, -1)) if asks else (obs,)
    found = program.module()(*inputs).view_as(expected)
    rounding = torch.maximum(module.low.abs(), module.high.abs()) * torch.finfo(torch.float32).eps
    if not ((found.double() - expected.double()).abs() <= 1e-4 * module.half_width + rounding).all():
        raise UnsupportedError(
            f"mbrl export: expected a planner that decides as its policy does, got a {type(planner).__name__}, which "
            "decides otherwise; export the run that the policy comes from."
        )


def _reaches_output(program: torch.export.ExportedProgram, name: str) -> bool:
    """Tells whether an input has a part in what comes out."""
    waiting = [node for node in program.graph.nodes if node.op == "placeholder" and node.name == name]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if node.op == "output":
            return True
        users = [user for user in node.users if not isinstance(user.meta.get("val"), torch.SymInt)]  # but of sizes
        waiting += [user for user in users if user not in seen]
        seen.update(users)
    return False
