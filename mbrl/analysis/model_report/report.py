"""`report`: every analysis that applies to a trained planner or model, on one dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mbrl.analysis.episodes import split_episodes
from mbrl.analysis.forecasts.exact_model import AUTO, find_truth
from mbrl.analysis.forecasts.windows import Progress
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
from mbrl.analysis.model_report.recorded_run import RecordedRun, Sizes
from mbrl.analysis.model_report.report_files import PARTS, Report
from mbrl.analysis.result import Result, Skipped
from mbrl.arguments import check_whole
from mbrl.data import Transitions, make_generator
from mbrl.errors import ConfigError, DataError, MbrlError, UnsupportedError
from mbrl.models import DynamicsModel, Exact
from mbrl.planners import Planner, evaluating
from mbrl.policies import Learner
from mbrl.uncertainty import (
    DistanceToMean,
    LeaveOneOutKL,
    LikelihoodSpread,
    MaxAleatoric,
    MaxPairwiseDistance,
    MeanDisagreement,
    SampleSpread,
    TotalSpread,
    UncertaintyMeasure,
    ValueSpread,
)

_HORIZONS = (1, 5, 10, 25)  # at which forecasts are judged, and at the report's own
_DEPTH = 10  # steps of the model's rollouts, at most


_FULL = Sizes()
_QUICK = Sizes(
    windows=100, particles=4, one_step=500, forecasts=200, rows=2000, rollouts=100, value_rows=128, value_draws=8,
    decisions=3, environments=1,
)  # fmt: skip


def default_measures(*, critics: bool) -> list[UncertaintyMeasure]:
    """The measures of `mbrl.uncertainty`, as they were published; with `critics` also the one that asks them."""
    asking: list[UncertaintyMeasure] = [ValueSpread()] if critics else []
    return [
        MaxAleatoric(),
        MaxPairwiseDistance(),
        DistanceToMean(over="max"),
        DistanceToMean(over="mean"),
        MeanDisagreement(),
        TotalSpread(),
        SampleSpread(),
        LeaveOneOutKL(),
        LikelihoodSpread(),
        *asking,
    ]


def report(
    module: Planner | DynamicsModel,
    rows: Transitions,
    *,
    horizon: int = 25,
    training_rows: Transitions | None = None,
    measures: Sequence[UncertaintyMeasure] | None = None,
    truth: DynamicsModel | str = AUTO,
    names: Sequence[str] | None = None,
    decisions: int | None = None,
    quick: bool = False,
    seed: int = 0,
    allow: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Runs every analysis that applies; one that can't be made is left out with its reason, and the others go on.

    Args:
        module: built and trained, such as `mbrl.load` gives: a planner with a model, or a model alone, which has no policy,
            value or plans to look at.
        rows: real transitions in the order in which they happened; best some that the model wasn't fitted to.
        horizon: `H` steps of open-loop rollouts and returns; longer ones show how errors add up, and fit into fewer
            episodes.
        training_rows: what the model was fitted to: distances are then to these, large errors are larger than theirs, and
            the linear baseline is fitted to them.
        measures: of uncertainty; None takes those of `mbrl.uncertainty` as they were published.
        truth: an exact model of the environment, or `auto`, `none` or a class's name; see `find_truth`. It says
            what really follows states that the model's own rollouts reach, and the policy's own actions.
        names: of the observation's dims.
        decisions: of the planner to compare with what really follows, in each environment; None takes 10 (3 if `quick`).
            A planner that searches takes most of the time for them.
        quick: fewer rows, windows and draws: wider bands in a fraction of the time.
        seed: of everything that is drawn.
        allow: modules besides `mbrl` in which the truth's class and the environment may lie.
        about: plain data by name that the report tells first, such as where all this is from.
        progress: told a sentence now and then.

    Raises:
        DataError: if no episode is as long as the horizon.
        UnsupportedError: for a planner without a dynamics model.
        ConfigError: for a number out of range, or another module.
    """
    check_whole("report(horizon=…)", horizon, 1)
    episodes = split_episodes(rows)
    longest = max((len(episode) for episode in episodes), default=0)
    if longest < horizon:
        raise DataError(
            f"report: expected an episode of at least {horizon} steps, the horizon, got none longer than {longest}; lower "
            "the horizon, or give data with longer episodes."
        )
    model = _model_of(module)
    device = model.device
    truth_model, about_truth = _truth(truth, model, rows, seed, allow)
    looked_at = {
        **(about or {}),
        "model": type(model).__name__,
        "planner": type(module).__name__ if isinstance(module, Planner) else "none: a model alone",
        "environment": model.built_task.env_id or "not named",
        "rows": len(rows),
        "episodes": len(episodes),
        "longest_episode": longest,
        "rows_of_training_data": None if training_rows is None else len(training_rows),
        "horizon": horizon,
        "quick": quick,
        "seed": seed,
        "truth": about_truth,
    }
    sizes = _QUICK if quick else _FULL
    learner = getattr(module, "learner", None)
    learner = learner if isinstance(learner, Learner) else None
    found: dict[str, Result | Skipped] = {}

    def run(kind: type[Result], made: Callable[[torch.Generator], Result | Skipped]) -> None:
        try:
            found[kind.name] = made(make_generator("cpu", seed, "report", kind.name))
        except MbrlError as error:  # what a user can read; a bug goes on
            found[kind.name] = Skipped(kind.name, kind.title, str(error))

    with evaluating(module):
        own: Transitions | None = None
        if isinstance(module, Planner):
            watched = RecordedRun(module, model, seed, sizes, decisions, horizon, allow, progress)
            run(PlanOutcome, watched.outcome)
            own = watched.rows
        else:
            found[PlanOutcome.name] = Skipped(
                PlanOutcome.name, PlanOutcome.title, "the checkpoint holds a model alone, without a planner or a policy."
            )
        shared: dict[str, Any] = {"names": names, "progress": progress}
        run(
            OpenLoopError,
            lambda generator: open_loop_error(
                model, episodes, generator=generator, horizon=horizon, most=sizes.windows, particles=sizes.particles,
                baseline_rows=training_rows, **shared,
            ),
        )  # fmt: skip
        acts: dict[str, Any] = {}
        if learner is not None and truth_model is not None:
            policy = learner.policy

            def mode(obs: Tensor) -> Tensor:
                return policy.mode(obs.to(device))

            acts = {"policy": mode, "truth": truth_model}
        run(
            OneStepError,
            lambda generator: one_step_error(
                model, episodes, generator=generator, training_rows=training_rows, policy_rows=own, most=sizes.one_step,
                **acts, **shared,
            ),
        )  # fmt: skip
        run(
            Calibration,
            lambda generator: calibration(
                model, episodes, generator=generator, most=sizes.forecasts,
                horizons=sorted({horizon, *(step for step in _HORIZONS if step < horizon)}), **shared,
            ),
        )  # fmt: skip
        run(
            UncertaintyAgainstError,
            lambda generator: uncertainty_against_error(
                model, episodes, generator=generator, reference=training_rows, most=sizes.rows, truth=truth_model,
                measures=default_measures(critics=learner is not None) if measures is None else measures,
                rollouts=sizes.rollouts, value=learner,
                depth=min(_DEPTH, horizon), policy=None if learner is None else learner.policy, **shared,
            ),
        )  # fmt: skip
        run(
            RewardAndTermination,
            lambda generator: reward_and_termination(
                model, episodes, generator=generator, horizon=horizon, most=sizes.rows, windows=sizes.windows,
                particles=sizes.particles, progress=progress,
            ),
        )  # fmt: skip
        if learner is not None:
            value = learner
            run(
                ValueAwareError,
                lambda generator: value_error(
                    model, value, rows, generator=generator, discount=float(getattr(value, "discount", 0.99)),
                    samples=sizes.value_draws, most=sizes.value_rows, **shared,
                ),
            )  # fmt: skip
        else:
            who = "the checkpoint holds a model alone" if module is model else f"{type(module).__name__} has no learner"
            found[ValueAwareError.name] = Skipped(
                ValueAwareError.name, ValueAwareError.title, f"{who}, so that there is no value function."
            )
    return Report(looked_at, [found[kind.name] for kind in PARTS])


def _model_of(module: Any) -> DynamicsModel:
    if isinstance(module, DynamicsModel):
        module.built_task  # noqa: B018 - refuses before build
        return module
    if not isinstance(module, Planner):
        raise ConfigError(f"report: expected a planner or a dynamics model, got {type(module).__name__}; see mbrl.load.")
    model = getattr(module, "dynamics", None)
    if not isinstance(model, DynamicsModel):
        raise UnsupportedError(
            f"report: expected a planner with a dynamics model, got {type(module).__name__}, which has none; give another."
        )
    return model


def _truth(
    choice: DynamicsModel | str, model: DynamicsModel, rows: Transitions, seed: int, allow: Sequence[str]
) -> tuple[DynamicsModel | None, str]:
    if isinstance(model, Exact):
        return None, "The model itself is exact."
    if isinstance(choice, DynamicsModel):
        return choice, f"The truth is {type(choice).__name__}, as given."
    return find_truth(choice, model.built_task, rows, make_generator("cpu", seed, "report", "truth"), allow)
