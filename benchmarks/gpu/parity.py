"""The same numbers on the GPU as on the CPU, to rounding, with the same draws."""

from __future__ import annotations

import math
from collections.abc import Iterator
from time import perf_counter

import torch
from torch import Tensor

from benchmarks.gpu.host_draws import host_draws
from benchmarks.gpu.parity_cases import WEIGHTS, Case, Outcome, cases
from benchmarks.gpu.section import LATE, NOT_RUN, Row, Setting, one_line

# Length of the difference over that of the CPU's numbers. Adam makes full steps along gradients that are all rounding, so
# that a few weights go elsewhere: these are judged by how far all of them went.
TOLERANCE, TOLERANCE_OF_WEIGHTS = 1e-3, 0.01


def parity(setting: Setting) -> Iterator[Row]:
    """The largest difference of each case; on the CPU each is run with the GPU's way to draw, and must change nothing."""
    for name, case in cases():
        yield Row(name, LATE) if perf_counter() > setting.ends else compared(name, case, setting)


def compared(name: str, case: Case, setting: Setting) -> Row:
    """The row of one case."""
    try:
        expected = case(torch.device("cpu"))
        with host_draws():
            found = case(setting.device)
    except Exception as error:  # one that can't run there must not hide the others
        return Row(name, one_line(error), failed=True)
    differences = apart(found, expected)
    worst = max(differences, key=lambda what: differences[what] / tolerance(what))
    failed = differences[worst] > (tolerance(worst) if setting.measures else 0.0)
    if math.isinf(differences[worst]):  # which JSON has no number for
        return Row(name, "no numbers to compare", worst, failed)
    if failed or setting.measures:
        return Row(name, differences[worst], f"{worst}, of {tolerance(worst):g} allowed", failed)
    return Row(name, NOT_RUN)


def tolerance(what: str) -> float:
    """The largest difference that rounding explains."""
    return TOLERANCE_OF_WEIGHTS if what == WEIGHTS else TOLERANCE


def apart(found: Outcome, expected: Outcome) -> dict[str, float]:
    """Length of the difference over that of what was expected, by name; infinite where shapes differ, or one is missing."""
    return {
        name: _apart(found[name], expected[name]) if name in found and name in expected else math.inf
        for name in sorted({*found, *expected})
    }


def _apart(found: Tensor, expected: Tensor) -> float:
    one, other = (each.detach().double().cpu() for each in (found, expected))
    if one.shape != other.shape:
        return math.inf
    same = (one == other) | (one.isnan() & other.isnan())
    distance = torch.where(same, 0.0, one - other).norm()
    if distance == 0:
        return 0.0
    share = float(distance / torch.where(same, one.nan_to_num(), other).norm().clamp_min(1e-12))
    return math.inf if math.isnan(share) else share
