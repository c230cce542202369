"""Results of a report made by hand, with errors in standard deviations, and what is advised of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mbrl.analysis import OneStepError, OpenLoopError
from mbrl.analysis.model_error.one_step_result import DATASET, POLICY_ACTIONS, POLICY_ROWS, Region
from mbrl.analysis.model_error.open_loop_result import LINEAR, MEAN, NO_CHANGE, SINGLE, ErrorCurve
from mbrl.analysis.model_error.plan_outcome_result import PlanOutcome
from mbrl.analysis.model_error.reward_and_termination_result import (
    RewardAndTermination,
    RewardError,
    TerminationError,
)
from mbrl.analysis.model_report.model_equations import ModelEquations
from mbrl.analysis.model_report.verdict import Verdict, verdict
from mbrl.models.sindy.equations import Equations

NAMES = ["x", "theta_dot"]
SCALE = torch.tensor([10.0, 0.001], dtype=torch.float64)  # odd units, which mustn't matter


def curve(errors: Tensor, windows: Sequence[int] | None = None) -> ErrorCurve:
    """Errors `H x S` in standard deviations, the same in each window, of which so many count at each step, or all 20."""
    total = errors.square().mean(-1, keepdim=True).sqrt()
    both = torch.cat((errors * SCALE.repeat(3)[: errors.shape[-1]], total), -1)
    known = total[total.isfinite()]
    count = 20 * both.isfinite() if windows is None else torch.tensor(windows).unsqueeze(-1).expand(both.shape)
    return ErrorCurve(both, both.expand(3, *both.shape), count, float(known.max()) if len(known) else 0.0)


def steady(value: float | Sequence[float], horizon: int = 25) -> Tensor:
    """The same errors of both dims at every step, or one each."""
    return torch.tensor([value, value] if isinstance(value, float) else value, dtype=torch.float64).expand(horizon, 2)


def growing(first: float, last: float, horizon: int = 25) -> Tensor:
    return (
        torch.logspace(*torch.tensor([first, last]).log10().tolist(), horizon, dtype=torch.float64)
        .unsqueeze(-1)
        .expand(-1, 2)
    )


def open_loop(
    model: Tensor,
    still: Tensor | None = None,
    linear: Tensor | None = None,
    means: Sequence[int] | None = None,
    singles: Sequence[int] | None = None,
    **changes: Any,
) -> OpenLoopError:
    still = growing(0.1, 1.2, len(model)) if still is None else still
    linear = still if linear is None else linear
    size = model.shape[-1]
    names, scale = [*NAMES, "x1", "x2", "x3"][:size], changes.pop("scale", SCALE.repeat(3)[:size])
    curves = {MEAN: curve(model, means), SINGLE: curve(model, singles), NO_CHANGE: curve(still), LINEAR: curve(linear)}
    settings: dict[str, Any] = {"windows": 20, "terminated_early": 0.0, "not_finite": 0, "exact": False}
    return OpenLoopError(curves, names, scale, particles=5, **{**settings, **changes})


def of(found: OpenLoopError, *others: Any, **about: Any) -> Verdict:
    made = verdict(about, [found, *others])
    assert len(made.sentences) == 3 and all(sentence.endswith(".") for sentence in made.sentences)
    assert all(re.search(r"\d|nowhere|never fitted", sentence) for sentence in made.sentences[:2]), "rests on a number"
    assert made.sentences[1].startswith("Where not: ") and made.sentences[2].startswith("What to do: ")
    return made


def one_step(**errors: float) -> OneStepError:
    """Median errors of the nearest rows, the farthest, and those of the policy, beside the dataset's of 0.1."""

    def region(label: str, error: float) -> Region:
        both = torch.full((3,), error, dtype=torch.float64)
        return Region(label, 10, torch.ones(3), both, both.expand(3, 3))

    policy = [region(label, errors[key]) for label, key in ((POLICY_ROWS, "rows"), (POLICY_ACTIONS, "actions"))]
    bins = [region("near", 0.1), region("far", errors["far"])]
    return OneStepError([region(DATASET, 0.1), *policy], bins, NAMES, SCALE, "training data", 0.5, 0, 0, False)


def reward_of(rmse: float = 0.0, found: int = 100, source: Any = "learned") -> RewardAndTermination:
    """A reward off by so much of its standard deviation, and so many of 100 ends found."""
    ends = TerminationError(source, found, 0, 100 - found, 300)
    return RewardAndTermination(RewardError(source, 400, 0.0, 1e-4 * rmse, 1e-4, 0.5, 3.0), ends, None, False)


def constant_reward_of(rmse: float, real: float, source: Any = "learned") -> RewardAndTermination:
    """A reward off by so much, where the real one never varies."""
    return RewardAndTermination(RewardError(source, 400, 0.0, rmse, 0.0, None, real), None, None, False)


def plans_of(promised: float, differ: float = 100.0, plans: bool = True, brought: float = 0.0) -> PlanOutcome:
    """Four decisions that promise so much more, beside what they bring: returns that differ by so much around `brought`.

    What isn't to be looked at, closed loops of plans and open loops of a policy, brings nothing of the kind.
    """
    number = torch.arange(4)
    real = brought + differ * torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64)
    other = real + 1e9 if plans else real * torch.nan
    loops = (real, other) if plans else (other, real)
    return PlanOutcome(plans, 12, 0.99, number, number, real, real + promised, *loops, False)


def equations_of(explained: float = 0.9, outside: float = 0.0) -> ModelEquations:
    return ModelEquations(Equations((), 3), (), {"x": 0.95, "theta_dot": explained, "still": None}, outside)


GOOD, STILL = steady([0.05, 0.05]), steady([1.0, 1.0])
