"""bf16 by our recipe: matrix products in bf16, weights, heads, losses and optimisers in float32; and what that does here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mbrl.errors import UnsupportedError
from mbrl.networks import Precision
from mbrl.networks.relu_stack import ReluStack
from mbrl.networks.stacked_mlp import StackedMLP
from mbrl.spec import Configurable

LEAST = 1.1  # times as fast, below which bf16 isn't worth its rounding
WORST = 0.1  # of a gradient's size: rounding to 8 bits moves those of sound networks by less than a hundredth
_ROUNDS = 7

Network = ReluStack | StackedMLP


def use_bf16(module: nn.Module) -> None:
    """Selects bf16 products in every part of `module` that offers them, and in their specs.

    Raises:
        UnsupportedError: if no part has a `precision` setting.
    """
    parts = list(_parts(module))
    if not parts:
        raise UnsupportedError(
            f"trainer.precision: expected a part with a precision setting, got {type(module).__name__}; leave it out."
        )
    for part, settings in parts:
        setattr(part, "precision", "bf16")  # noqa: B010 - the parts have it, their common base has not
        settings["precision"] = "bf16"


@dataclass(frozen=True)
class Bf16Check:
    """Speed and rounding of bf16 in a part's networks, on the device that they are on.

    Attributes:
        part: the part's class.
        faster: float32's time for their gradients over bf16's; below 1 bf16 is slower.
        error: how far their gradients are from float32's, as a share of these.
    """

    part: str
    faster: float
    error: float


def bf16_checks(module: nn.Module, rows: int = 256) -> list[Bf16Check]:
    """Computes gradients of a batch of standard normal rows in both precisions, for each part that is set to bf16.

    It changes no parameter and draws from no stream of a run. The least time of seven alternating rounds counts.

    Args:
        module: the planner, model or learner, built.
        rows: of the batch; that of the updates, for a figure that holds for them.
    """
    checks = []
    for part, _ in _parts(module):
        networks = [each for each in part.modules() if isinstance(each, Network) and each.precision == "bf16"]
        networks = [each for each in networks if next(each.parameters()).requires_grad]  # targets have no gradients
        if networks:
            pairs = [_compare(network, rows) for network in networks]
            exact, rounded = (sum(pair[kind][0] for pair in pairs) for kind in (0, 1))
            checks.append(Bf16Check(type(part).__name__, exact / rounded, max(_distance(*pair) for pair in pairs)))
    return checks


def bf16_in_short(checks: list[Bf16Check]) -> list[str]:
    """The checks in a line, and in another what to do where bf16 doesn't serve."""
    if not checks:
        return []
    found = ", ".join(f"{check.part} {check.faster:.1f}" for check in checks)
    worst = max(check.error for check in checks)
    lines = [f"bf16: times as fast as float32, by its products: {found}; gradients differ by up to {worst:.1%}"]
    useless = [check.part for check in checks if check.faster < LEAST or check.error > WORST]
    if len(useless) == len(checks):
        lines.append("bf16 doesn't serve such networks on this machine; leave precision out")
    elif useless:
        lines.append(f"bf16 doesn't serve {' and '.join(useless)} here; set precision: bf16 on the other parts alone")
    return lines


def _parts(module: nn.Module) -> Iterator[tuple[nn.Module, dict[str, Any]]]:
    """The parts that have a `precision` setting, `module` included, each with its spec's `init_args`."""
    for part in module.modules():
        if isinstance(part, Configurable) and "precision" in part.spec["init_args"]:
            yield part, part.spec["init_args"]


Timed = tuple[float, Tensor]  # seconds, and all gradients in one


def _compare(network: Network, rows: int) -> tuple[Timed, Timed]:
    """The gradients in float32 and in bf16."""
    weight = network.weights[0]  # E x in x out
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(weight.shape[0], rows, weight.shape[1], generator=noise, dtype=torch.float32).to(weight.device)
    exact, rounded = _timed(network, x, "fp32"), _timed(network, x, "bf16")
    for _ in range(_ROUNDS - 1):  # gradients are those of the first round
        exact = min(exact[0], _timed(network, x, "fp32")[0]), exact[1]
        rounded = min(rounded[0], _timed(network, x, "bf16")[0]), rounded[1]
    return exact, rounded


def _timed(network: Network, x: Tensor, precision: Precision) -> Timed:
    before = network.precision
    network.precision = precision
    try:
        with torch.enable_grad():
            start = _clock(x)
            grads = torch.autograd.grad(network(x).square().mean(), list(network.parameters()))
            return _clock(x) - start, torch.cat([grad.flatten() for grad in grads])
    finally:
        network.precision = before


def _clock(x: Tensor) -> float:
    """Seconds; on the CPU the processor's, since other work on the machine says nothing about it."""
    if not x.is_cuda:
        return time.process_time()
    torch.cuda.synchronize(x.device)
    return time.perf_counter()


def _distance(exact: Timed, rounded: Timed) -> float:
    return float((rounded[1] - exact[1]).norm() / exact[1].norm().clamp_min(1e-30))
