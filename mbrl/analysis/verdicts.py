"""What each part of a model report says, in one or two sentences."""

from __future__ import annotations

import math
from functools import singledispatch

from mbrl.analysis.model_error.calibration_result import Calibration
from mbrl.analysis.model_error.one_step_result import POLICY_ACTIONS, POLICY_ROWS, OneStepError
from mbrl.analysis.model_error.open_loop_result import MEAN, OpenLoopError
from mbrl.analysis.model_error.plan_outcome_result import PlanOutcome
from mbrl.analysis.model_error.reward_and_termination_result import RewardAndTermination
from mbrl.analysis.model_error.uncertainty_against_error_result import UncertaintyAgainstError
from mbrl.analysis.model_error.uncertainty_scores import DATASET, ROLLOUTS
from mbrl.analysis.model_error.value_error_result import ValueAwareError
from mbrl.analysis.result import Result, Skipped

_EXACT = "Zero to rounding."


@singledispatch
def in_short(part: Result | Skipped) -> list[str]:
    """The few sentences that a reader in a hurry takes away; numbers are those of the summary."""
    return []


@in_short.register
def _(part: Skipped) -> list[str]:
    return [f"Left out: {part.reason}"]


@in_short.register
def _(part: OpenLoopError) -> list[str]:
    said = part.summary()
    bad = said["rollouts_not_finite"]
    sentences = [f"{bad} rollouts are not finite."] if bad else []
    if said["exact_to_rounding"]:
        return [_EXACT]
    median = said["median_error_normalised"][MEAN]
    first, last = median["1"], median[str(part.horizon)]
    sentences.append(
        f"The median error is {_short(first)} standard deviations of the observation after 1 step and {_short(last)} after "
        f"{part.horizon}."
    )
    sentences.append(
        f"It stays below no change for {said['steps_better_than_no_change']} steps and below a linear model for "
        f"{said['steps_better_than_linear']}."
    )
    return sentences


@in_short.register
def _(part: OneStepError) -> list[str]:
    said = part.summary()
    bad = said["rows_not_finite"]
    sentences = [f"{bad} predictions are not finite."] if bad else []
    if said["exact_to_rounding"]:
        return [_EXACT]
    groups = said["groups"]
    first = next(iter(groups.values()))["median_error_normalised"]
    sentences.append(f"The median error is {_short(first)} standard deviations of the change in one step.")
    farther = said["farthest_relative_to_nearest"]
    if farther is not None:
        correlation = said["rank_correlation_of_distance_and_error"]
        sentences.append(
            f"Farthest from {said['distance_to']} it is {_short(farther)} times what it is nearest (rank correlation of "
            f"distance and error: {_short(correlation)})."
        )
    for label, what in ((POLICY_ROWS, "On the policy's own rows"), (POLICY_ACTIONS, "Under the policy's actions")):
        ratio = groups.get(label, {}).get("error_relative_to_dataset")
        if ratio is not None:
            sentences.append(f"{what} it is {_short(ratio)} times the dataset's.")
    return sentences


@in_short.register
def _(part: Calibration) -> list[str]:
    said = part.summary()
    if not part.applicable:
        return ["Not applicable: the model predicts no noise."]
    sentences = [f"{said['forecasts_not_finite']} forecasts are not finite."] if said["forecasts_not_finite"] else []
    for horizon, found in said["horizons"].items():
        if found["verdict"] is not None:
            coverage = ", ".join(f"{100 * share:.0f} % in its {level} %" for level, share in _known(found["coverage"]))
            sentences.append(f"{_ahead(horizon)}: {found['verdict']} ({coverage}).")
    return sentences or ["Undefined."]


@in_short.register
def _(part: UncertaintyAgainstError) -> list[str]:
    said = part.summary()
    sentences = []
    for states, where in ((DATASET, "On real states"), (ROLLOUTS, "On states of the model's rollouts")):
        found = {name: scores["spearman"] for name, scores in said[states].items() if scores["spearman"] is not None}
        if found:
            best = max(found, key=lambda name: found[name])
            sentences.append(f"{where} {best} finds the error best, with a rank correlation of {_short(found[best])}.")
    return sentences or ["Undefined: see the notes."]


@in_short.register
def _(part: RewardAndTermination) -> list[str]:
    said = part.summary()
    if said["exact_to_rounding"]:
        return [_EXACT]
    sentences = []
    reward, ends, returns = said["reward"], said["termination"], said["returns"]
    if reward is not None and reward["rmse_per_sd"] is not None:
        sentences.append(
            f"The reward ({reward['source']}) is off by {_short(reward['rmse_per_sd'])} of its standard deviation."
        )
    if ends is not None:
        if ends["recall"] is None:
            sentences.append("No step of the dataset ends the task.")
        else:
            sentences.append(
                f"Of the steps that end the task it finds {_percent(ends['recall'])}, and {_percent(ends['precision'])} of "
                "the ends that it predicts are real."
            )
    if returns is not None and returns["bias"] is not None:
        sentences.append(
            f"Returns over {returns['horizon']} steps are predicted {_short(abs(returns['bias']))} too "
            f"{'high' if returns['bias'] > 0 else 'low'} on average (obtained: {_short(returns['obtained_mean'])}), with a "
            f"correlation of {_short(returns['pearson'])}."
        )
    return sentences or ["Undefined: see the notes."]


@in_short.register
def _(part: ValueAwareError) -> list[str]:
    said = part.summary()
    if said["exact_to_rounding"]:
        return [_EXACT]
    off = math.sqrt(said["vame_mean"]) / said["discount"]
    return [
        f"The model's error moves the value of the next state by {_short(off)} (root mean square), where values have a "
        f"standard deviation of {_short(said['value_sd'])}."
    ]


@in_short.register
def _(part: PlanOutcome) -> list[str]:
    said = part.summary()
    if said["exact_to_rounding"]:
        return ["Plans bring what they promise, to rounding."]
    sentences = []
    for key, what in (("open_loop", "executed as they are"), ("closed_loop", "deciding anew at each step")):
        found = said[key]
        if found is not None:
            what = what if part.plans else "following the policy"
            sentences.append(
                f"Promised over {part.horizon} steps: {_short(found['mean'] + found['bias'])}; obtained {what}: "
                f"{_short(found['mean'])}."
            )
    return sentences or ["Nothing could be compared: see the notes."]


def _known(shares: dict[str, float | None]) -> list[tuple[str, float]]:
    return [(level, share) for level, share in shares.items() if share is not None]


def _ahead(horizon: str) -> str:
    return "1 step ahead" if horizon == "1" else f"{horizon} steps ahead"


def _short(value: float | None) -> str:
    return "an undefined number" if value is None or not math.isfinite(value) else f"{value:.3g}"


def _percent(share: float | None) -> str:
    return "an undefined share" if share is None else f"{100 * share:.0f} %"
