"""`REPORT_PARTS`: the parts of a model report, in the order of its page; one more is one more line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mbrl.analysis.model_error.calibration import calibration
from mbrl.analysis.model_error.calibration_result import Calibration
from mbrl.analysis.model_error.one_step import one_step_error
from mbrl.analysis.model_error.one_step_result import OneStepError
from mbrl.analysis.model_error.open_loop import open_loop_error
from mbrl.analysis.model_error.open_loop_result import OpenLoopError
from mbrl.analysis.model_error.plan_outcome_result import PlanOutcome
from mbrl.analysis.model_error.reward_and_termination import reward_and_termination
from mbrl.analysis.model_error.reward_and_termination_result import RewardAndTermination
from mbrl.analysis.model_error.uncertainty_against_error import uncertainty_against_error
from mbrl.analysis.model_error.uncertainty_against_error_result import UncertaintyAgainstError
from mbrl.analysis.model_error.value_error import value_error
from mbrl.analysis.model_error.value_error_result import ValueAwareError
from mbrl.analysis.model_report.default_measures import default_measures
from mbrl.analysis.model_report.model_equations import ModelEquations, model_equations
from mbrl.analysis.model_report.recorded_outcome import recorded_outcome
from mbrl.analysis.model_report.subject import Subject
from mbrl.analysis.result import Result, Skipped
from mbrl.errors import UnsupportedError
from mbrl.models import DynamicsModel, SINDy

_HORIZONS = (1, 5, 10, 25)  # at which forecasts are judged, and at the report's own
_DEPTH = 10  # steps of the model's rollouts, at most


@dataclass(frozen=True)
class ReportPart:
    """One part of a model report.

    Attributes:
        result: the class of its result, whose name and title are the part's.
        make: `make(subject, generator, **sizes)` gives the result, or raises an `MbrlError` that says why there is none.
        sizes: how many rows, windows and draws it takes, by the argument of `make`.
        quick: the same for a quick report.
        acts: whether it lets the planner act; it is then made before those that look at `Subject.policy_rows`.
        kind: of model that it looks at; reports of others have no such part.
    """

    result: type[Result]
    make: Callable[..., Result | Skipped]
    sizes: Mapping[str, int]
    quick: Mapping[str, int]
    acts: bool = False
    kind: type = DynamicsModel


def _open_loop(of: Subject, generator: torch.Generator, **sizes: Any) -> Result:
    return open_loop_error(
        of.model, of.episodes, generator=generator, horizon=of.horizon, baseline_rows=of.training_rows, names=of.names,
        progress=of.progress, **sizes,
    )  # fmt: skip


def _one_step(of: Subject, generator: torch.Generator, **sizes: Any) -> Result:
    acts: dict[str, Any] = {}
    if of.learner is not None and of.truth is not None:
        policy, device = of.learner.policy, of.model.device

        def mode(obs: Tensor) -> Tensor:
            return policy.mode(obs.to(device))

        acts = {"policy": mode, "truth": of.truth}
    return one_step_error(
        of.model, of.episodes, generator=generator, training_rows=of.training_rows, policy_rows=of.policy_rows,
        names=of.names, progress=of.progress, **acts, **sizes,
    )  # fmt: skip


def _calibration(of: Subject, generator: torch.Generator, **sizes: Any) -> Result:
    horizons = sorted({of.horizon, *(step for step in _HORIZONS if step < of.horizon)})
    return calibration(
        of.model, of.episodes, generator=generator, horizons=horizons, names=of.names, progress=of.progress, **sizes
    )


def _uncertainty(of: Subject, generator: torch.Generator, **sizes: Any) -> Result:
    learner = of.learner
    return uncertainty_against_error(
        of.model, of.episodes, generator=generator, reference=of.training_rows, truth=of.truth, value=learner,
        measures=default_measures(critics=learner is not None) if of.measures is None else of.measures,
        policy=None if learner is None else learner.policy, depth=min(_DEPTH, of.horizon), names=of.names,
        progress=of.progress, **sizes,
    )  # fmt: skip


def _reward(of: Subject, generator: torch.Generator, **sizes: Any) -> Result:
    return reward_and_termination(
        of.model, of.episodes, generator=generator, horizon=of.horizon, progress=of.progress, **sizes
    )


def _value(of: Subject, generator: torch.Generator, **sizes: Any) -> Result:
    learner = of.learner
    if learner is None:
        who = "the checkpoint holds a model alone" if of.planner is None else f"{type(of.planner).__name__} has no learner"
        raise UnsupportedError(f"{who}, so that there is no value function.")
    discount = float(getattr(learner, "discount", 0.99))
    return value_error(
        of.model, learner, of.rows, generator=generator, discount=discount, names=of.names, progress=of.progress, **sizes
    )


def _equations(of: Subject, generator: torch.Generator) -> Result:
    return model_equations(of.model, of.names, rows=of.rows)


REPORT_PARTS: tuple[ReportPart, ...] = (
    ReportPart(OpenLoopError, _open_loop, {"most": 500, "particles": 10}, {"most": 100, "particles": 4}),
    ReportPart(OneStepError, _one_step, {"most": 5000}, {"most": 500}),
    ReportPart(Calibration, _calibration, {"most": 1000}, {"most": 200}),
    ReportPart(UncertaintyAgainstError, _uncertainty, {"most": 20_000, "rollouts": 500}, {"most": 2000, "rollouts": 100}),
    ReportPart(
        RewardAndTermination, _reward, {"most": 20_000, "windows": 500, "particles": 10},
        {"most": 2000, "windows": 100, "particles": 4},
    ),
    ReportPart(ValueAwareError, _value, {"most": 2048, "samples": 32}, {"most": 128, "samples": 8}),
    ReportPart(
        PlanOutcome, recorded_outcome, {"decisions": 10, "environments": 4}, {"decisions": 3, "environments": 1}, acts=True
    ),
    ReportPart(ModelEquations, _equations, {}, {}, kind=SINDy),
)  # fmt: skip
