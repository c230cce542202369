"""Timing in alternating rounds, so that what disturbs a shared machine disturbs all cases alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import torch


@dataclass
class Case:
    """One thing to time.

    Attributes:
        name: what the table calls it.
        unit: what is counted per second.
        run: function that does `units` of it.
        units: units in one call of `run`.
        flops: floating-point operations of the matrix products in one unit, 0 where there are none.
        limit: the case whose rate of products is this one's limit.
        calls: calls of `run` in a round; set by `calibrate`.
        seconds: seconds per unit, one number per round.
    """

    name: str
    unit: str
    run: Callable[[], object]
    units: int = 1
    flops: float = 0.0
    limit: str = "matmul fp32"
    calls: int = 1
    seconds: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Units per second, median over the rounds."""
        return 1.0 / statistics.median(self.seconds)


def measure(
    cases: Sequence[Case],
    rounds: int,
    round_seconds: float,
    device: torch.device,
    clock: Callable[[], float] = perf_counter,
) -> None:
    """Times every case once per round, `rounds` times over, each for about `round_seconds`.

    Two calls of each come first and are not counted (allocation, lazy set-up, caches). With one thread on a busy machine
    `time.process_time` is the clock to take: it stops while others have the core.
    """
    for case in cases:
        case.run()
        _wait(device)
        began = clock()
        case.run()
        _wait(device)
        case.calls = max(1, round(round_seconds / (clock() - began)))
    for _ in range(rounds):
        for case in cases:
            _wait(device)
            began = clock()
            for _ in range(case.calls):
                case.run()
            _wait(device)
            case.seconds.append((clock() - began) / (case.calls * case.units))


def share_of_limit(case: Case, limit: Case) -> float:
    """Share of the product rate in the same round that the case reached, median over the rounds."""
    return statistics.median(
        case.flops / seconds * best / limit.flops for seconds, best in zip(case.seconds, limit.seconds, strict=True)
    )


def ratio(case: Case, other: Case) -> float:
    """Speed of `case` in units of that of `other` in the same round, median over the rounds."""
    return statistics.median(b / a for a, b in zip(case.seconds, other.seconds, strict=True))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
